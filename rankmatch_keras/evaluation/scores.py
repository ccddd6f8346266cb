"""What a predictor scored on a set, as an object that goes to JSON and back."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from rankmatch_keras.data.protocol import Protocol
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.metrics import mean_of_present

PER_CLASS = ("iou", "dice", "precision", "recall", "boundary_iou")
NUMBERS = ("mean_iou", "pixel_accuracy", "mean_dice", "mean_boundary_iou", "foreground_iou")
UNKNOWN = (math.nan, math.nan)


@dataclass(frozen=True)
class Scores:
    """What a predictor scored on a set, with all that is needed to trace the numbers.

    All scores are in 0..1 and come from counts over all images together. Classes absent from truth and prediction
    have NaN and stay out of the means.

    Args:
        class_names: names of the K classes.
        iou: IoU per class.
        mean_iou: mean over the present classes.
        pixel_accuracy: share of right pixels.
        images: number of images scored.
        images_available: number of images in the set; larger than ``images`` where only some were scored.
        mode: the protocol in words.
        provenance: further facts by name, values fit for JSON: set, split, seed, weights hash, versions, ...
        protocol: how each image was shown to the network.
        dice: Dice coefficient per class; None where it was not measured, as for the next three.
        precision: precision per class; 0 where a present class is never predicted.
        recall: recall per class; 0 where a class is only predicted.
        boundary_iou: boundary IoU per class.
        mean_dice: mean over the present classes.
        mean_boundary_iou: mean over the present classes.
        foreground_iou: IoU of class 1 where there are two classes, else NaN.
        mean_iou_interval: 95 % bootstrap interval of the mean IoU over images, (low, high); NaN if unknown.
    """

    class_names: tuple[str, ...]
    iou: tuple[float, ...]
    mean_iou: float
    pixel_accuracy: float
    images: int
    images_available: int
    mode: str = str(Protocol())
    provenance: dict[str, Any] = field(default_factory=dict)
    protocol: Protocol = Protocol()
    dice: tuple[float, ...] | None = None
    precision: tuple[float, ...] | None = None
    recall: tuple[float, ...] | None = None
    boundary_iou: tuple[float, ...] | None = None
    mean_dice: float = math.nan
    mean_boundary_iou: float = math.nan
    foreground_iou: float = math.nan
    mean_iou_interval: tuple[float, float] = UNKNOWN

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
        """Reads the scores off a `ConfusionMatrix` and `BoundaryCounts`; see the class for the other arguments."""
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
        """Names of the classes without IoU, tuple of str."""
        return tuple(n for n, value in zip(self.class_names, self.iou, strict=True) if math.isnan(value))

    def to_dict(self):
        """The fields as a dict fit for strict JSON: absent numbers are None, not NaN."""
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
        """The inverse of `to_dict`; what an older version did not measure stays unknown.

        Raises:
            UserError: if a field is missing, unknown or of another kind.
        """
        names = [f.name for f in fields(cls)]
        if not isinstance(content, dict) or not set(names[:8]) <= set(content) <= set(names):
            found = ", ".join(sorted(map(str, content))) if isinstance(content, dict) else type(content).__name__
            raise _not_scores(f"with the fields {', '.join(names)}", found or "none")
        try:
            return cls(**_from_plain(content))
        except UserError:
            raise
        except (TypeError, ValueError, AttributeError) as error:
            raise _not_scores("of an evaluation", f"{error}") from error


def _from_plain(content):
    values = dict(content)
    for name in NUMBERS:
        if name in values:
            values[name] = _nan_for_none(values[name])
    for name in (*PER_CLASS, "mean_iou_interval"):
        if values.get(name) is not None:
            values[name] = tuple(_nan_for_none(value) for value in values[name])
    values["class_names"] = tuple(content["class_names"])
    if "protocol" in values:
        values["protocol"] = Protocol(**values["protocol"])
    for name in PER_CLASS:
        if values.get(name) is not None and len(values[name]) != len(values["class_names"]):
            raise ValueError(f"{len(values[name])} values of {name} for {len(values['class_names'])} classes")
    return values


def _not_scores(expected, found):
    return UserError(f"scores {expected}", found, "Give a file that an evaluation has written.")


def _none_for_nan(value):
    return None if math.isnan(value) else float(value)


def _nan_for_none(value):
    return math.nan if value is None else float(value)
