"""What a predictor scored on a set, as an object that goes to JSON and back."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from rankmatch_keras.errors import UserError

WHOLE_IMAGE = "whole image"


@dataclass(frozen=True)
class Scores:
    """What a predictor scored on a set, with all that is needed to trace the numbers.

    Args:
        class_names: names of the K classes.
        iou: IoU per class in 0..1; NaN for classes absent from truth and prediction.
        mean_iou: mean over the present classes, in 0..1.
        pixel_accuracy: share of right pixels, in 0..1.
        images: number of images scored.
        images_available: number of images in the set; larger than ``images`` where only some were scored.
        mode: evaluation mode.
        provenance: further facts by name, values fit for JSON: split, seed, crop, version, ...
    """

    class_names: tuple[str, ...]
    iou: tuple[float, ...]
    mean_iou: float
    pixel_accuracy: float
    images: int
    images_available: int
    mode: str = WHOLE_IMAGE
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_confusion_matrix(
        cls, matrix, class_names, images, images_available=None, mode=WHOLE_IMAGE, provenance=None
    ):
        """Reads the scores off a `ConfusionMatrix`; see the class for the other arguments."""
        return cls(
            class_names=tuple(class_names),
            iou=tuple(matrix.iou().tolist()),
            mean_iou=matrix.mean_iou(),
            pixel_accuracy=matrix.pixel_accuracy(),
            images=images,
            images_available=images if images_available is None else images_available,
            mode=mode,
            provenance=dict(provenance or {}),
        )

    @property
    def absent(self):
        """Names of the classes without IoU, tuple of str."""
        return tuple(n for n, value in zip(self.class_names, self.iou, strict=True) if math.isnan(value))

    def to_dict(self):
        """The fields as a dict fit for strict JSON: absent numbers are None, not NaN."""
        content = asdict(self)
        content["class_names"] = list(self.class_names)
        content["iou"] = [_none_for_nan(value) for value in self.iou]
        content["mean_iou"] = _none_for_nan(self.mean_iou)
        content["pixel_accuracy"] = _none_for_nan(self.pixel_accuracy)
        return content

    @classmethod
    def from_dict(cls, content):
        """The inverse of `to_dict`.

        Raises:
            UserError: if a field is missing or unknown.
        """
        names = {f.name for f in fields(cls)}
        if set(content) != names:
            raise UserError(
                f"scores with the fields {', '.join(sorted(names))}",
                f"{', '.join(sorted(content)) or 'none'}",
                "Give a file that an evaluation has written.",
            )
        values = dict(content)
        values["class_names"] = tuple(content["class_names"])
        values["iou"] = tuple(_nan_for_none(value) for value in content["iou"])
        values["mean_iou"] = _nan_for_none(content["mean_iou"])
        values["pixel_accuracy"] = _nan_for_none(content["pixel_accuracy"])
        return cls(**values)


def _none_for_nan(value):
    return None if math.isnan(value) else float(value)


def _nan_for_none(value):
    return math.nan if value is None else float(value)
