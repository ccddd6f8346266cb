"""Weak views in NumPy and SciPy: joint resize, padding, crop and flip of an image and its mask.

Twin of `weak_tensorflow`. Resize, padding, crop and flip are one linear operation per axis, inside the crop only.
"""

import numpy as np
from scipy.sparse import csr_array

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.views.sampling import WeakGeometry


def weak_image(image: np.ndarray, geometry: WeakGeometry, crop: tuple[int, int]) -> np.ndarray:
    """Cut the weak view out of an image; bilinear, smoothed when it shrinks (as PIL does), padding 0.

    Args:
        image: (H, W, C), uint8 or float32.
        geometry: see `WeakGeometry`.
        crop: height and width of the view.

    Returns:
        float32 (crop height, crop width, C), in the image's units.
    """
    rows, used_rows = _weights(geometry.top, crop[0], geometry.height, image.shape[0])
    columns, used_columns = _weights(geometry.left, crop[1], geometry.width, image.shape[1], geometry.flip)
    part = np.ascontiguousarray(image[used_rows, used_columns], np.float32)
    channels = part.shape[-1]
    # (h, w, C) -> (crop height, w, C) -> (w, crop height, C) -> (crop width, crop height, C) -> as returned.
    part = (rows @ part.reshape(len(part), -1)).reshape(crop[0], -1, channels)
    part = np.ascontiguousarray(part.transpose(1, 0, 2))
    part = (columns @ part.reshape(len(part), -1)).reshape(crop[1], -1, channels)
    return np.ascontiguousarray(part.transpose(1, 0, 2))


def weak_mask(mask: np.ndarray, geometry: WeakGeometry, crop: tuple[int, int]) -> np.ndarray:
    """Cut the weak view out of a mask; nearest pixel, padding 255.

    Args:
        mask: int32 (H, W).
        geometry: as for the image.
        crop: height and width of the view.

    Returns:
        int32 (crop height, crop width).
    """
    rows = _nearest(geometry.top, crop[0], geometry.height, mask.shape[0])
    columns = _nearest(geometry.left, crop[1], geometry.width, mask.shape[1])
    view = mask[rows][:, columns[::-1] if geometry.flip else columns]
    return np.where(valid_area(geometry, crop), view, np.int32(IGNORE_INDEX))


def part_of(image: np.ndarray, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    """Cut a part out of an image at its own size; padding 0.

    Args:
        image: (H, W, C), uint8 or float32.
        top: its first row.
        left: its first column.
        size: height and width of the part.

    Returns:
        float32 (height, width, C), in the image's units.
    """
    part = np.zeros((*size, image.shape[2]), np.float32)
    found = image[top : top + size[0], left : left + size[1]]
    part[: found.shape[0], : found.shape[1]] = found
    return part


def valid_area(geometry: WeakGeometry, crop: tuple[int, int]) -> np.ndarray:
    """Return bool (crop height, crop width): True on the image, False on padding."""
    rows = np.arange(crop[0]) + geometry.top < geometry.height
    columns = np.arange(crop[1]) + geometry.left < geometry.width
    return rows[:, None] & (columns[::-1] if geometry.flip else columns)


def _weights(start: int, length: int, new: int, old: int, flip: bool = False) -> tuple[csr_array, slice]:
    """Return the weights of `length` pixels from `start` on, of an axis resized from `old` to `new` pixels.

    An output pixel is the mean of the source pixels around it under a triangle as wide as the sampling distance, but
    at least two pixels; where it lies beyond the image, all its weights are 0.

    Returns:
        float32 (length, number of source pixels used), and which source pixels those are.
    """
    distance = old / new
    radius = max(distance, 1.0)
    place = np.arange(length) + start
    if flip:
        place = place[::-1]
    center = (place + 0.5) * distance - 0.5
    taps = np.ceil(center - radius)[:, None] + np.arange(int(2 * radius) + 1)
    weights = np.maximum(1.0 - np.abs(taps - center[:, None]) / radius, 0.0)
    weights *= (taps >= 0) & (taps < old)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    weights[place >= new] = 0.0
    taps = np.clip(taps, 0, old - 1).astype(np.int32)
    first, last = int(taps.min()), int(taps.max())
    ends = np.arange(length + 1, dtype=np.int32) * taps.shape[1]
    matrix = (weights.astype(np.float32).ravel(), (taps - first).ravel(), ends)
    return csr_array(matrix, shape=(length, last + 1 - first)), slice(first, last + 1)


def _nearest(start: int, length: int, new: int, old: int) -> np.ndarray:
    """Return the source index of each output pixel: floor((i + 1/2) * old / new), in whole numbers."""
    index = (2 * (np.arange(length, dtype=np.int64) + start) + 1) * old // (2 * new)
    return np.minimum(index, old - 1)
