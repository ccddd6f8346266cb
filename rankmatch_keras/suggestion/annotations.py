"""Predicted masks in the forms that annotation tools open, to correct in place of drawing."""

import io
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.evaluation.colors import default_palette, full_palette
from rankmatch_keras.files import replacing
from rankmatch_keras.prediction.outlines import coco_file, is_background
from rankmatch_keras.prediction.outputs import write_compact
from rankmatch_keras.suggestion.polygons import TOLERANCE, Polygon, polygons, without_specks
from rankmatch_keras.texts import printable

BACKGROUND = "background"


@dataclass(frozen=True, eq=False)
class Annotated:
    """An image with its predicted mask.

    Attributes:
        file: path of the image below the folder of the images.
        classes: uint8 (H, W), 255 without data.
    """

    file: str
    classes: np.ndarray

    @property
    def name(self) -> str:
        """The path without its ending."""
        return str(PurePosixPath(self.file).with_suffix(""))


def write_annotations(
    out: Path,
    annotated: Iterable[Annotated],
    class_names: Sequence[str],
    palette: Any = None,
    tolerance: float = TOLERANCE,
) -> None:
    """Write `labelme/NAME.json`, `coco.json`, `cvat.zip` and `cvat_labels.json`.

    Args:
        out: the folder that holds the folder `images`.
        annotated: the images.
        class_names: names of the K classes.
        palette: (n, 3) in 0..255, e.g. the data set's; None: the default colors.
        tolerance: of polygons, see `polygons`.
    """
    colors = cvat_colors(class_names, palette)
    in_coco = []
    with replacing(out / "cvat.zip") as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labelmap.txt", _label_map(class_names, colors))
        names = []
        for one in annotated:
            found = polygons(without_specks(one.classes, class_names), class_names, tolerance)
            write_compact(out / "labelme" / f"{one.name}.json", labelme_file(one, found, class_names))
            in_coco.append((one.file, one.classes.shape, [(each.class_id, _coco(each)) for each in found]))
            _add_to_cvat(archive, one, class_names, colors)
            names.append(one.name)
        archive.writestr("ImageSets/Segmentation/default.txt", "".join(f"{name}\n" for name in names))
    write_compact(out / "coco.json", coco_file(in_coco, class_names))
    labels = [
        {"name": cvat_label(name), "color": f"#{bytes(color).hex()}", "attributes": []}
        for name, color in zip(class_names, colors, strict=True)
    ]
    write_compact(out / "cvat_labels.json", labels[1:] if is_background(class_names[0]) else labels)


def labelme_file(one: Annotated, found: Sequence[Polygon], class_names: Sequence[str]) -> dict[str, Any]:
    """Return the content of a LabelMe file in `labelme`, beside the folder `images`.

    Where no class is a background, the first shape has the pixels ignored that no polygon covers.
    """
    height, width = one.classes.shape
    shapes = [(class_names[each.class_id], each.inner.tolist()) for each in found]
    if is_background(class_names[0]):
        shapes = [("_background_" if name == class_names[0] else name, points) for name, points in shapes]
    else:
        shapes.insert(0, ("__ignore__", [[0, 0], [width, 0], [width, height], [0, height]]))
    fixed: dict[str, Any] = {"shape_type": "polygon", "group_id": None, "description": "", "flags": {}, "mask": None}
    up = "../" * len(PurePosixPath(one.file).parts)
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": [{"label": name, "points": points, **fixed} for name, points in shapes],
        "imagePath": f"{up}images/{one.file}",
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def cvat_label(name: str) -> str:
    """Return the name of a class as a label of CVAT: without what ends a name in a label map, or begins a comment."""
    return printable(name).replace(":", " ").lstrip("# ") or "class"


def cvat_colors(class_names: Sequence[str], palette: Any = None) -> np.ndarray:
    """Return the colors of classes for CVAT, uint8 (K, 3): black is the background, and nothing else.

    Args:
        class_names: names of the K classes.
        palette: (n, 3) in 0..255; None: the default colors.
    """
    bare = is_background(class_names[0])
    colors = full_palette(palette)[: len(class_names)]
    if bare:
        colors[0] = 0
    others = colors[1:] if bare else colors
    if not others.any(-1).all() or len(np.unique(others, axis=0)) < len(others):  # black, or the same twice
        colors = default_palette(len(class_names) + 1)
        return colors[:-1] if bare else colors[1:]  # the first of them is black
    return colors


def _label_map(class_names, colors):
    # CVAT wants black declared, even where all pixels have a class.
    lines = ["# label:color_rgb:parts:actions", f"{BACKGROUND}:0,0,0::"]
    for k, (name, color) in enumerate(zip(class_names, colors.tolist(), strict=True)):
        if k > 0 or not is_background(name):
            lines.append(f"{cvat_label(name)}:{','.join(map(str, color))}::")
    return "".join(f"{line}\n" for line in lines)


def _add_to_cvat(archive, one, class_names, colors):
    """Add the mask of the classes in their colors, and that of the objects: one of each class, 0 for none."""
    known = np.where(one.classes == IGNORE_INDEX, 0, one.classes)
    drawn = np.where((one.classes == IGNORE_INDEX)[..., None], 0, colors[known])
    # Without the objects CVAT asks for a label of the background.
    objects = known + (not is_background(class_names[0]))
    objects[one.classes == IGNORE_INDEX] = 0
    for folder, values in (("SegmentationClass", drawn), ("SegmentationObject", objects)):
        file = io.BytesIO()
        Image.fromarray(values.astype(np.uint8)).save(file, format="PNG")
        archive.writestr(f"{folder}/{one.name}.png", file.getvalue())


def _coco(polygon):
    points = [polygon.points.astype(int).ravel().tolist()]
    return {"segmentation": points, "area": polygon.area, "bbox": list(polygon.box), "iscrowd": 0}
