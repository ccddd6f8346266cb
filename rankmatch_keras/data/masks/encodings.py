"""Encodings of classes in masks: class ids, two gray values, a threshold, a table of other ids."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from rankmatch_keras import IGNORE_INDEX
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
class Threshold:
    """Two classes as dark and bright, for black-and-white masks with soft edges.

    Attributes:
        at: values above it are class 1.
    """

    at: int

    def decode(self, raw: np.ndarray, name: str) -> np.ndarray:
        """Return int32 (H, W) of 0 and 1 from raw (H, W), or from shades of gray (H, W, 3).

        Raises:
            UserError: the mask holds colors.
        """
        if raw.ndim == 3 and (raw == raw[..., :1]).all():
            raw = raw[..., 0]
        _require_gray(raw, name)
        return (raw > self.at).astype(np.int32)


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
            "Say what the colors mean (--legend FILE.csv of lines name,red,green,blue), or save class ids.",
        )


def _unlisted(expected: str, raw: np.ndarray, wrong: np.ndarray, name: str) -> UserError:
    others = len(np.unique(raw[wrong])) - 1
    return UserError(
        expected,
        f"{int(raw[wrong][0])}{f' and {others} others' if others else ''} at {int(wrong.sum())} pixels of '{name}'",
        "Correct the mask, or say what its values mean; JPEG does not keep values.",
    )
