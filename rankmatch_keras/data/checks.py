"""Looks at every file before training starts, so that a bad one is found in seconds and not after hours."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from rankmatch_keras.data.decoding import read_image, read_mask
from rankmatch_keras.data.samples import Sample
from rankmatch_keras.errors import UserError

IGNORE = 255


@dataclass(frozen=True)
class CheckReport:
    """What a check has seen.

    Attributes:
        num_images: images that were decoded.
        num_masks: masks that were decoded.
        class_pixels: number of pixels of each class over all masks.
        ignored_pixels: number of pixels with value 255.
    """

    num_images: int
    num_masks: int
    class_pixels: tuple[int, ...]
    ignored_pixels: int


def check_samples(samples: Sequence[Sample], num_classes: int) -> CheckReport:
    """Decode every image and mask and compare them.

    Args:
        samples: the samples; one without mask only has its image decoded.
        num_classes: K; masks may hold 0..K-1 and 255.

    Returns:
        Counts of images, masks and pixels per class.

    Raises:
        UserError: there are no samples; a file does not decode; a mask has another size than its image or
            holds another value (file, value and remedy are named); or all masks together hold only 0 and
            255, which is a black and white mask, not class ids.
    """
    if not samples:
        raise UserError("at least one image", "an empty list", "Check the folders or the list.")
    # Pillow releases the interpreter lock while it decodes, so threads are enough.
    executor = ThreadPoolExecutor(max_workers=(os.cpu_count() or 1) + 1)
    try:
        counts = list(executor.map(lambda sample: _check_one(sample, num_classes), samples))
    finally:
        executor.shutdown(cancel_futures=True)
    histograms = [c for c in counts if c is not None]
    total = np.sum(histograms, axis=0) if histograms else np.zeros(256, np.int64)
    if total[IGNORE] and total[0] and not total[1:num_classes].any():
        raise UserError(
            f"class ids 0..{num_classes - 1}",
            f"only 0 and 255 (ignore) in all {len(histograms)} masks",
            "If these are black and white masks, save 1 in place of 255.",
        )
    pixels = tuple(int(n) for n in total[:num_classes])
    return CheckReport(len(samples), len(histograms), pixels, int(total[IGNORE]))


def _check_one(sample: Sample, num_classes: int) -> np.ndarray | None:
    """Return the number of pixels of each value 0..255, or None without mask."""
    height, width = read_image(sample.image).shape[:2]
    if sample.mask is None:
        return None
    mask = read_mask(sample.mask)
    if mask.shape != (height, width):
        raise UserError(
            f"a mask of the size of its image ({width} x {height})",
            f"{mask.shape[1]} x {mask.shape[0]} in '{sample.mask}'",
            f"Make it fit '{sample.image}'.",
        )
    wrong = (mask < 0) | ((mask >= num_classes) & (mask != IGNORE))
    if wrong.any():
        raise UserError(
            f"mask values 0..{num_classes - 1} or 255 (ignore)",
            f"{int(mask[wrong][0])} at {int(wrong.sum())} pixels of '{sample.mask}'",
            "Correct the mask, or the number of classes; write 255 where a pixel shall be ignored.",
        )
    return np.bincount(mask.ravel(), minlength=256)
