"""The checked arguments of `training_batches`, as both pipelines get them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rankmatch_keras.data.sets.pixel_statistics import ImageFormat
from rankmatch_keras.data.views.own import OwnAugmentation
from rankmatch_keras.data.views.policies import strong_policy
from rankmatch_keras.data.views.sampling import ViewSettings
from rankmatch_keras.errors import UserError


@dataclass(frozen=True)
class BatchRows:
    """The rows of every batch that this process makes.

    Attributes:
        batch_size: images of the whole batch.
        rows: the rows made here, in the order of the batch that is handed out.
    """

    batch_size: int
    rows: tuple[int, ...]

    def numbers(self, step: int) -> list[int]:
        """Return the numbers of a batch's examples: number n is row n % batch_size of batch n // batch_size."""
        return [step * self.batch_size + row for row in self.rows]


@dataclass(frozen=True)
class BatchSettings:
    """Settings of training batches; see `training_batches` for what is not said here.

    Attributes:
        crop: height and width of the views.
        labeled: rows of the labeled batch.
        unlabeled: rows of the unlabeled batch.
        normalization: has `mean`, `std` and `reverse_channels`.
        seed: decides everything random.
        start_step: number of the first batch.
        steps: number of batches; None for endless.
        second_view: whether a second view of the unlabeled images is added.
        scale: range of the random resize.
        strong_views: strong views per unlabeled image.
        strong: the policy that makes them, a name of `POLICIES`.
        hue: shift of hue in place of the policy's own, or None.
        parallel_calls: number of examples made at the same time.
        pseudo_labels: whether the masks of the unlabeled samples are read, as pseudo-labels.
        augmentation: a person's own function for each image and mask, or None.
        strong_labeled: whether every second labeled view is made a strong one.
        context: height and width of the part of each unlabeled image that surrounds its view, or None for none.
    """

    crop: tuple[int, int]
    labeled: BatchRows
    unlabeled: BatchRows
    normalization: Any
    seed: int
    start_step: int
    steps: int | None
    second_view: bool
    scale: tuple[float, float]
    strong_views: int
    strong: str
    hue: float | None
    parallel_calls: int
    pseudo_labels: bool = False
    augmentation: OwnAugmentation | None = None
    strong_labeled: bool = False
    context: tuple[int, int] | None = None

    def views(self, image_format: ImageFormat) -> ViewSettings:
        """Return the settings of the views of images of a format."""
        policy = strong_policy(
            self.strong, image_format.channels, image_format.dtype, self.hue, in_color=image_format.is_color
        )
        return ViewSettings(
            self.seed,
            self.crop,
            self.scale,
            policy,
            self.strong_views,
            self.second_view,
            self.strong_labeled,
            self.context,
        )


@dataclass(frozen=True)
class Normalization:
    """A normalization in numbers: `(image - mean) * scale`, then the channels reversed or not.

    Attributes:
        mean: float32 (C,).
        scale: float32 (C,), one over the standard deviation.
        reverse_channels: whether the last axis is reversed afterwards.
    """

    mean: np.ndarray
    scale: np.ndarray
    reverse_channels: bool

    @classmethod
    def of(cls, layer: Any, channels: int) -> "Normalization":
        """Read a layer's normalization for images of some channels.

        Args:
            layer: has `mean`, `std` (one number or one per channel) and `reverse_channels`.
            channels: C.

        Raises:
            UserError: the layer is for another number of channels.
        """
        given = np.size(layer.mean)
        if given not in (1, channels):
            raise UserError(
                f"a normalization of the images' {channels} channels", f"{given} means", "Give one per channel."
            )
        mean = np.broadcast_to(np.asarray(layer.mean, np.float32), channels)
        scale = np.broadcast_to(1.0 / np.asarray(layer.std, np.float32), channels)
        return cls(mean, scale, bool(layer.reverse_channels))

    def per_row(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and scale of a whole row of pixels: several times as fast as along the short last axis."""
        return np.tile(self.mean, width), np.tile(self.scale, width)


def require_same_format(labeled: ImageFormat, unlabeled: ImageFormat) -> None:
    """Raise a UserError unless labeled and unlabeled images have the same channels and type."""
    if unlabeled != labeled:
        raise UserError(f"unlabeled images like the labeled ones ({labeled})", f"{unlabeled}", "Convert one kind.")
