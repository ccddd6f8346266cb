"""Palettes of masks: where they differ from file to file, equal colors are equal classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rankmatch_keras.data.masks.legends import Color, pack_colors, packed_color, unknown_colors
from rankmatch_keras.data.masks.surveys import Survey
from rankmatch_keras.errors import Contradiction

_REMEDY = "Say with a legend (--legend FILE.csv) which color is which class, or save all masks with one palette."


@dataclass(frozen=True)
class PaletteColors:
    """Classes of palette masks whose palettes differ.

    Attributes:
        ids: pairs of a color and its class id.
        like: name of the mask whose palette gives each color its class id.
    """

    ids: tuple[tuple[Color, int], ...]
    like: str

    of_colors: ClassVar[bool] = True
    has_black: ClassVar[bool] = False

    def decode(self, raw: np.ndarray, name: str) -> np.ndarray:
        """Return int32 (H, W) from raw uint8 (H, W, 3).

        Raises:
            UserError: a color is none of the palette that decides.
        """
        packed = pack_colors(raw, name)
        codes, meanings = np.array(sorted((packed_color(color), value) for color, value in self.ids)).T
        places = np.minimum(np.searchsorted(codes, packed), len(codes) - 1)
        unknown = codes[places] != packed
        if unknown.any():
            raise unknown_colors(packed, unknown, name)
        return meanings[places].astype(np.int32)

    def differs(self, palette: np.ndarray) -> bool:
        """Return whether colors of a palette, uint8 (N, 3), stand at other indices than their class ids."""
        indices = {tuple(color): index for index, color in reversed(list(enumerate(palette.tolist())))}
        return any(indices.get(color, value) != value for color, value in self.ids)


def common_palette(surveys: Sequence[Survey]) -> tuple[Mapping[Color, int], str] | None:
    """Return what the colors of palettes that differ mean, and the mask that says so; None where indices agree.

    The first palette that holds every color that any mask uses decides which index a color stands for. Palettes that
    only repeat the index as a shade of gray say nothing.

    Raises:
        Contradiction: palettes differ and none holds all colors, or some masks have none; two masks are named.
    """
    named: dict[tuple[Color, ...], tuple[str, set[int]]] = {}
    for survey in surveys:
        if _has_colors(survey):
            named.setdefault(survey.palette, (survey.name, set()))[1].update(survey.values)
    conflict = _conflict(named)
    if conflict is None:
        return None
    bare = next((survey for survey in surveys if not _has_colors(survey) and survey.values - {0}), None)
    if bare is not None:
        found = f"colors that differ in '{conflict[0]}' and '{conflict[1]}', and no palette in '{bare.name}'"
        raise Contradiction("masks with one palette", found, _REMEDY)
    shown = {palette[value] for palette, (_, used) in named.items() for value in used}
    for palette, (name, used) in named.items():
        ids = {palette[value]: value for value in [*reversed(range(len(palette))), *sorted(used)]}
        if shown <= ids.keys() and len({palette[value] for value in used}) == len(used):
            return {color: ids[color] for color in shown}, name
    first, second, value = conflict
    raise Contradiction("palettes of one meaning", f"{value} in '{first}' and '{second}'", _REMEDY)


def by_palette(survey: Survey, ids: Mapping[Color, int]) -> Survey:
    """Return a survey as if its mask had the palette that decides."""
    pixels: dict[int, int] = {}
    for value, count in survey.pixels.items():
        value = ids[survey.palette[value]]
        pixels[value] = pixels.get(value, 0) + count
    return replace(survey, pixels=pixels, palette=())


def _has_colors(survey: Survey) -> bool:
    return bool(survey.palette) and any(survey.palette[value] != (value, value, value) for value in survey.pixels)


def _conflict(named: Mapping[tuple[Color, ...], tuple[str, set[int]]]) -> tuple[str, str, str] | None:
    """Return two masks with other colors at one index, or one color at two, and what differs."""
    color_at: dict[int, tuple[Color, str]] = {}
    index_of: dict[Color, tuple[int, tuple[Color, ...]]] = {}
    for palette, (name, used) in named.items():
        for value in sorted(used):
            color = palette[value]
            known, first = color_at.setdefault(value, (color, name))
            if known != color:
                return first, name, f"{known} and {color} as index {value}"
            index, other = index_of.setdefault(color, (value, palette))
            # A palette that repeats a color says nothing about its indices.
            if index != value and not palette[index] == color == other[value]:
                return named[other][0], name, f"{color} as index {index} and {value}"
    return None
