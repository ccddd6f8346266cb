"""Annotated shapes: the JSON files that hold them, their outlines, and how much work drawing them may take."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, ValidationError

from rankmatch_keras.data.readers.guards import open_regular, printable, reading
from rankmatch_keras.errors import UserError

MAX_BYTES = 2**31
# Far outside any picture; the drawing routines compute with 32-bit integers.
MAX_COORDINATE = 1_000_000
_MAX_POINTS = 100_000
# Pixels along the outlines of one shape and of all in one picture, and pixels that all of them fill: seconds of work.
MAX_OUTLINE = 4_000_000
MAX_OUTLINES = 10_000_000
MAX_FILLED = 5_000_000_000
_CHUNK = 1 << 24

R = TypeVar("R", bound=BaseModel)


class Record(BaseModel):
    """A part of an annotation file; keys that are not read are skipped."""

    model_config = ConfigDict(strict=True)


# Of a list the first wrong item is enough: all of them would take more memory than the file.
FIRST = FailFast()
Side = Annotated[int, Field(ge=1)]
Coordinate = Annotated[float, Field(ge=-MAX_COORDINATE, le=MAX_COORDINATE, allow_inf_nan=False)]


def _flat(points: Any) -> Any:
    """Return [x, y, x, y, ...] of [[x, y], ...]; anything else as it is."""
    if isinstance(points, list) and points and all(isinstance(p, list | tuple) and len(p) == 2 for p in points):
        return [number for point in points for number in point]
    return points


Points = Annotated[list[Coordinate], FIRST, Field(max_length=2 * _MAX_POINTS), BeforeValidator(_flat)]


def read_record(path: str | Path, kind: type[R], most: int = MAX_BYTES) -> R:
    """Read a JSON file of annotations.

    Args:
        path: the file.
        kind: what it must hold.
        most: bytes it may have.

    Raises:
        UserError: the file is missing, too large, no JSON, nested too deeply, or does not hold what it must.
    """
    where = printable(path)
    with reading(path, "a readable JSON file"):
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > most:
                raise flaw(f"more than {most >> 20} MiB", where)
            parts = []
            while part := file.read(_CHUNK):
                # JSON holds some in UTF-16 and 32 only, beside each character; a file of them ends here.
                if part.count(b"\0") > 3 * len(part) // 4:
                    raise flaw("zero bytes in place of text", where)
                parts.append(part)
        text = b"".join(parts)
        del parts
        encoding = json.detect_encoding(text[:4])
        if encoding != "utf-8":
            text = text.decode(encoding).encode()
        try:
            return kind.model_validate_json(text)
        except ValidationError as error:
            raise flaw_of(error, where) from None


def validated(kind: type[R], value: Any, where: str) -> R:
    """Return a part of a file as what it must be.

    Raises:
        UserError: it is something else.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise flaw_of(error, where) from None


def flaw_of(error: ValidationError, where: str) -> UserError:
    """Return the error for the first thing that a schema does not allow."""
    first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        deep = "recursion limit" in first["msg"]
        return flaw("lists nested too deeply" if deep else printable(first["msg"][:200]), where)
    *place, last = ("", *first["loc"])
    if first["type"] == "missing":
        return flaw(f"no '{last}'", _joined(where, place))
    if first["type"] == "value_error":
        return flaw(printable(first["msg"].removeprefix("Value error, ")), _joined(where, [*place, last]))
    value = first["input"]
    shown = f"a {type(value).__name__}" if isinstance(value, list | dict) else printable(repr(value)[:40])
    should = first["msg"].removeprefix("Input ")[:200]
    return flaw(f"{shown}, which {should},", _joined(where, [*place, last]))


def _joined(where: str, place: Sequence[int | str]) -> str:
    """Return the place in a file, such as "a.json, shapes[3].points"."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place if part != "").lstrip(".")
    return f"{where}, {text}" if text else where


def flaw(found: str, where: str) -> UserError:
    """Return the error for an annotation that cannot be drawn."""
    return UserError("annotations that can be drawn", f"{found} in '{where}'", "Correct or export them again.")


def require_points(coordinates: Sequence[float], where: str, fewest: int = 3) -> None:
    """Refuse [x, y, x, y, ...] with half a point, or with fewer points than `fewest`."""
    if len(coordinates) % 2 or len(coordinates) < 2 * fewest:
        raise flaw(f"{len(coordinates)} coordinates in place of {fewest} points or more", where)


class Work:
    """The work that the shapes of one picture take, added up before each is drawn."""

    def __init__(self):
        self._outlines, self._filled = 0.0, 0

    def add_outline(self, pixels: float, where: str) -> None:
        """Count an outline.

        Raises:
            UserError: this outline, or all together, would take many seconds.
        """
        self._outlines += pixels
        if pixels > MAX_OUTLINE or self._outlines > MAX_OUTLINES:
            raise flaw(f"outlines of {int(self._outlines)} pixels, more than shapes of a picture have,", where)

    def add_filled(self, pixels: int, where: str) -> None:
        """Count pixels to be filled.

        Raises:
            UserError: all together would take many seconds.
        """
        self._filled += pixels
        if self._filled > MAX_FILLED:
            raise flaw(f"{self._filled} pixels to fill, many times those of the picture,", where)


def outline_length(coordinates: Sequence[float]) -> float:
    """Return the pixels along the outline of a polygon [x, y, x, y, ...], which is closed."""
    points = np.asarray(coordinates, np.float64).reshape(-1, 2)
    return float(abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())
