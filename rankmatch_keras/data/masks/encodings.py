"""Encodings of classes in masks: class ids, two gray values, a table of other ids; and their detection."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.masks.legends import MAX_COLORS, Legend, pack_colors, unpack_color
from rankmatch_keras.errors import UserError


class MaskEncoding(Protocol):
    """Anything that turns the raw values of a mask into class ids.

    If it has a true attribute `of_colors`, it gets uint8 (H, W, 3) of every file: palettes are looked up, gray is
    repeated. Otherwise it gets the values as stored.
    """

    def decode(self, raw: np.ndarray, name: str) -> np.ndarray:
        """Return int32 (H, W) from raw (H, W) or (H, W, 3); errors call the mask `name`."""


@dataclass(frozen=True)
class Ids:
    """Values that are class ids already."""

    def decode(self, raw: np.ndarray, name: str) -> np.ndarray:
        """Return the values as int32 (H, W).

        Raises:
            UserError: the mask holds colors.
        """
        _require_gray(raw, name)
        return raw.astype(np.int32)


IDS = Ids()


@dataclass(frozen=True)
class TwoValues:
    """Two classes as two gray values, such as 0 and 255 of a black-and-white mask.

    Attributes:
        background: the value of class 0.
        foreground: the value of class 1.
        ignore: the value of pixels to ignore, if there are any.
    """

    background: int
    foreground: int
    ignore: int | None = None

    def __post_init__(self):
        if len({self.background, self.foreground, self.ignore}) < 3:
            raise UserError("different values for different meanings", f"{self}", "Correct the values.")

    def decode(self, raw: np.ndarray, name: str) -> np.ndarray:
        """Return int32 (H, W) of 0, 1 and 255 from raw (H, W).

        Raises:
            UserError: the mask holds a third value, or colors.
        """
        _require_gray(raw, name)
        ids = np.full(raw.shape, -1, np.int32)
        ids[raw == self.background] = 0
        ids[raw == self.foreground] = 1
        if self.ignore is not None:
            ids[raw == self.ignore] = IGNORE_INDEX
        if (ids < 0).any():
            raise _unlisted(f"only the values {self.background} and {self.foreground}", raw, ids < 0, name)
        return ids


@dataclass(frozen=True)
class Lookup:
    """Class ids through a table, such as the 34 ids of Cityscapes that become 19 classes.

    Attributes:
        table: pairs (value in the file, class id or 255); or the class id of value 0, 1, 2, ...
        others: class id of all values that are not listed, usually 255 (ignore); None makes them an error.

    Raises:
        UserError: values or class ids are out of range, or a value is listed twice.
    """

    table: tuple[tuple[int, int] | int, ...]
    others: int | None = None

    def __post_init__(self):
        pairs = self.table.items() if isinstance(self.table, Mapping) else self.table
        # Lists are accepted, but only tuples can be hashed and compared.
        listed = tuple(int(e) if isinstance(e, int | np.integer) else (int(e[0]), int(e[1])) for e in pairs)
        object.__setattr__(self, "table", listed)
        values, meanings = self._pairs
        if not len(values) or len(np.unique(values)) < len(values) or values.min() < 0 or values.max() > 65535:
            raise UserError("a table of different values in 0..65535", f"{self.table}", "Correct the table.")
        if meanings.min() < 0 or meanings.max() > IGNORE_INDEX:
            raise UserError("class ids in 0..255", f"{self.table}", "Correct the table.")

    @cached_property
    def _pairs(self) -> np.ndarray:
        pairs = [entry if isinstance(entry, tuple) else (value, entry) for value, entry in enumerate(self.table)]
        return np.array(pairs, np.int64).reshape(-1, 2).T

    @cached_property
    def _dense(self) -> np.ndarray:
        """Class id of every value, and last that of all values beyond the table; -1 where there is none."""
        values, meanings = self._pairs
        dense = np.full(values.max() + 2, -1 if self.others is None else self.others, np.int32)
        dense[values] = meanings
        return dense

    def decode(self, raw: np.ndarray, name: str) -> np.ndarray:
        """Return int32 (H, W) from raw (H, W).

        Raises:
            UserError: a value is not listed and `others` is None, or the mask holds colors.
        """
        _require_gray(raw, name)
        # Negative values, seen as unsigned, lie beyond the table too.
        places = raw.astype(np.int32, copy=False).view(np.uint32)
        ids = self._dense.take(np.minimum(places, np.uint32(len(self._dense) - 1)))
        if (ids < 0).any():
            raise _unlisted(f"mask values {_ranges(self._pairs[0])}", raw, ids < 0, name)
        return ids


def detect_encoding(
    raw_masks: Iterable[tuple[str, np.ndarray]], num_classes: int | None = None
) -> tuple[MaskEncoding, int]:
    """Detect the encoding of the masks of a data set, from all of them.

    Exactly two gray values other than 0 and 1 are two classes, of which the smaller one is class 0. So {0, 255} is
    black and white, although it could be class 0 and ignored pixels; if `num_classes` is more than 2, neither can be
    right, and that is an error. Other gray values are class ids, with 255 for pixels to ignore. Colors are classes in
    the order of (red, green, blue), except shades of gray, which are read as gray values.

    Args:
        raw_masks: name and values of each mask, as `read_raw_mask` returns them; iterated once.
        num_classes: K if known; None: the largest class id + 1, or the number of colors.

    Returns:
        The encoding, and the number of classes.

    Raises:
        UserError: there are no masks; all hold a single value; gray values and colors are mixed; there are more than
            256 colors, or values that cannot be the ids of `num_classes` classes; or, without `num_classes`, values
            are so far apart or so lossy that they can hardly be class ids.
    """
    if num_classes is not None and not 2 <= num_classes <= IGNORE_INDEX:
        raise UserError("2 to 255 classes", f"{num_classes}", "Correct the number of classes.")
    values, are_colors, count = _first_masks(raw_masks)
    if len(values) == 1:
        value = unpack_color(next(iter(values))) if are_colors else next(iter(values))
        raise UserError("masks of at least two classes", f"only {value} in all {count} masks", "Check the masks.")
    return _encoding_of_colors(values, num_classes) if are_colors else _encoding_of_values(values, num_classes)


def _first_masks(raw_masks: Iterable[tuple[str, np.ndarray]]) -> tuple[dict[int, str], bool, int]:
    """Return the first mask with each value (or packed color), whether they are colors, and the number of masks."""
    values: dict[int, str] = {}
    kinds: dict[bool, str] = {}
    count = 0
    for name, raw in raw_masks:
        count += 1
        is_color = raw.ndim == 3
        kinds.setdefault(is_color, name)
        if len(kinds) > 1:
            raise UserError(
                "masks of one kind",
                f"colors in '{kinds[True]}', gray or palette values in '{kinds[False]}'",
                "Say what the colors mean with a legend.",
            )
        for value in _distinct(pack_colors(raw, name) if is_color else raw):
            values.setdefault(int(value), name)
        if len(values) > MAX_COLORS:
            raise UserError(
                f"masks of at most {MAX_COLORS} different {'colors' if is_color else 'values'}",
                f"more up to '{name}'",
                "This looks like JPEG-compressed masks, photographs or object numbers; give masks of classes.",
            )
    if not count:
        raise UserError("at least one mask", "none", "Check the folder of the masks.")
    return values, True in kinds, count


def _distinct(values: np.ndarray) -> np.ndarray:
    """Return what `np.unique` does, without sorting if the values are small."""
    if not values.size or values.min() < 0 or values.max() >= 1 << 24:
        return np.unique(values)
    seen = np.zeros(int(values.max()) + 1, bool)
    seen[values.ravel()] = True
    return np.flatnonzero(seen)


def _encoding_of_values(values: dict[int, str], num_classes: int | None) -> tuple[MaskEncoding, int]:
    ordered = sorted(values)
    if len(ordered) == 2 and ordered != [0, 1]:
        if num_classes in (None, 2):
            return TwoValues(ordered[0], ordered[1]), 2
        if ordered[1] == IGNORE_INDEX:
            raise UserError(
                f"masks of {num_classes} classes",
                f"only {ordered[0]} and {IGNORE_INDEX} in all of them",
                "Give 2 as the number of classes if they are black and white.",
            )
    ids = [value for value in ordered if value != IGNORE_INDEX]
    wrong = [value for value in ids if not 0 <= value < (num_classes or IGNORE_INDEX)]
    if wrong:
        raise UserError(
            f"class ids 0..{(num_classes or IGNORE_INDEX) - 1} or {IGNORE_INDEX} (ignore)",
            f"{wrong[0]} in '{values[wrong[0]]}'",
            "Correct the masks or the number of classes, or say with a legend what the values mean.",
        )
    if num_classes is None:
        _require_plausible(ids, values)
    return IDS, num_classes or ids[-1] + 1


def _require_plausible(ids: list[int], values: dict[int, str]) -> None:
    lossy = [name for name in values.values() if name.lower().endswith((".jpg", ".jpeg"))]
    if (lossy and len(values) > 2) or 4 * len(ids) <= ids[-1]:
        shown = ", ".join(map(str, ids[:6])) + (", ..." if len(ids) > 6 else "")
        raise UserError(
            "class ids 0, 1, 2, ...",
            f"{shown} in '{lossy[0] if lossy else values[ids[-1]]}'" + (" (JPEG changes values)" if lossy else ""),
            "Give the number of classes if these are class ids, or say with a legend what the values mean.",
        )


def _encoding_of_colors(values: dict[int, str], num_classes: int | None) -> tuple[MaskEncoding, int]:
    colors = [unpack_color(code) for code in sorted(values)]
    if all(red == green == blue for red, green, blue in colors):
        try:
            encoding, count = _encoding_of_values(
                {unpack_color(code)[0]: name for code, name in values.items()}, num_classes
            )
        except UserError:
            pass  # shades that are no ids may be the colors of classes
        else:
            shades = (encoding.background, encoding.foreground) if isinstance(encoding, TwoValues) else range(count)
            ignore = () if isinstance(encoding, TwoValues) else ((IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX),)
            return Legend(tuple((shade, shade, shade) for shade in shades), ignore), count
    if num_classes not in (None, len(colors)):
        raise UserError(
            f"masks of {num_classes} classes",
            f"{len(colors)} colors, as {colors[0]} in '{values[min(values)]}'",
            "Say what they mean with a legend, or correct the number of classes.",
        )
    if len(colors) > IGNORE_INDEX:
        raise UserError(f"at most {IGNORE_INDEX} classes", f"{len(colors)} colors", "Say what they mean with a legend.")
    return Legend(tuple(colors)), len(colors)


def _ranges(values: np.ndarray) -> str:
    """Write numbers as ranges: 0, 1, 2, 255 becomes "0..2, 255"."""
    ordered = sorted(values.tolist())
    starts = [v for v, before in zip(ordered, [None, *ordered], strict=False) if before is None or v != before + 1]
    ends = [v for v, after in zip(ordered, [*ordered[1:], None], strict=False) if after is None or v != after - 1]
    return ", ".join(f"{a}" if a == b else f"{a}..{b}" for a, b in zip(starts, ends, strict=True))


def _require_gray(raw: np.ndarray, name: str) -> None:
    if raw.ndim != 2:
        raise UserError(
            "a mask with one class id per pixel (gray or palette)",
            f"colors in '{name}'",
            "Say what the colors mean with a legend (lines of name,red,green,blue), or save class ids.",
        )


def _unlisted(expected: str, raw: np.ndarray, wrong: np.ndarray, name: str) -> UserError:
    others = len(np.unique(raw[wrong])) - 1
    return UserError(
        expected,
        f"{int(raw[wrong][0])}{f' and {others} others' if others else ''} at {int(wrong.sum())} pixels of '{name}'",
        "Correct the mask, or say what its values mean; JPEG does not keep values.",
    )
