"""The strong view of 8-bit colour images in NumPy: colour jitter, grey and blur of a weak view.

Twin of `tf_data.strong`, which says whose distribution this is.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rankmatch_keras.data.views.blur_numpy import blur

GREY_WEIGHTS = np.array([0.2989, 0.587, 0.114], np.float32)  # ITU-R 601, as PIL's mode L.


class StrongFactors(NamedTuple):
    """All that is random about one strong view."""

    jitter: bool  # whether the colours are jittered
    order: tuple[int, ...]  # a permutation of 0 brightness, 1 contrast, 2 saturation, 3 hue
    brightness: float
    contrast: float
    saturation: float
    hue: float  # fraction of the circle
    grey: bool
    blur: bool
    sigma: float  # pixels


@dataclass(frozen=True)
class StrongAugmentation:
    """Colour jitter, grey and blur of one image (METHODS: UniMatch, strong views).

    Attributes:
        brightness: factor uniform in 1 -+ this.
        contrast: factor uniform in 1 -+ this.
        saturation: factor uniform in 1 -+ this.
        hue: shift uniform in -+ this fraction of the colour circle, at most 0.5.
        jitter_probability: how often the four are applied, in random order.
        grey_probability: how often the image becomes grey.
        blur_probability: how often it is blurred.
        sigma: range of the blur's standard deviation in pixels, at most 2.
    """

    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.25
    jitter_probability: float = 0.8
    grey_probability: float = 0.2
    blur_probability: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)

    def augment(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the strong view of float32 (H, W, 3) in 0..255."""
        return self.augment_image(image, self.draw_factors(rng))

    def draw_factors(self, rng: np.random.Generator) -> StrongFactors:
        """Draw what is random about one view."""
        return StrongFactors(
            jitter=rng.random() < self.jitter_probability,
            order=tuple(rng.permutation(4).tolist()),
            brightness=rng.uniform(1 - self.brightness, 1 + self.brightness),
            contrast=rng.uniform(1 - self.contrast, 1 + self.contrast),
            saturation=rng.uniform(1 - self.saturation, 1 + self.saturation),
            hue=rng.uniform(-self.hue, self.hue),
            grey=rng.random() < self.grey_probability,
            blur=rng.random() < self.blur_probability,
            sigma=rng.uniform(*self.sigma),
        )

    def augment_image(self, image: np.ndarray, factors: StrongFactors) -> np.ndarray:
        """Apply given factors; what is not drawn costs nothing.

        Args:
            image: float32 (H, W, 3), 0..255; left as it is.
            factors: the factors.

        Returns:
            float32 (H, W, 3), 0..255.
        """
        if factors.jitter:
            image = _jitter(image, factors)
        if factors.grey:
            image = np.repeat(grey(image)[..., None], 3, axis=-1)
        return blur(image, factors.sigma) if factors.blur else image


def _jitter(image: np.ndarray, f: StrongFactors) -> np.ndarray:
    for operation in f.order:
        match operation:
            case 0:
                image = blend(image, 0.0, f.brightness)
            case 1:
                image = blend(image, grey(image).mean(dtype=np.float64), f.contrast)
            case 2:
                image = blend(image, grey(image)[..., None], f.saturation)
            case 3:
                image = turn_hue(image, f.hue)
    return image


def grey(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W)."""
    return image @ GREY_WEIGHTS


def blend(image: np.ndarray, other: np.ndarray | float, factor: float) -> np.ndarray:
    """Return `factor` of an image and the rest of another one, within 0..255."""
    blended = image * np.float32(factor)
    blended += np.float32(1.0 - factor) * np.asarray(other, np.float32)
    return np.clip(blended, 0.0, 255.0, out=blended)


def turn_hue(image: np.ndarray, shift: float) -> np.ndarray:
    """Turn the colour circle; largest and smallest of the three channels keep their values.

    With the hue h in sixths of the circle, the HSV hexagon gives each channel as `top - chroma * ramp(h + k)`, where
    the ramp over the circle is 0 for a third, rises for a sixth, stays 1 for a third and falls for a sixth.
    """
    red, green, blue = (np.ascontiguousarray(image[..., channel]) for channel in range(3))
    top = np.maximum(np.maximum(red, green), blue)
    chroma = top - np.minimum(np.minimum(red, green), blue)
    # Grey pixels have no hue: whatever it is, their ramp is multiplied by 0.
    over = 1.0 / np.maximum(chroma, np.float32(1e-12))
    hue = np.where(
        top == red, (green - blue) * over, np.where(top == green, (blue - red) * over + 2, (red - green) * over + 4)
    )
    turned = np.empty_like(image)
    for channel, k in enumerate((5, 3, 1)):
        ramp = hue + np.float32(k + 6 * shift)
        ramp -= 6 * np.floor(ramp * np.float32(1 / 6))
        ramp = np.clip(np.minimum(ramp, 4 - ramp), 0.0, 1.0)
        turned[..., channel] = top - chroma * ramp
    return turned
