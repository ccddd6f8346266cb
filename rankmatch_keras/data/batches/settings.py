"""What both input paths are told: the checked arguments of `training_batches`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rankmatch_keras.data.sets.pixel_statistics import ImageFormat
from rankmatch_keras.errors import UserError


@dataclass(frozen=True)
class BatchRows:
    """Which rows of every batch this process makes.

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
    """How training batches are made; see `training_batches` for what is not said here.

    Attributes:
        crop: height and width of the views.
        labeled: rows of the labelled batch.
        unlabeled: rows of the unlabelled batch.
        normalization: has `mean`, `std` and `reverse_channels`.
        seed: decides everything random.
        start_step: number of the first batch.
        steps: how many batches; None for endless.
        second_view: whether a second draw of the unlabelled images is added.
        scale: range of the random resize.
        strong_views: strong views per unlabelled image.
        strong: how they are made, a name of `data.policies`.
        parallel_calls: how many examples are made at the same time.
        pseudo_labels: whether the masks of the unlabelled samples are read, as pseudo-labels.
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
    parallel_calls: int
    pseudo_labels: bool = False


@dataclass(frozen=True)
class Scaling:
    """Normalisation in numbers: `(image - mean) * scale`, then the channels reversed or not.

    Attributes:
        mean: float32 (C,).
        scale: float32 (C,), one over the standard deviation.
        reverse_channels: whether the last axis is reversed afterwards.
    """

    mean: np.ndarray
    scale: np.ndarray
    reverse_channels: bool

    @classmethod
    def of(cls, layer: Any, channels: int) -> "Scaling":
        """Read a layer's normalisation for images of some channels.

        Args:
            layer: has `mean`, `std` (one number or one per channel) and `reverse_channels`.
            channels: C.

        Raises:
            UserError: the layer is for another number of channels.
        """
        given = np.size(layer.mean)
        if given not in (1, channels):
            raise UserError(
                f"a normalisation of the images' {channels} channels", f"{given} means", "Give one per channel."
            )
        mean = np.broadcast_to(np.asarray(layer.mean, np.float32), channels)
        scale = np.broadcast_to(1.0 / np.asarray(layer.std, np.float32), channels)
        return cls(mean, scale, bool(layer.reverse_channels))


def require_alike(labeled: ImageFormat, unlabeled: ImageFormat) -> None:
    """Raise a UserError unless labelled and unlabelled images have the same channels and type."""
    if unlabeled != labeled:
        raise UserError(f"unlabelled images like the labelled ones ({labeled})", f"{unlabeled}", "Convert one kind.")
