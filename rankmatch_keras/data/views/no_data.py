"""Pixels without data: NaN in any channel of a float image, as the readers leave what a raster marks so."""

import numpy as np


def without_data(image: np.ndarray) -> np.ndarray | None:
    """Return bool (H, W), True where a channel of an image (H, W, C) is NaN; None if there is no such pixel."""
    if image.dtype.kind != "f":
        return None
    missing = np.isnan(image).any(-1)
    return missing if missing.any() else None


def filled(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return an image (H, W, C) with the value of its channel (C,) in place of NaN."""
    return np.where(np.isnan(image), values.astype(image.dtype), image)
