"""Colours for classes."""

import functools

import numpy as np

from rankmatch_keras.errors import UserError

IGNORE = 255
IGNORED_COLOUR = (240, 240, 240)
# Oklab lightness and chroma of the candidates: neither lost on black nor glaring on a photograph.
LIGHTNESS = (0.48, 0.92)
CHROMA = (0.08, 0.22)


def default_palette(n):
    """Colours for class ids, as far apart to the eye as the number allows.

    Class 0 is black, as in the PASCAL VOC colour map; each further class takes the colour farthest (in
    Oklab, where distances follow the eye) from all before it. A longer palette thus begins with the
    shorter one: a class keeps its colour.

    Args:
        n: number of colours, 1..256.

    Returns:
        uint8 (n, 3) RGB.
    """
    return np.array(_farthest_colours()[:n], np.uint8)


def full_palette(palette=None):
    """A colour for every value of a mask.

    Args:
        palette: colours of the first classes, (n, 3) of 0..255, e.g. a data set's own; None: none given.

    Returns:
        uint8 (256, 3) RGB: the given colours, then those of `default_palette`; 255 (ignored pixels) almost white.

    Raises:
        UserError: if the palette is something else.
    """
    colours = default_palette(256)
    if palette is not None and len(palette):
        given = np.asarray(palette)
        numbers = given.ndim == 2 and given.shape[1] == 3 and np.issubdtype(given.dtype, np.integer)
        if not numbers or len(given) > 256 or given.min() < 0 or given.max() > 255:
            raise UserError(
                "a palette of at most 256 colours, red, green and blue in 0..255",
                f"shape {given.shape}, {given.dtype}",
                "Correct the palette or leave it out.",
            )
        colours[: len(given)] = given
    colours[IGNORE] = IGNORED_COLOUR
    return colours


@functools.cache
def _farthest_colours():
    steps = np.linspace(0, 255, 16)
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    lab = _oklab(candidates)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    pleasant = (LIGHTNESS[0] < lab[:, 0]) & (lab[:, 0] < LIGHTNESS[1])
    pleasant &= (CHROMA[0] < chroma) & (chroma < CHROMA[1])
    candidates, lab = candidates[pleasant], lab[pleasant]
    taken = np.array([(0, 0, 0), IGNORED_COLOUR, (128, 128, 128)], np.float64)
    nearest = np.min(np.linalg.norm(lab[:, None] - _oklab(taken)[None], axis=-1), axis=1)
    colours: list[tuple[int, ...]] = [(0, 0, 0)]
    while len(colours) < 256:
        best = int(np.argmax(nearest))
        colours.append(tuple(int(round(v)) for v in candidates[best]))
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[best], axis=-1))
    return colours


def _oklab(rgb):
    """SRGB (n, 3) in 0..255 to Oklab (n, 3): lightness 0..1, green to red, blue to yellow (Ottosson, 2020)."""
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
