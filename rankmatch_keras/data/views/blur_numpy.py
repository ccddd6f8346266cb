"""Gaussian blur with PIL's border, by SciPy."""

import numpy as np
from scipy.ndimage import correlate1d

MAX_RADIUS = 6  # Three times the largest sigma: what lies beyond weighs under 0.3 %.


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return float32 (H, W, C) blurred by a standard deviation of `sigma` pixels, at most 2; the border is repeated."""
    weights = np.exp(-0.5 * (np.arange(-MAX_RADIUS, MAX_RADIUS + 1) / sigma) ** 2)
    weights /= weights.sum()
    return correlate1d(correlate1d(image, weights, axis=0, mode="nearest"), weights, axis=1, mode="nearest")
