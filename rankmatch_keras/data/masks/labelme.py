"""Masks drawn from LabelMe's annotations, one JSON file per image.

Pixels that no shape covers are class 0, "background". Later shapes paint over earlier ones. Pillow draws the shapes, as
in LabelMe's own export: pixels that hold a corner or lie on an edge belong to the shape, lines are 10 pixels wide and
points have a radius of 5 pixels.
"""

import base64
import binascii
import math
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngImageFile
from pydantic import BeforeValidator

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.masks.shapes import (
    FIRST,
    MAX_FILLED,
    Points,
    Record,
    Side,
    Work,
    flaw,
    outline_length,
    read_record,
    require_points,
)
from rankmatch_keras.data.readers.guards import printable, quiet, reading, require_bounded
from rankmatch_keras.errors import UserError

BACKGROUND = "background"
MAX_CLASSES = 255
# Room for the image itself, which LabelMe may write into the file.
_MAX_BYTES = 2**29
# LabelMe's names for pixels of no class.
_MEANINGS = {"_background_": 0, "__ignore__": IGNORE_INDEX}
_EDGES_AND_ROWS = 1_000_000_000
# As LabelMe draws them.
LINE_WIDTH = 10
POINT_RADIUS = 5
_FEWEST_POINTS = {"polygon": 3, "point": 1}


def _decoded(text: Any) -> Any:
    """Return the bytes of a base64 text; anything else as it is."""
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else text
    except binascii.Error:
        raise ValueError("a text that is no base64") from None


class _Shape(Record):
    label: str
    points: Points
    shape_type: Literal["polygon", "rectangle", "circle", "mask", "line", "linestrip", "point"] | None = None
    mask: Annotated[bytes | None, BeforeValidator(_decoded)] = None


class _File(Record):
    shapes: Annotated[list[_Shape], FIRST]
    imageHeight: Side
    imageWidth: Side


@dataclass(frozen=True)
class LabelMeMask:
    """A mask as a JSON file of LabelMe: polygons, rectangles, circles, masks, lines and points.

    Attributes:
        path: the JSON file of one image.
        class_names: name of class 0 (pixels that no shape covers), 1, ...; the labels `_background_` and
            `__ignore__` stand for 0 and 255.
    """

    path: Path
    class_names: tuple[str, ...]

    def read(self) -> np.ndarray:
        """Draw int32 (H, W) of class ids.

        Raises:
            UserError: the file is missing or not from LabelMe, a label is no class, or shapes cannot be drawn.
        """
        where = str(self)
        record = read_record(self.path, _File, _MAX_BYTES)
        require_bounded(where, record.imageHeight, record.imageWidth)
        canvas = Image.new("L", (record.imageWidth, record.imageHeight))
        draw, work = ImageDraw.Draw(canvas), Work()
        ids = {name: n for n, name in enumerate(self.class_names)} | _MEANINGS
        for number, shape in enumerate(record.shapes):
            if shape.label not in ids:
                raise UserError(
                    f"a label of {', '.join(self.class_names[:20])}",
                    f"'{printable(shape.label)}' in '{where}', shape {number}",
                    "Correct the label or the class names.",
                )
            _draw(draw, shape, ids[shape.label], work, f"{where}, shape {number}")
        return np.array(canvas, np.int32)

    def __str__(self) -> str:
        return printable(self.path)


def labelme_classes(paths: Iterable[str | Path]) -> tuple[str, ...]:
    """Return "background" and all other labels in some LabelMe files, in alphabetical order: names for `LabelMeMask`.

    Raises:
        UserError: a file cannot be read, or all of them hold no label or more than 254.
    """
    paths = list(paths)
    labels = {shape.label for path in paths for shape in read_record(path, _File, _MAX_BYTES).shapes}
    labels -= {BACKGROUND, *_MEANINGS}
    if not 1 <= len(labels) < MAX_CLASSES:
        first = f", '{printable(paths[0])}' first" if paths else ""
        found = f"{len(labels)} in {len(paths)} LabelMe files{first}" if paths else "no LabelMe files"
        raise UserError("1 to 254 labels", found, "Check the folder.")
    return (BACKGROUND, *sorted(labels))


def _draw(draw: ImageDraw.ImageDraw, shape: _Shape, value: int, work: Work, where: str) -> None:
    kind = shape.shape_type or "polygon"
    require_points(shape.points, where, _FEWEST_POINTS.get(kind, 2))
    xs, ys = shape.points[::2], shape.points[1::2]
    if kind == "polygon":
        _require_quick(shape.points, draw, work, where)
        draw.polygon(shape.points, fill=value, outline=value)
    elif kind == "rectangle":
        draw.rectangle((min(xs), min(ys), max(xs), max(ys)), fill=value, outline=value)
    elif kind == "mask":
        draw.bitmap((int(xs[0]), int(ys[0])), _drawn_mask(shape, draw, work, where), fill=value)
    elif kind in ("line", "linestrip"):
        work.add_outline(LINE_WIDTH * outline_length(shape.points), where)
        draw.line(shape.points, fill=value, width=LINE_WIDTH)
    else:
        radius = POINT_RADIUS if kind == "point" else math.hypot(xs[1] - xs[0], ys[1] - ys[0])
        draw.ellipse((xs[0] - radius, ys[0] - radius, xs[0] + radius, ys[0] + radius), fill=value, outline=value)


def _drawn_mask(shape: _Shape, draw: ImageDraw.ImageDraw, work: Work, where: str) -> Image.Image:
    """Return the picture of a shape that is a mask, as large as its box, both of whose corners belong to it."""
    left, top, right, bottom = map(int, shape.points[:4])
    width, height = draw.im.size
    if shape.mask is None or len(shape.points) != 4 or not (0 <= left <= right < width and 0 <= top <= bottom < height):
        raise flaw("a mask without picture, or whose box does not lie in the image,", where)
    with reading(where, "a mask as PNG"), quiet():
        picture = PngImageFile(BytesIO(shape.mask))
    size = (right - left + 1, bottom - top + 1)
    if picture.size != size:
        raise flaw(f"a mask of {picture.width} x {picture.height} pixels in a box of {size[0]} x {size[1]}", where)
    work.add_filled(size[0] * size[1], where)
    with reading(where, "a mask as PNG"):
        return Image.fromarray(np.array(picture.convert("L")) != 0)


def _require_quick(points: list[float], draw: ImageDraw.ImageDraw, work: Work, where: str) -> None:
    """Refuse a polygon that Pillow would draw for long: it looks at each edge in each row."""
    work.add_outline(outline_length(points), where)
    rows = min(max(points[1::2]), draw.im.size[1]) - max(min(points[1::2]), 0)
    work.add_filled(int(max(rows, 0) * len(points) / 2 * (MAX_FILLED / _EDGES_AND_ROWS)), where)
