"""Measures of a segmentation: areas and shares of classes, and their connected components."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.files import replacing
from rankmatch_keras.prediction.outlines import is_background
from rankmatch_keras.texts import shown

CLASS_COLUMNS = ("image", "class_id", "class", "area", "share", "objects", "confidence")
OBJECT_COLUMNS = (
    *("image", "class_id", "class", "object", "area", "center_x", "center_y"),
    *("left", "top", "width", "height", "confidence"),
)


def measure_classes(classes, class_names, confidence=None):
    """Measure each class: pixels, share of the pixels with data, connected components, mean confidence.

    Args:
        classes: integer (H, W), 255 without data.
        class_names: names of the K classes.
        confidence: float (H, W); None: unknown.

    Returns:
        list of a dict per class, with JSON values; the confidence of a class without pixels is None, and a background
        has no objects.
    """
    pixels = np.bincount(classes.ravel(), minlength=256)
    total = max(1, int(pixels.sum() - pixels[IGNORE_INDEX]))
    rows = []
    for k, name in enumerate(class_names):
        area = int(pixels[k])
        mean = float(confidence[classes == k].mean()) if confidence is not None and area else None
        bare = area == 0 or (k == 0 and is_background(name))
        objects = 0 if bare else ndimage.label(classes == k)[1]
        rows.append({"class_id": k, "class": name, "area": area, "share": area / total, "objects": int(objects)})
        rows[-1]["confidence"] = mean
    return rows


def measure_objects(classes, class_names, confidence=None):
    """Measure the connected components of each class, background included; corners that touch connect no pixels.

    Args:
        classes: integer (H, W), 255 without data.
        class_names: names of the K classes.
        confidence: float (H, W); None: unknown.

    Yields:
        `(row, region)`: a dict with JSON values, and the bool mask (height, width) of the component inside its box.
        Centers are in pixels, x to the right and y down, 0 in the middle of the first pixel.
    """
    for k, name in enumerate(class_names):
        labels, _ = ndimage.label(classes == k)
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            region = labels[box] == number
            y, x = (axis.mean() for axis in region.nonzero())
            row = {
                **{"class_id": k, "class": name, "object": number, "area": int(region.sum())},
                **{"center_x": float(x + box[1].start), "center_y": float(y + box[0].start)},
                **{"left": box[1].start, "top": box[0].start, "width": region.shape[1], "height": region.shape[0]},
                "confidence": None if confidence is None else float(confidence[box][region].mean()),
            }
            yield row, region


def write_table(path: str | Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as CSV, all or nothing; texts mean nothing to a spreadsheet, numbers have six digits."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def _cell(value):
    if isinstance(value, str):
        return shown(value, "csv")
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
