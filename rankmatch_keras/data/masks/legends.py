"""Legends: the classes of masks as colors, and the text file that lists them."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.readers.guards import printable, read_text
from rankmatch_keras.errors import UserError

IGNORED_NAMES = ("ignore", "void", "unlabeled", "unlabelled")
# A mask of class colors has a handful of them; lossy compression makes many more at their borders.
MAX_COLORS = 256
# A line of CVAT: label:red,green,blue:parts:actions.
_LABELMAP = re.compile(r"(.+):(\d+),(\d+),(\d+):[^:]*:[^:]*", re.ASCII)

Color = tuple[int, int, int]
Entry = Color | tuple[Color, ...]


@dataclass(frozen=True)
class Legend:
    """Classes as colors.

    Attributes:
        colors: for class 0, 1, ... its (red, green, blue) in 0..255, or a tuple of several such colors.
        ignore: colors of pixels to ignore.

    Raises:
        UserError: there are no colors, an entry is no color, or a color has two meanings.
    """

    colors: tuple[Entry, ...]
    ignore: tuple[Color, ...] = ()

    # Ask for uint8 (H, W, 3) whatever the file is: palettes looked up, gray repeated.
    of_colors: ClassVar[bool] = True

    def __post_init__(self):
        object.__setattr__(self, "colors", tuple(_checked(entry) for entry in self.colors))
        object.__setattr__(self, "ignore", tuple(_checked(color) for color in self.ignore))
        if not 1 <= len(self.colors) <= IGNORE_INDEX:
            raise UserError("1 to 255 classes with colors", f"{len(self.colors)}", "Correct the legend.")
        _ = self._meanings

    @cached_property
    def _meanings(self) -> dict[int, int]:
        """Class id of each color, keyed by its 24-bit number."""
        pairs = [(color, n) for n, entry in enumerate(self.colors) for color in colors_of(entry)]
        pairs += [(color, IGNORE_INDEX) for entry in self.ignore for color in colors_of(entry)]
        meanings: dict[int, int] = {}
        for color, meaning in pairs:
            if meanings.setdefault(packed_color(color), meaning) != meaning:
                raise UserError("one meaning for each color", f"two for {color}", "Correct the legend.")
        return meanings

    @property
    def has_black(self) -> bool:
        """Whether black, which stands for what is not drawn, has a meaning."""
        return 0 in self._meanings

    def decode(self, raw: np.ndarray, name: str) -> np.ndarray:
        """Return int32 (H, W) from raw uint8 (H, W, 3); raw (H, W) is taken as shades of gray.

        Raises:
            UserError: a color is not in the legend.
        """
        packed = pack_colors(raw, name)
        ids = _table(self).take(packed).astype(np.int32) - 1
        if (ids < 0).any():
            raise unknown_colors(packed, ids < 0, name)
        return ids


@lru_cache(maxsize=4)
def _table(legend: Legend) -> np.ndarray:
    """Return class id + 1 of every color, 0 where there is none: 32 MB, of which only touched pages take memory."""
    table = np.zeros(1 << 24, np.uint16)
    for code, meaning in legend._meanings.items():
        table[code] = meaning + 1
    return table


def legend_of(named: Mapping[str, Entry]) -> tuple[Legend, tuple[str, ...]]:
    """Turn named colors into a legend.

    Args:
        named: for each class its color, or a tuple of colors, as `read_legend` returns it. Classes called ignore,
            void, unlabeled or unlabelled (in any case) become 255.

    Returns:
        The legend and the names of its classes, both in the order of `named`.

    Raises:
        UserError: see `Legend`.
    """
    names = tuple(name for name in named if name.lower() not in IGNORED_NAMES)
    ignored = [color for name, entry in named.items() if name not in names for color in colors_of(_checked(entry))]
    return Legend(tuple(named[name] for name in names), tuple(ignored)), names


def read_legend(path: str | Path) -> dict[str, Entry]:
    """Read a legend: what the colors of masks mean.

    Args:
        path: text file with one color per line, `name,red,green,blue` or, as in CamVid, `red green blue name`, or, as
            in CVAT, `name:red,green,blue::`; a header line is skipped, and so are lines that start with # and hold no
            color.

    Returns:
        (red, green, blue) by class name in the order of the file; where a name stands on several lines, a tuple
        of their colors. See `legend_of`.

    Raises:
        UserError: the file is no text or longer than a megabyte, a line lacks name or color, or a color occurs twice;
            the message names the line.
    """
    lines = read_text(path, "a legend").splitlines()
    named: dict[str, tuple[Color, ...]] = {}
    first_line: dict[Color, int] = {}
    may_be_header = True
    for number, line in enumerate(lines, 1):
        entry = _parsed(line, f"line {number} of '{printable(path)}'", may_be_header)
        may_be_header = may_be_header and not line.strip(" \t,")
        if entry is None:
            continue
        name, color = entry
        if color in first_line:
            found = f"{color} in lines {first_line[color]} and {number} of '{printable(path)}'"
            raise UserError("each color once", found, "Remove one of the lines.")
        first_line[color] = number
        named[name] = (*named.get(name, ()), color)
    if not named:
        raise UserError("lines of name,red,green,blue", f"none in '{printable(path)}'", "Write one per class.")
    return {name: colors[0] if len(colors) == 1 else colors for name, colors in named.items()}


def pack_colors(raw: np.ndarray, name: str) -> np.ndarray:
    """Pack each color into one number: int32 (H, W) of 0xRRGGBB from (H, W, 3), or from gray (H, W).

    Raises:
        UserError: values lie outside 0..255.
    """
    if raw.dtype != np.uint8:
        if raw.size and (raw.min() < 0 or raw.max() > 255):
            raise UserError("8-bit colors", f"values beyond 0..255 in '{name}'", "Save 8 bits per channel.")
        raw = raw.astype(np.uint8)
    packed = np.zeros(raw.shape[:2], np.int32)
    for channel in range(3):
        packed = (packed << 8) | (raw[..., channel] if raw.ndim == 3 else raw)
    return packed


def unpack_color(code: int) -> Color:
    """Unpack 0xRRGGBB to (red, green, blue)."""
    return int(code) >> 16, (int(code) >> 8) & 255, int(code) & 255


def colors_of(entry: Entry) -> tuple[Color, ...]:
    """Return the colors of a class, which has one or several, as a tuple."""
    return entry if isinstance(entry[0], tuple) else (entry,)  # type: ignore[return-value]


def packed_color(color: Color) -> int:
    """Pack (red, green, blue) into one number, 0xRRGGBB."""
    return (color[0] << 16) | (color[1] << 8) | color[2]


def _checked(entry: Any) -> Any:
    """Return one color or several as tuples of int; lists and NumPy numbers are accepted."""
    if isinstance(entry, str) or not hasattr(entry, "__len__") or not len(entry):
        raise UserError("colors as (red, green, blue)", f"{entry!r}", "Correct the legend.")
    if hasattr(entry[0], "__len__"):
        return tuple(_checked(color) for color in entry)
    if len(entry) != 3 or not all(isinstance(part, int | np.integer) and 0 <= part <= 255 for part in entry):
        raise UserError("colors as red, green, blue in 0..255", f"{tuple(entry)}", "Correct the legend.")
    return int(entry[0]), int(entry[1]), int(entry[2])


def _parsed(line: str, where: str, may_be_header: bool) -> tuple[str, Color] | None:
    """Parse name and color of a line; None for a line that may be skipped."""
    try:
        fields = next(csv.reader([line], skipinitialspace=True), []) if "," in line else line.split()
    except csv.Error as error:  # a field of over 131,072 characters
        raise UserError("name,red,green,blue", f"{error} in {where}", "Correct the line.") from None
    if labelmap := _LABELMAP.fullmatch(line.strip()):
        fields = [*labelmap.groups()]
    fields = [field.strip() for field in fields]
    numeric = [field.isascii() and field.isdigit() for field in fields]
    name_first = "," in line
    for first in (name_first, not name_first):
        name, color = (fields[:-3], fields[-3:]) if first else (fields[3:], fields[:3])
        if "".join(name) and all(numeric[-3:] if first else numeric[:3]) and len(color) == 3:
            red, green, blue = (int(number[:9]) for number in color)
            if max(red, green, blue) > 255:
                raise UserError("red, green, blue in 0..255", f"{red}, {green}, {blue} in {where}", "Correct it.")
            return " ".join(name), (red, green, blue)
    if not any(fields) or line.lstrip().startswith("#") or (may_be_header and not any(numeric)):
        return None
    raise UserError("name,red,green,blue", f"'{printable(line[:80])}' in {where}", "Correct the line.")


def unknown_colors(packed: np.ndarray, unknown: np.ndarray, name: str) -> UserError:
    """Return the error for a mask with colors that have no meaning."""
    different, total = np.unique(packed[unknown]), len(np.unique(packed))
    others = f" and {len(different) - 1} other colors" if len(different) > 1 else ""
    lossy = f"; its {total} colors look like a JPEG-compressed mask" if total > MAX_COLORS else ""
    return UserError(
        "only colors of the legend",
        f"{unpack_color(packed[unknown][0])}{others} at {int(unknown.sum())} pixels of '{name}'{lossy}",
        "Use the masks from before they were compressed, or save them as PNG."
        if lossy
        else "Add the color to the legend, as a class or as ignore.",
    )
