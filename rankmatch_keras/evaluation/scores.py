"""Scores of a predictor on a set, their provenance, and their JSON and CSV files."""

import csv
import hashlib
import json
import math
import sys
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
import pydantic

from rankmatch_keras.data.readers.json_files import fitting
from rankmatch_keras.data.sets.protocol import Protocol
from rankmatch_keras.evaluation.metrics import mean_of_present
from rankmatch_keras.files import replacing
from rankmatch_keras.texts import shown

PER_CLASS = ("iou", "dice", "precision", "recall", "boundary_iou")
NUMBERS = ("mean_iou", "pixel_accuracy", "mean_dice", "mean_boundary_iou", "foreground_iou")
UNKNOWN = (math.nan, math.nan)
# JSON has no NaN: null stands for a number that is not known.
Measured = Annotated[float, pydantic.BeforeValidator(lambda value: math.nan if value is None else value)]


@dataclass(frozen=True)
class Scores:
    """Scores of a predictor on a set, with all that is needed to trace the numbers.

    All scores are in 0..1 and computed from counts over all images together. Classes absent from both truth and
    prediction have NaN and stay out of the means.

    Args:
        class_names: names of the K classes.
        iou: IoU per class.
        mean_iou: mean over the present classes.
        pixel_accuracy: fraction of right pixels.
        images: number of images scored.
        images_available: number of images in the set; larger than `images` if only some were scored.
        mode: the protocol in words.
        provenance: further facts by name, with JSON values: set, split, seed, weights hash, versions, ...
        protocol: how each image was shown to the network.
        dice: Dice coefficient per class; None if it was not measured, as for the next three.
        precision: precision per class; 0 where a present class is never predicted.
        recall: recall per class; 0 where a class is only predicted.
        boundary_iou: boundary IoU per class.
        mean_dice: mean over the present classes.
        mean_boundary_iou: mean over the present classes.
        foreground_iou: IoU of class 1 if there are two classes, else NaN.
        mean_iou_interval: 95% bootstrap interval of the mean IoU over images, (low, high); NaN if unknown.
    """

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")

    class_names: tuple[str, ...]
    iou: tuple[Measured, ...]
    mean_iou: Measured
    pixel_accuracy: Measured
    images: int
    images_available: int
    mode: str = str(Protocol())
    provenance: dict[str, Any] = field(default_factory=dict)
    protocol: Protocol = Protocol()
    dice: tuple[Measured, ...] | None = None
    precision: tuple[Measured, ...] | None = None
    recall: tuple[Measured, ...] | None = None
    boundary_iou: tuple[Measured, ...] | None = None
    mean_dice: Measured = math.nan
    mean_boundary_iou: Measured = math.nan
    foreground_iou: Measured = math.nan
    mean_iou_interval: tuple[Measured, Measured] = UNKNOWN

    @classmethod
    def from_confusion_matrix(
        cls,
        matrix,
        class_names,
        images,
        images_available=None,
        protocol=None,
        boundary=None,
        mean_iou_interval=UNKNOWN,
        provenance=None,
    ):
        """Compute the scores from a `ConfusionMatrix` and `BoundaryCounts`; the class explains the other arguments."""
        protocol = Protocol() if protocol is None else protocol
        iou, dice = matrix.iou(), matrix.dice()
        outlines = None if boundary is None else tuple(boundary.iou().tolist())
        return cls(
            class_names=tuple(class_names),
            iou=tuple(iou.tolist()),
            mean_iou=mean_of_present(iou),
            pixel_accuracy=matrix.pixel_accuracy(),
            images=images,
            images_available=images if images_available is None else images_available,
            mode=str(protocol),
            provenance=dict(provenance or {}),
            protocol=protocol,
            dice=tuple(dice.tolist()),
            precision=tuple(matrix.precision().tolist()),
            recall=tuple(matrix.recall().tolist()),
            boundary_iou=outlines,
            mean_dice=mean_of_present(dice),
            mean_boundary_iou=math.nan if outlines is None else mean_of_present(outlines),
            foreground_iou=float(iou[1]) if len(iou) == 2 else math.nan,
            mean_iou_interval=tuple(mean_iou_interval),
        )

    @property
    def absent(self):
        """Names of the classes without an IoU, tuple of str."""
        return tuple(n for n, value in zip(self.class_names, self.iou, strict=True) if math.isnan(value))

    def to_dict(self):
        """Return the fields as a dict for strict JSON: absent numbers are None, not NaN."""
        content = asdict(self)
        for name in NUMBERS:
            content[name] = _none_for_nan(content[name])
        for name in (*PER_CLASS, "mean_iou_interval"):
            if content[name] is not None:
                content[name] = [_none_for_nan(value) for value in content[name]]
        content["class_names"] = list(self.class_names)
        content["protocol"]["scales"] = list(self.protocol.scales)
        return content

    @classmethod
    def from_dict(cls, content):
        """Read what `to_dict` returned; what an older version did not measure stays unknown.

        Raises:
            UserError: if a field is missing, unknown or of another type.
        """
        return fitting(content, SCHEMA, "scores", "scores of an evaluation", "Give a file that an evaluation wrote.")


