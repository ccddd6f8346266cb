"""Any image as something a screen can show."""

import numpy as np

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.windows import row_blocks

PERCENTILES = (2, 98)
SAMPLED = 1 << 20  # pixels from which percentiles are estimated


def to_display(image):
    """An image of any channel count and dtype as RGB for pictures; never for the network.

    One or two channels are shown grey, by the first; of more than three the first three are shown. Values that are not
    uint8 are stretched, each channel for itself, so that its 2nd percentile becomes 0 and its 98th 255; a channel
    without contrast becomes 0, and so do NaN and infinity.

    Args:
        image: (H, W) or (H, W, C), uint8, integer, bool or float.

    Returns:
        uint8 (H, W, 3); a view of the image where it can be shown as it is.

    Raises:
        UserError: for another shape.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or 0 in image.shape:
        raise UserError("an image (H, W) or (H, W, C)", f"shape {image.shape}", "Give one image with channels last.")
    shown = image[..., :3] if image.shape[-1] >= 3 else image[..., :1]
    if shown.dtype != np.uint8:
        shown = _stretched(shown)
    return np.repeat(shown, 3, axis=-1) if shown.shape[-1] == 1 else shown


def _stretched(image):
    height, width, channels = image.shape
    step = max(1, round((height * width / SAMPLED) ** 0.5))
    limits = [_limits(image[::step, ::step, channel].astype(np.float64)) for channel in range(channels)]
    low, high = np.transpose(limits)
    stretched = np.empty(image.shape, np.uint8)
    for rows in row_blocks(height, 8 * width * channels):
        values = image[rows].astype(np.float64)
        values = np.where(np.isfinite(values), values, low)
        # The smallest number keeps a channel without contrast at 0.
        values = (values - low) / np.maximum(high - low, np.finfo(np.float64).tiny)
        stretched[rows] = np.round(255 * np.clip(values, 0, 1))
    return stretched


def _limits(values):
    finite = values[np.isfinite(values)]
    return np.percentile(finite, PERCENTILES) if finite.size else (0.0, 0.0)
