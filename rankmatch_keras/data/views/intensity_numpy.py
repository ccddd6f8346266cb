"""The strong view of images that are not 8-bit colour, in NumPy; twin of `tf_data.intensity`."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rankmatch_keras.data.views.blur_numpy import blur


class IntensityFactors(NamedTuple):
    """All that is random about one strong view."""

    jitter: bool  # whether the channels are jittered
    contrast_first: bool
    brightness: np.ndarray  # float32 (C,)
    contrast: np.ndarray  # float32 (C,)
    blur: bool
    sigma: float  # pixels


@dataclass(frozen=True)
class IntensityAugmentation:
    """Brightness, contrast and blur of one image of any number of channels.

    Attributes:
        channels: number of channels C.
        bounded: whether values are 0..255 and stay there; otherwise they have no bounds.
        brightness: every channel is multiplied by a factor uniform in 1 -+ this.
        contrast: every channel's distance from its mean is multiplied by a factor uniform in 1 -+ this.
        jitter_probability: how often the two are applied, in random order.
        blur_probability: how often the image is blurred.
        sigma: range of the blur's standard deviation in pixels, at most 2.
    """

    channels: int
    bounded: bool
    brightness: float = 0.5
    contrast: float = 0.5
    jitter_probability: float = 0.8
    blur_probability: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)

    def augment(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the strong view of float32 (H, W, C)."""
        return self.augment_image(image, self.draw_factors(rng))

    def draw_factors(self, rng: np.random.Generator) -> IntensityFactors:
        """Draw what is random about one view."""
        return IntensityFactors(
            jitter=rng.random() < self.jitter_probability,
            contrast_first=rng.random() < 0.5,
            brightness=rng.uniform(1 - self.brightness, 1 + self.brightness, self.channels).astype(np.float32),
            contrast=rng.uniform(1 - self.contrast, 1 + self.contrast, self.channels).astype(np.float32),
            blur=rng.random() < self.blur_probability,
            sigma=rng.uniform(*self.sigma),
        )

    def augment_image(self, image: np.ndarray, factors: IntensityFactors) -> np.ndarray:
        """Apply given factors.

        Args:
            image: float32 (H, W, C); left as it is.
            factors: the factors.

        Returns:
            float32 (H, W, C).
        """
        if factors.jitter:
            steps = [self._brighter, self._contrasted]
            for step in reversed(steps) if factors.contrast_first else steps:
                image = step(image, factors)
        return blur(image, factors.sigma) if factors.blur else image

    def _brighter(self, image: np.ndarray, f: IntensityFactors) -> np.ndarray:
        return self._bound(image * f.brightness)

    def _contrasted(self, image: np.ndarray, f: IntensityFactors) -> np.ndarray:
        mean = image.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
        return self._bound(mean + (image - mean) * f.contrast)

    def _bound(self, image: np.ndarray) -> np.ndarray:
        return np.clip(image, 0.0, 255.0, out=image) if self.bounded else image