def _same_lengths(scores: Scores) -> Scores:
    for name in PER_CLASS:
        values = getattr(scores, name)
        if values is not None and len(values) != len(scores.class_names):
            raise ValueError(f"{len(values)} values of {name} for {len(scores.class_names)} classes")
    return scores


RecordedScores = Annotated[Scores, pydantic.AfterValidator(_same_lengths)]
SCHEMA: pydantic.TypeAdapter[Scores] = pydantic.TypeAdapter(RecordedScores)


def weights_hash(model):
    """Compute a short fingerprint of a model's weights.

    Args:
        model: `keras.Model`.

    Returns:
        First 12 hexadecimal digits of the SHA-256 over shape, dtype and values of `model.weights`, in their order.
    """
    import keras  # here: importing the package must not import a framework

    digest = hashlib.sha256()
    for weight in model.weights:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{values.shape} {values.dtype}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:12]


def default_provenance(predictor) -> dict[str, Any]:
    """Return the facts that all scores carry: weights hash (of Keras models), backend, versions."""
    import keras

    backend = keras.backend.backend()
    # All are imported by now: no lookup on disk.
    modules = {name: sys.modules.get(name) for name in ("rankmatch_keras", "keras", backend)}
    versions = {name: getattr(module, "__version__", "unknown") for name, module in modules.items()}
    facts = {"weights_hash": weights_hash(predictor)} if isinstance(predictor, keras.Model) else {}
    return {**facts, "backend": backend, "versions": versions}


def write_json(path, content):
    """Write strict JSON atomically: readers never see half a file.

    Args:
        path: file to write; its folder is made if needed.
        content: `Scores`, or anything that JSON can hold.

    Raises:
        ValueError: for NaN or infinity outside `Scores`; an existing file is then left as it was.
    """
    plain = content.to_dict() if isinstance(content, Scores) else content
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        # Half a character, as file names can hold, becomes the escape that JSON has for it.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_csv(path, scores):
    """Write one row per class and a last row of means, each with the facts of how they were measured.

    Columns: row ("class" or "mean"), class, the per-class scores; in the last row only, the interval of mean IoU, pixel
    accuracy and foreground IoU; images, the protocol's fields and the plain facts of the provenance (set, split, seed,
    weights hash, ...). Scores are in 0..1; a cell without a value is empty.

    Args:
        path: file to write; its folder is made if needed.
        scores: `Scores`.
    """
    rows = [
        {
            "row": "class",
            "class": shown(name, "csv"),
            **_measured({key: values[k] for key, values in _columns(scores).items()}),
        }
        for k, name in enumerate(scores.class_names)
    ]
    low, high = scores.mean_iou_interval
    whole = {"iou_low": low, "iou_high": high}
    whole |= {"pixel_accuracy": scores.pixel_accuracy, "foreground_iou": scores.foreground_iou}
    means = {key: mean_of_present(values) for key, values in _columns(scores).items()}
    rows.append({"row": "mean", "class": "", **_measured({**means, **whole})})
    facts = _facts(scores)
    facts = {key: shown(value, "csv") if isinstance(value, str) else value for key, value in facts.items()}
    names = ["row", "class", *PER_CLASS, *whole, *facts]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows({**row, **facts} for row in rows)


def write_image_csv(path, class_names, image_scores):
    """Write a row per image, the worst first: name, mean IoU, and IoU of each class, in 0..1; empty where absent.

    Args:
        path: file to write; its folder is made if needed.
        class_names: names of the K classes.
        image_scores: `Evaluator.image_scores`.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mean_iou", *(shown(name, "csv") for name in class_names)])
        for one in worst(image_scores):
            values = ("" if math.isnan(value) else float(value) for value in (one.mean_iou, *one.iou))
            writer.writerow([shown(one.name, "csv"), *values])


def worst(image_scores, number=None):
    """Return the images in the order of their mean IoU, lowest first; only so many, and only scored ones, if asked."""
    ordered = sorted(image_scores, key=lambda one: (math.isnan(one.mean_iou), one.mean_iou, one.name))
    return ordered if number is None else [one for one in ordered if not math.isnan(one.mean_iou)][:number]


def _none_for_nan(value):
    return None if math.isnan(value) else float(value)


def _columns(scores):
    return {key: getattr(scores, key) for key in PER_CLASS if getattr(scores, key) is not None}


def _measured(values):
    return {key: "" if math.isnan(value) else value for key, value in values.items()}


def _facts(scores):
    """Return the facts that every row repeats; those of the provenance never replace the others."""
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
