"""Scores as JSON and as CSV files, written whole or not at all."""

import csv
import json
import math

from rankmatch_keras.evaluation.metrics import mean_of_present
from rankmatch_keras.evaluation.scores import PER_CLASS, Scores
from rankmatch_keras.files import replacing


def write_json(path, content):
    """Writes strict JSON under a temporary name, then renames: readers never see half a file.

    Args:
        path: file to write; its folder is made if needed.
        content: `Scores`, or anything fit for JSON.

    Raises:
        ValueError: for NaN or infinity outside of `Scores`; an existing file is then left as it was.
    """
    plain = content.to_dict() if isinstance(content, Scores) else content
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path, scores):
    """Writes one row per class and a last one of means, each with all that tells how they were measured.

    Columns: row ("class" or "mean"), class, the scores per class, then of the whole set mean IoU's interval, pixel
    accuracy and foreground IoU (in the last row only), images, the protocol's fields and the plain facts of the
    provenance (set, split, seed, weights hash, ...). Scores are in 0..1; a cell is empty where there is none.

    Args:
        path: file to write; its folder is made if needed.
        scores: `Scores`.
    """
    rows = [
        {"row": "class", "class": name, **_measured({key: values[k] for key, values in _columns(scores).items()})}
        for k, name in enumerate(scores.class_names)
    ]
    low, high = scores.mean_iou_interval
    whole = {"iou_low": low, "iou_high": high}
    whole |= {"pixel_accuracy": scores.pixel_accuracy, "foreground_iou": scores.foreground_iou}
    means = {key: mean_of_present(values) for key, values in _columns(scores).items()}
    rows.append({"row": "mean", "class": "", **_measured({**means, **whole})})
    facts = _facts(scores)
    names = ["row", "class", *PER_CLASS, *whole, *facts]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows({**row, **facts} for row in rows)


def _columns(scores):
    return {key: getattr(scores, key) for key in PER_CLASS if getattr(scores, key) is not None}


def _measured(values):
    return {key: "" if math.isnan(value) else value for key, value in values.items()}


def _facts(scores):
    """What every row tells about its measurement; facts of the provenance never replace the others."""
    protocol = scores.protocol
    plain = {key: value for key, value in scores.provenance.items() if not isinstance(value, dict | list | tuple)}
    measured = {
        "images": scores.images,
        "images_available": scores.images_available,
        "mode": protocol.mode,
        "crop": "" if protocol.crop is None else protocol.crop,
        "border": protocol.border if protocol.mode == "sliding_window" else "",
        "flip": protocol.flip,
        "scales": "/".join(f"{scale:g}" for scale in protocol.scales),
    }
    return {**measured, **{key: value for key, value in plain.items() if key not in measured}}
