"""Strong views in NumPy and SciPy; twin of `strong_keras_cv`."""

import numpy as np
from scipy.ndimage import correlate, correlate1d

from rankmatch_keras.data.views.policies import (
    OPERATIONS,
    ChannelFactors,
    ChannelJitter,
    JitterFactors,
    OperationFactors,
    Policy,
    StrongFactors,
)

GRAY_WEIGHTS = np.array([0.2989, 0.587, 0.114], np.float32)  # ITU-R 601, as PIL's mode L
MAX_RADIUS = 6  # three times the largest sigma: what lies beyond weighs under 0.3 %
SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32)[..., None] / np.float32(13)  # PIL's SMOOTH


def strong_view(image: np.ndarray, policy: Policy, factors: StrongFactors) -> np.ndarray:
    """Make a strong view; what the factors leave out costs nothing.

    Args:
        image: float32 (H, W, C), the weak view; left as it is. Bounded images lie in 0..255.
        policy: how the view is made.
        factors: what `policy.sample` returned.

    Returns:
        float32 (H, W, C).
    """
    if isinstance(factors, JitterFactors):
        return _jitter_colors(image, factors)
    if isinstance(factors, OperationFactors):
        return _apply_operations(image, factors)
    assert isinstance(policy, ChannelJitter)
    return _jitter_channels(image, factors, policy.bounded)


def _jitter_colors(image: np.ndarray, factors: JitterFactors) -> np.ndarray:
    for operation in factors.order if factors.jitter else ():
        match operation:
            case 0:
                image = blend(image, 0.0, factors.brightness)
            case 1:
                image = blend(image, gray(image).mean(dtype=np.float64), factors.contrast)
            case 2:
                image = blend(image, gray(image)[..., None], factors.saturation)
            case 3:
                image = turn_hue(image, factors.hue)
    if factors.gray:
        image = np.repeat(gray(image)[..., None], 3, axis=-1)
    return blur(image, factors.sigma) if factors.blur else image


def _jitter_channels(image: np.ndarray, factors: ChannelFactors, bounded: bool) -> np.ndarray:
    for place in range(2 if factors.jitter else 0):
        if factors.contrast_first == (place == 0):
            mean = image.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
            image = mean + (image - mean) * factors.contrast
        else:
            image = image * factors.brightness
        if bounded:
            np.clip(image, 0.0, 255.0, out=image)
    return blur(image, factors.sigma) if factors.blur else image


def _apply_operations(image: np.ndarray, factors: OperationFactors) -> np.ndarray:
    for place in range(factors.number):
        image = _apply(OPERATIONS[factors.operations[place]], image, factors.strengths[place])
    return image


def _apply(operation: str, image: np.ndarray, strength: float) -> np.ndarray:
    match operation:
        case "autocontrast":
            return _autocontrast(image)
        case "equalize":
            levels = np.round(image).astype(np.int64)
            return np.stack([_equalize(levels[..., channel]) for channel in range(3)], axis=-1)
        case "blur":
            return blur(image, strength)
        case "contrast":
            return blend(image, gray(image).mean(dtype=np.float64), strength)
        case "brightness":
            return blend(image, 0.0, strength)
        case "saturation":
            return blend(image, gray(image)[..., None], strength)
        case "sharpness":
            return blend(image, _smooth(image), strength)
        case "posterize":
            step = np.float32(strength)
            return step * np.floor(np.round(image) / step)
        case "solarize":
            return np.where(image < np.float32(strength), image, 255 - image)
        case "hue":
            return turn_hue(image, strength)
    return image


def gray(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W)."""
    return image @ GRAY_WEIGHTS


def blend(image: np.ndarray, other: np.ndarray | float, factor: float) -> np.ndarray:
    """Return `factor` times an image plus `1 - factor` times another one, clipped to 0..255."""
    blended = image * np.float32(factor)
    blended += np.float32(1.0 - factor) * np.asarray(other, np.float32)
    return np.clip(blended, 0.0, 255.0, out=blended)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur float32 (H, W, C) by a standard deviation of `sigma` pixels, at most 2; the border pixel is repeated."""
    weights = np.exp(-0.5 * (np.arange(-MAX_RADIUS, MAX_RADIUS + 1) / sigma) ** 2)
    weights /= weights.sum()
    return correlate1d(correlate1d(image, weights, axis=0, mode="nearest"), weights, axis=1, mode="nearest")


def turn_hue(image: np.ndarray, shift: float) -> np.ndarray:
    """Turn the color circle; largest and smallest of the three channels keep their values.

    With the hue h in sixths of the circle, the HSV hexagon gives each channel as `top - chroma * ramp(h + k)`, where
    the ramp over the circle is 0 for a third, rises for a sixth, stays 1 for a third and falls for a sixth.
    """
    red, green, blue = (np.ascontiguousarray(image[..., channel]) for channel in range(3))
    top = np.maximum(np.maximum(red, green), blue)
    chroma = top - np.minimum(np.minimum(red, green), blue)
    # Gray pixels have no hue: whatever it is, their ramp is multiplied by 0.
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


def _autocontrast(image: np.ndarray) -> np.ndarray:
    low, high = image.min(axis=(0, 1)), image.max(axis=(0, 1))
    flat = high == low
    scale = np.float32(255) / np.where(flat, 1, high - low)
    return np.where(flat, image, np.clip((image - low) * scale, 0, 255)).astype(np.float32)


def _smooth(image: np.ndarray) -> np.ndarray:
    """Smooth as PIL does, which leaves the outermost pixels as they are."""
    smooth = image.copy()
    smooth[1:-1, 1:-1] = correlate(image, SMOOTH)[1:-1, 1:-1]
    return smooth


def _equalize(levels: np.ndarray) -> np.ndarray:
    """Map the levels of one channel so that each range of them has equally many pixels, as PIL does."""
    histogram = np.bincount(levels.ravel(), minlength=256)
    step = (levels.size - histogram[levels.max()]) // 255
    if step == 0:
        return levels.astype(np.float32)
    before = np.cumsum(histogram) - histogram
    table = np.minimum((step // 2 + before) // step, 255)
    return table[levels].astype(np.float32)
