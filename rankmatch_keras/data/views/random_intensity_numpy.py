"""The strong view of 8-bit colour images by a few random operations on their intensities, in NumPy.

Twin of `tf_data.random_intensity`, which says whose distribution this is.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import correlate

from rankmatch_keras.data.views.blur_numpy import blur
from rankmatch_keras.data.views.policies import OPERATIONS
from rankmatch_keras.data.views.strong_numpy import blend, grey, turn_hue

MOST = 3  # operations of one view
SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32)[..., None] / np.float32(13)  # PIL's SMOOTH


class RandomIntensityFactors(NamedTuple):
    """All that is random about one strong view."""

    number: int  # how many of the following are applied
    operations: tuple[int, ...]  # three places in OPERATIONS
    magnitudes: tuple[float, ...]  # three numbers of 0 up to 1, over each operation's range


@dataclass(frozen=True)
class RandomIntensityAugmentation:
    """Applies a random number of operations, drawn with replacement, with random magnitudes.

    Attributes:
        least: smallest number of operations, at least 0.
        most: largest number of operations, at most 3.
    """

    least: int = 1
    most: int = MOST

    def augment(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the strong view of float32 (H, W, 3) in 0..255."""
        return self.augment_image(image, self.draw_factors(rng))

    def draw_factors(self, rng: np.random.Generator) -> RandomIntensityFactors:
        """Draw what is random about one view."""
        return RandomIntensityFactors(
            number=int(rng.integers(self.least, self.most + 1)),
            operations=tuple(rng.integers(0, len(OPERATIONS), MOST).tolist()),
            magnitudes=tuple(rng.random(MOST).tolist()),
        )

    def augment_image(self, image: np.ndarray, factors: RandomIntensityFactors) -> np.ndarray:
        """Apply given factors.

        Args:
            image: float32 (H, W, 3), 0..255; left as it is.
            factors: the factors.

        Returns:
            float32 (H, W, 3), 0..255.
        """
        for place in range(factors.number):
            image = _applied(OPERATIONS[factors.operations[place]], image, factors.magnitudes[place])
        return image


def _applied(operation: str, image: np.ndarray, magnitude: float) -> np.ndarray:
    factor = 0.05 + 0.9 * magnitude
    match operation:
        case "autocontrast":
            return _stretched(image)
        case "equalize":
            levels = np.round(image).astype(np.int64)
            return np.stack([_equalized(levels[..., channel]) for channel in range(3)], axis=-1)
        case "blur":
            return blur(image, 0.1 + 1.9 * magnitude)
        case "contrast":
            return blend(image, grey(image).mean(dtype=np.float64), factor)
        case "brightness":
            return blend(image, 0.0, factor)
        case "saturation":
            return blend(image, grey(image)[..., None], factor)
        case "sharpness":
            return blend(image, _smoothed(image), factor)
        case "posterize":
            step = np.float32(2 ** (4 - int(4 * magnitude)))
            return step * np.floor(np.round(image) / step)
        case "solarize":
            return np.where(image < np.float32(1 + 255 * magnitude), image, 255 - image)
        case "hue":
            return turn_hue(image, magnitude - 0.5)
    return image


def _stretched(image: np.ndarray) -> np.ndarray:
    low, high = image.min(axis=(0, 1)), image.max(axis=(0, 1))
    flat = high == low
    scale = np.float32(255) / np.where(flat, 1, high - low)
    return np.where(flat, image, np.clip((image - low) * scale, 0, 255)).astype(np.float32)


def _smoothed(image: np.ndarray) -> np.ndarray:
    """PIL's smoothing, which leaves the outermost pixels as they are."""
    smooth = image.copy()
    smooth[1:-1, 1:-1] = correlate(image, SMOOTH)[1:-1, 1:-1]
    return smooth


def _equalized(levels: np.ndarray) -> np.ndarray:
    """Map the levels of one channel so that each range of them has equally many pixels, as PIL does."""
    histogram = np.bincount(levels.ravel(), minlength=256)
    step = (levels.size - histogram[levels.max()]) // 255
    if step == 0:
        return levels.astype(np.float32)
    before = np.cumsum(histogram) - histogram
    table = np.minimum((step // 2 + before) // step, 255)
    return table[levels].astype(np.float32)
