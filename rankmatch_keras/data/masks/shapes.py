"""Annotated shapes: polygons and run lengths, and the JSON files that hold them."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankmatch_keras.data.readers.guards import open_regular, printable, reading, require_bounded
from rankmatch_keras.errors import UserError

MAX_BYTES = 2**31
# Far outside any picture; the drawing routines compute with 32-bit integers.
MAX_COORDINATE = 1_000_000
_MAX_POINTS = 100_000

Point = tuple[float, float]


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON file whose outermost value is an object.

    Raises:
        UserError: the file is missing, larger than 2 GB, no JSON, nested too deeply, or not an object.
    """
    with reading(path, "a readable JSON file"):
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise flaw("more than 2 GB", printable(path))
            text = file.read()
        try:
            content = json.loads(text)
        except RecursionError:
            raise flaw("lists nested too deeply", printable(path)) from None
    if not isinstance(content, dict):
        raise flaw(f"a {type(content).__name__} in place of an object", printable(path))
    return content


def get(record: Any, key: str, kind: type, where: str) -> Any:
    """Return `record[key]` of type `kind` (float: any finite number); bool is never a number.

    Raises:
        UserError: the record is no object, or has no such key, or one of another type.
    """
    if not isinstance(record, dict) or key not in record:
        raise flaw(f"no '{key}'", where)
    value = record[key]
    is_right = is_number(value) if kind is float else isinstance(value, kind) and not isinstance(value, bool)
    if not is_right:
        raise flaw(f"'{key}' of type {type(value).__name__}", where)
    return value


def is_number(value: Any) -> bool:
    """Return whether a value can be a coordinate: a number, not NaN, within bounds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_COORDINATE


def require_size(record: Any, height_key: str, width_key: str, where: str) -> tuple[int, int]:
    """Return (height, width) of an image record.

    Raises:
        UserError: a side is missing or not positive, or there are more than 100 megapixels.
    """
    height, width = get(record, height_key, int, where), get(record, width_key, int, where)
    require_bounded(where, height, width)
    return height, width


def points_of(coordinates: Any, where: str, fewest: int = 3) -> list[Point]:
    """Parse points from [[x, y], ...] or [x, y, x, y, ...].

    Raises:
        UserError: numbers are NaN, infinite or too large, a point is cut in half, or there are fewer points than
            `fewest`.
    """
    if not isinstance(coordinates, list) or len(coordinates) > _MAX_POINTS:
        raise flaw("points that are no list", where)
    if coordinates and all(isinstance(point, list) and len(point) == 2 for point in coordinates):
        coordinates = [number for point in coordinates for number in point]
    if not all(is_number(number) for number in coordinates):
        raise flaw("points that are no finite numbers", where)
    if len(coordinates) % 2 or len(coordinates) < 2 * fewest:
        raise flaw(f"{len(coordinates)} coordinates in place of {fewest} points or more", where)
    return list(zip(coordinates[::2], coordinates[1::2], strict=True))


def distance(first: Point, second: Point) -> float:
    """Return the distance between two points."""
    return math.hypot(second[0] - first[0], second[1] - first[1])


def runs_to_mask(segmentation: dict, height: int, width: int, where: str) -> np.ndarray:
    """Decode COCO run lengths: bool (H, W).

    Args:
        segmentation: `size` [height, width] and `counts`: lengths of runs down the columns, outside and inside
            alternating, as a list or packed into text.
        height: of the image.
        width: of the image.
        where: name of the annotation in errors.

    Raises:
        UserError: the size is not that of the image, or the runs do not fill it exactly.
    """
    if segmentation.get("size") != [height, width]:
        raise flaw(f"run lengths of size {str(segmentation.get('size'))[:40]} for {[height, width]}", where)
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts = _unpacked(counts, where)
    if not isinstance(counts, list) or not all(type(count) is int and 0 <= count <= height * width for count in counts):
        raise flaw("run lengths that are no list of counts", where)
    if sum(counts) != height * width:
        raise flaw(f"run lengths of {sum(counts)} pixels for {height * width}", where)
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def _unpacked(text: str, where: str) -> Sequence[int]:
    """Unpack COCO's text: 5 bits and a continuation bit per character; from the third on, differences to two before."""
    counts: list[int] = []
    number = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 35:
            raise flaw(f"run lengths with {character!r}", where)
        number |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                number -= 1 << shift
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    if shift:
        raise flaw("run lengths that are cut off", where)
    return counts


def flaw(found: str, where: str) -> UserError:
    """Return the error for an annotation that cannot be drawn."""
    return UserError("annotations that can be drawn", f"{found} in '{where}'", "Correct or export them again.")
