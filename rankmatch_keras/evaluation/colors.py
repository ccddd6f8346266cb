"""Colors of classes, and RGB versions of any image."""

import functools

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.windows import row_blocks

IGNORED_COLOR = (240, 240, 240)
# Oklab lightness and chroma of the candidates: visible on black, not glaring on a photograph.
LIGHTNESS = (0.48, 0.92)
CHROMA = (0.08, 0.22)
PERCENTILES = (2, 98)
SAMPLED = 1 << 20  # pixels from which percentiles are estimated


def default_palette(n):
    """Make colors for class ids, perceptually as far apart as their number allows.

    Class 0 is black, as in the PASCAL VOC color map; each further class takes the color farthest from all before it in
    Oklab, a perceptual color space. A longer palette therefore begins with the shorter one: a class keeps its color.

    Args:
        n: number of colors, 1..256.

    Returns:
        uint8 (n, 3) RGB.
    """
    return np.array(_farthest_colors()[:n], np.uint8)


def full_palette(palette=None):
    """Make a color for every value of a mask.

    Args:
        palette: colors of the first classes, (n, 3) in 0..255, e.g. a data set's own; None: the default colors.

    Returns:
        uint8 (256, 3) RGB: the given colors, then those of `default_palette`; 255 (ignored pixels) is almost white.

    Raises:
        UserError: if the palette has another shape, type or range.
    """
    colors = default_palette(256)
    if palette is not None and len(palette):
        given = np.asarray(palette)
        numbers = given.ndim == 2 and given.shape[1] == 3 and np.issubdtype(given.dtype, np.integer)
        if not numbers or len(given) > 256 or given.min() < 0 or given.max() > 255:
            raise UserError(
                "a palette of at most 256 colors, red, green and blue in 0..255",
                f"shape {given.shape}, {given.dtype}",
                "Correct the palette or leave it out.",
            )
        colors[: len(given)] = given
    colors[IGNORE_INDEX] = IGNORED_COLOR
    return colors


def to_display(image):
    """Convert an image of any channel count and dtype to RGB for pictures, never for the network.

    One or two channels are shown as gray, by the first; of more than three, the first three are shown. Other dtypes
    than uint8 are stretched per channel, from the 2nd percentile at 0 to the 98th at 255; a channel without contrast
    becomes 0, and so do NaN and infinity.

    Args:
        image: (H, W) or (H, W, C), uint8, integer, bool or float.

    Returns:
        uint8 (H, W, 3); a view of the image if it can be shown as it is.

    Raises:
        UserError: if the image has another shape.
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


@functools.cache
def _farthest_colors():
    steps = np.linspace(0, 255, 16)
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    lab = _oklab(candidates)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    pleasant = (LIGHTNESS[0] < lab[:, 0]) & (lab[:, 0] < LIGHTNESS[1])
    pleasant &= (CHROMA[0] < chroma) & (chroma < CHROMA[1])
    candidates, lab = candidates[pleasant], lab[pleasant]
    taken = np.array([(0, 0, 0), IGNORED_COLOR, (128, 128, 128)], np.float64)
    nearest = np.min(np.linalg.norm(lab[:, None] - _oklab(taken)[None], axis=-1), axis=1)
    colors: list[tuple[int, ...]] = [(0, 0, 0)]
    while len(colors) < 256:
        best = int(np.argmax(nearest))
        colors.append(tuple(int(round(v)) for v in candidates[best]))
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[best], axis=-1))
    return colors


def _oklab(rgb):
    """Convert sRGB (n, 3) in 0..255 to Oklab (n, 3): lightness 0..1, green to red, blue to yellow (Ottosson, 2020)."""
    c = np.asarray(rgb, np.float64) / 255.0
    linear = np.where(c > 0.04045, ((c + 0.055) / 1.055) ** 2.4, c / 12.92)
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.cbrt(linear @ to_cones.T) @ to_lab.T


def _stretched(image):
    height, width, channels = image.shape
    step = max(1, round((height * width / SAMPLED) ** 0.5))
    limits = [_limits(image[::step, ::step, channel].astype(np.float64)) for channel in range(channels)]
    low, high = np.transpose(limits)
    stretched = np.empty(image.shape, np.uint8)
    for rows in row_blocks(height, 8 * width * channels):
        values = image[rows].astype(np.float64)
        values = np.where(np.isfinite(values), values, low)
        # The tiny divisor keeps a channel without contrast at 0.
        values = (values - low) / np.maximum(high - low, np.finfo(np.float64).tiny)
        stretched[rows] = np.round(255 * np.clip(values, 0, 1))
    return stretched


def _limits(values):
    finite = values[np.isfinite(values)]
    return np.percentile(finite, PERCENTILES) if finite.size else (0.0, 0.0)
