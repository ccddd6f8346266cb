"""Surveys of masks: how many pixels of each value a mask holds, from which its encoding is judged."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from rankmatch_keras.data.masks.legends import MAX_COLORS, Color, pack_colors, unpack_color
from rankmatch_keras.errors import UserError

# A photograph shows fewer classes than this between two that lie at the ends of the range.
_FEWEST_BLENDS = 12
_FEWEST_IN_HALF = 4
_LEAST_RANGE = 64
_AT_THE_PEAKS = 0.6
# Colors that fill this part of a mask are those of classes; blends of two of them lie close to the line between.
_FREQUENT = 0.01
_MOST_BLENDS = 0.75
_FROM_LINE = 6.0
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Survey:
    """What one mask holds.

    Attributes:
        name: its name in messages.
        is_color: whether it holds colors.
        pixels: number of pixels of each value, or of each packed color.
        palette: of a palette image the colors of value 0, 1, ...; empty for others.
    """

    name: str
    is_color: bool
    pixels: Mapping[int, int]
    palette: tuple[Color, ...] = ()

    @property
    def values(self) -> set[int]:
        """The different values, or packed colors."""
        return set(self.pixels)

    @cached_property
    def gray(self) -> "Survey | None":
        """The survey of its gray values; None where there are colors other than shades of gray."""
        if not self.is_color:
            return self
        colors = {unpack_color(code): count for code, count in self.pixels.items()}
        if any(len(set(color)) > 1 for color in colors):
            return None
        return Survey(self.name, False, {color[0]: count for color, count in colors.items()})

    @cached_property
    def soft_peaks(self) -> tuple[int, int] | None:
        """The two frequent values of a black-and-white mask with soft edges; None for any other mask.

        Smoothed, resized or lossy masks hold many values between and around two peaks, in both halves of their range;
        class ids of one mask do not.
        """
        if self.gray is None:
            return None
        values = np.array(sorted(self.gray.pixels))
        pixels = np.array([self.gray.pixels[value] for value in values.tolist()])
        extent = int(values[-1] - values[0])
        bright = values > values[0] + extent / 2
        if extent < _LEAST_RANGE or len(values) < 2 + _FEWEST_BLENDS:
            return None
        if min(bright.sum(), (~bright).sum()) <= _FEWEST_IN_HALF:
            return None
        low, high = (int(values[half][pixels[half].argmax()]) for half in (~bright, bright))
        near = np.minimum(abs(values - low), abs(values - high)) <= extent / 8
        return (low, high) if pixels[near].sum() >= _AT_THE_PEAKS * pixels.sum() else None

    @cached_property
    def blended_colors(self) -> tuple[Color, Color] | None:
        """The two most frequent colors of a mask with soft edges; None for any other mask."""
        if self.gray is not None:
            return None
        colors = np.array([unpack_color(code) for code in self.pixels], np.float64)
        pixels = np.array(list(self.pixels.values()))
        is_frequent = pixels >= _FREQUENT * pixels.sum()
        # Blends leave little of a small object's own color: the one that is farthest from the most frequent.
        is_frequent[np.hypot.reduce(colors - colors[pixels.argmax()], axis=1).argmax()] = True
        frequent, rare = colors[is_frequent], colors[~is_frequent]
        if len(rare) < _FEWEST_BLENDS:
            return None
        blends = np.zeros(len(rare), bool)
        for one, other in itertools.combinations(frequent, 2):
            blends |= _between(rare, one, other)
        if blends.mean() < _MOST_BLENDS:
            return None
        first, second = (unpack_color(code) for code in sorted(self.pixels, key=self.pixels.__getitem__)[:-3:-1])
        return first, second


def _between(colors: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return which colors (N, 3) lie close to the line between two colors that differ clearly: bool (N,)."""
    line = other - one
    if np.hypot.reduce(line) < _LEAST_RANGE:
        return np.zeros(len(colors), bool)
    part = np.clip((colors - one) @ line / (line @ line), 0, 1)
    return np.hypot.reduce(colors - one - part[:, None] * line, axis=1) <= _FROM_LINE


def survey_of(name: str, raw: np.ndarray, palette: np.ndarray | None = None) -> Survey:
    """Count the values of a mask.

    Args:
        name: its name in messages.
        raw: its values as `read_raw_mask` returns them.
        palette: uint8 (N, 3), the colors of a palette image.

    Raises:
        UserError: there are more than 256 different values or colors.
    """
    is_color = raw.ndim == 3
    pixels = _counts(pack_colors(raw, name) if is_color else raw)
    if len(pixels) > MAX_COLORS:
        raise too_many(name, is_color)
    return Survey(name, is_color, pixels, () if palette is None else _colors(palette.tobytes()))


def too_many(name: str, is_color: bool) -> UserError:
    """Return the error for masks with more values than classes can have."""
    return UserError(
        f"masks of at most {MAX_COLORS} different {'colors' if is_color else 'values'}",
        f"more up to '{name}'",
        "This looks like JPEG-compressed masks, photographs or object numbers; give masks of classes.",
    )


@lru_cache
def _colors(palette: bytes) -> tuple[Color, ...]:
    """Return the colors of a palette, black beyond its end; equal palettes of many masks take memory once."""
    palette = palette.ljust(3 * MAX_COLORS, b"\0")
    return tuple(zip(palette[::3], palette[1::3], palette[2::3], strict=True))


def _counts(values: np.ndarray) -> dict[int, int]:
    """Count the pixels of each value; of more than `MAX_COLORS` values without their numbers."""
    codes = _distinct(values)
    counts = np.zeros(len(codes), np.int64)
    flat = values.ravel()
    for start in range(0, flat.size if len(codes) <= MAX_COLORS else 0, _CHUNK):
        places = np.searchsorted(codes, flat[start : start + _CHUNK])
        counts += np.bincount(places, minlength=len(codes))
    return dict(zip(codes.tolist(), counts.tolist(), strict=True))


def _distinct(values: np.ndarray) -> np.ndarray:
    """Return what `np.unique` does, without sorting if the values are small."""
    if not values.size or values.min() < 0 or values.max() >= 1 << 24:
        return np.unique(values)
    seen = np.zeros(int(values.max()) + 1, bool)
    seen[values.ravel()] = True
    return np.flatnonzero(seen)
