"""Statistics of pixels: image format, mean and deviation per channel, and class frequencies."""

import os
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.readers.slices import slices_of
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted

BLOCK = 1_000_000


@dataclass(frozen=True)
class ImageFormat:
    """Number of channels and type of images as arrays.

    Attributes:
        channels: number of channels C of (H, W, C).
        dtype: "uint8" (0..255) or "float32" (the file's own units).
        slices: how many slices of a volume the channels are; 1 for other images.
    """

    channels: int
    dtype: str
    slices: int = 1

    @classmethod
    def of(cls, image: np.ndarray, sample: Sample) -> "ImageFormat":
        """Return the format of a sample's image (H, W, C)."""
        return cls(image.shape[-1], str(image.dtype), slices_of(sample.image))

    @property
    def is_color(self) -> bool:
        """Whether these are 8-bit color images, which pretrained networks and color jitter expect."""
        return self.channels == 3 and self.dtype == "uint8" and self.slices == 1

    def __str__(self) -> str:
        """Return the format as text for messages."""
        return f"{self.channels} channels of {self.dtype}"


def image_format(samples: Sequence[Sample]) -> ImageFormat:
    """Return the format of the first image; all images of a data set share it.

    Raises:
        UserError: there are no samples, or the image cannot be read.
    """
    _require_some(samples)
    return ImageFormat.of(samples[0].read_image(), samples[0])


def channel_statistics(
    samples: Sequence[Sample], limit: int | None = 200
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure mean and standard deviation of each channel over all pixels, for normalization.

    Every pixel counts the same, those without data (NaN) not at all; so a large image counts more. Samples are read
    once, in several threads, and summed in float64 in their order, so that the result does not depend on the number of
    threads.

    Args:
        samples: the samples, usually all training images with or without masks.
        limit: read at most this many, evenly spaced in the list; None for all.

    Returns:
        `(mean, std)`, one float per channel in the images' own units. The std of a constant channel is 1, so that it
        becomes 0 when normalized, not undefined.

    Raises:
        UserError: there are no samples, or none has data, or one cannot be read, holds infinite values, or differs from
            the first in type or number of channels.
    """
    chosen = thin_out(samples, limit)
    first = image_format(chosen)
    count, mean, squares = (np.zeros(first.channels) for _ in range(3))
    for sample, (found, part, part_mean, part_squares) in zip(chosen, _in_threads(chosen), strict=True):
        _require_format(found, first, str(sample.image), str(chosen[0].image))
        if not np.isfinite(part_squares).all():
            raise UserError("finite pixels", f"infinity in '{sample.image}'", "Replace it.")
        # Sums of squared deviations are merged by Chan's formula: plain sums of squares lose the digits of a small
        # deviation from a large mean.
        difference, total = part_mean - mean, np.maximum(count + part, 1)
        squares += part_squares + difference**2 * count * part / total
        mean += difference * part / total
        count += part
    if not count.all():
        raise UserError(
            "pixels with data in every channel", f"none in {counted(len(chosen), 'image')}", "Check their no-data mark."
        )
    std = np.sqrt(squares / count)
    # Rounding alone can leave a constant channel a deviation of about 1e-16 of its value.
    std = np.where(std > 1e-12 * np.abs(mean), std, 1.0)
    return tuple(map(float, mean)), tuple(map(float, std))


def thin_out(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """Return `limit` samples at even distances, the first one included, or all if there are no more.

    Raises:
        UserError: there are no samples, or `limit` is below 1.
    """
    _require_some(samples)
    if limit is None or limit >= len(samples):
        return list(samples)
    if limit < 1:
        raise UserError("at least 1 image to look at", f"{limit}", "Raise the limit.")
    return [samples[n * len(samples) // limit] for n in range(limit)]


def usual_short_side(samples: Sequence[Sample], limit: int) -> float:
    """Return the median of the images' short sides in pixels.

    Args:
        samples: the samples.
        limit: read at most this many, evenly spaced in the list.

    Raises:
        UserError: there are no samples, or one cannot be read.
    """
    return statistics.median(min(sample.read_image().shape[:2]) for sample in thin_out(samples, limit))


def largest_sides(samples: Sequence[Sample], limit: int) -> tuple[int, int]:
    """Return the height of the highest image and the width of the widest, in pixels; see `usual_short_side`."""
    heights, widths = zip(*(sample.read_image().shape[:2] for sample in thin_out(samples, limit)), strict=True)
    return max(heights), max(widths)


def class_pixels(samples: Sequence[Sample], num_classes: int) -> np.ndarray:
    """Count the pixels of each class in each mask.

    Args:
        samples: samples with masks.
        num_classes: K.

    Returns:
        int64 (number of samples, K).

    Raises:
        UserError: there are no samples, or a mask cannot be read or holds an id of no class.
    """
    _require_some(samples)
    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as executor:
        return np.stack(list(executor.map(lambda sample: _histogram(sample, num_classes), samples)))


def _histogram(sample: Sample, num_classes: int) -> np.ndarray:
    mask = sample.read_mask()
    wrong = (mask < 0) | ((mask >= num_classes) & (mask != IGNORE_INDEX))
    if wrong.any():
        raise UserError(
            f"mask values 0..{num_classes - 1} or 255 (ignore)",
            f"{int(mask[wrong][0])} at {int(wrong.sum())} pixels of '{sample.mask}'",
            "Correct the mask, or --classes.",
        )
    return np.bincount(mask.ravel(), minlength=256)[:num_classes]


def _in_threads(samples: Sequence[Sample]) -> Iterator[tuple[ImageFormat, np.ndarray, np.ndarray, np.ndarray]]:
    executor = ThreadPoolExecutor((os.cpu_count() or 1) + 1)
    try:
        yield from executor.map(_moments, samples)
    finally:
        executor.shutdown(cancel_futures=True)


def _moments(sample: Sample) -> tuple[ImageFormat, np.ndarray, np.ndarray, np.ndarray]:
    """Return format, and per channel number of pixels with data, mean and sum of squared deviations of one image."""
    image = sample.read_image()
    # In blocks of rows, so that a large image does not take eight times its memory.
    rows = max(1, BLOCK // image.shape[1])
    blocks = [image[start : start + rows] for start in range(0, len(image), rows)]
    number: np.ndarray = np.full(image.shape[-1], float(image.shape[0] * image.shape[1]))
    total = np.sum
    if image.dtype.kind == "f" and np.isnan(image).any():
        number, total = np.stack([(~np.isnan(block)).sum((0, 1)) for block in blocks]).sum(0, np.float64), np.nansum
    with np.errstate(invalid="ignore"):
        mean = total(image, axis=(0, 1), dtype=np.float64) / np.maximum(number, 1)
        squares = sum(total(np.square(block - mean), axis=(0, 1)) for block in blocks)
    return ImageFormat.of(image, sample), number, mean, np.asarray(squares)


def _require_some(samples: Sequence[Sample]) -> None:
    if not samples:
        raise UserError("at least one image", "an empty list", "Check the folders or the list.")


def _require_format(found: ImageFormat, first: ImageFormat, name: str, first_name: str) -> None:
    if found != first:
        raise UserError(
            f"images with {first.channels} channels of {first.dtype} as in '{first_name}'",
            f"{found.channels} channels of {found.dtype} in '{name}'",
            "Convert one kind into the other, or separate them.",
        )
