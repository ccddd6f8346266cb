"""Masks drawn from polygon annotations: LabelMe (one JSON file per image) and COCO (one for all images).

Pixels that no shape covers are class 0, "background". Later shapes paint over earlier ones. Pillow draws the shapes, as
in LabelMe's own export: pixels that hold a corner or lie on an edge belong to the shape.
"""

import functools
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.masks.shapes import distance, flaw, get, points_of, read_json, require_size, runs_to_mask
from rankmatch_keras.data.readers.guards import printable
from rankmatch_keras.errors import UserError

BACKGROUND = "background"
_MAX_CLASSES = 255
# LabelMe's names for pixels of no class.
_LABELME_MEANINGS = {"_background_": 0, "__ignore__": IGNORE_INDEX}
_PARSING = threading.Lock()


@dataclass(frozen=True)
class LabelMeMask:
    """A mask as a JSON file of LabelMe: polygons, rectangles and circles.

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
        where = printable(self.path)
        record = read_json(self.path)
        canvas = Image.new("L", require_size(record, "imageHeight", "imageWidth", where)[::-1])
        draw = ImageDraw.Draw(canvas)
        ids = {name: n for n, name in enumerate(self.class_names)} | _LABELME_MEANINGS
        for number, shape in enumerate(get(record, "shapes", list, where)):
            label = get(shape, "label", str, f"{where}, shape {number}")
            if label not in ids:
                raise UserError(
                    f"a label of {', '.join(self.class_names[:20])}",
                    f"'{printable(label)}' in '{where}', shape {number}",
                    "Correct the label or the class names.",
                )
            _draw_labelme(draw, shape, ids[label], f"{where}, shape {number}")
        return np.array(canvas, np.int32)

    def __str__(self) -> str:
        return printable(self.path)


def labelme_classes(paths: Iterable[str | Path]) -> tuple[str, ...]:
    """Return "background" and all other labels in some LabelMe files, in alphabetical order: names for `LabelMeMask`.

    Raises:
        UserError: a file cannot be read, or all of them hold no label or more than 254.
    """
    labels: set[str] = set()
    paths = list(paths)
    names = [printable(path) for path in paths]
    for path, where in zip(paths, names, strict=True):
        shapes = get(read_json(path), "shapes", list, where)
        labels.update(get(shape, "label", str, where) for shape in shapes)
    labels -= {BACKGROUND, *_LABELME_MEANINGS}
    if not 1 <= len(labels) < _MAX_CLASSES:
        found = f"{len(labels)} in {len(names)} LabelMe files, '{names[0]}' first" if names else "no LabelMe files"
        raise UserError("1 to 254 labels", found, "Check the folder.")
    return (BACKGROUND, *sorted(labels))


@dataclass(frozen=True)
class CocoMask:
    """A mask as annotations in a COCO-style JSON file.

    Attributes:
        path: the JSON file of all images.
        image_id: `id` of the image in it.
    """

    path: Path
    image_id: int

    def read(self) -> np.ndarray:
        """Draw int32 (H, W) of class ids; crowds (`iscrowd`) are 255.

        Raises:
            UserError: as `read_coco`; or there is no such image, or annotations cannot be drawn.
        """
        coco = read_coco(self.path)
        if self.image_id not in coco.images:
            raise flaw(f"no image {self.image_id}", printable(self.path))
        return coco.images[self.image_id].draw(str(self))

    def __str__(self) -> str:
        return f"{printable(self.path)}, image {self.image_id}"


@dataclass(frozen=True, eq=False)
class Coco:
    """A parsed COCO-style file.

    Attributes:
        path: the file.
        class_names: "background" for pixels without annotation, then the categories in the order of their ids. A
            category called background is class 0 itself.
        images: the images by their ids.
    """

    path: Path
    class_names: tuple[str, ...]
    images: dict[int, "CocoImage"]

    def masks(self) -> dict[str, CocoMask]:
        """Return the mask of every image by its `file_name`, which may lie in subfolders."""
        return {image.file_name: CocoMask(self.path, number) for number, image in self.images.items()}


@dataclass(frozen=True, eq=False)
class CocoImage:
    """An image of a COCO-style file.

    Attributes:
        file_name: path below the folder of the images.
        height: rows.
        width: columns.
        annotations: class id and `segmentation` of each annotation, in the order of the file.
    """

    file_name: str
    height: int
    width: int
    annotations: list[tuple[int, Any]]

    def draw(self, where: str) -> np.ndarray:
        """Draw int32 (H, W) of class ids; errors call the image `where`."""
        canvas = Image.new("L", (self.width, self.height))
        draw = ImageDraw.Draw(canvas)
        for number, (value, segmentation) in enumerate(self.annotations):
            which = f"{where}, annotation {number}"
            if isinstance(segmentation, dict):
                inside = runs_to_mask(segmentation, self.height, self.width, which)
                canvas.paste(value, mask=Image.fromarray(inside))
            elif isinstance(segmentation, list) and segmentation:
                for part in segmentation:
                    draw.polygon(points_of(part, which), fill=value, outline=value)
            else:
                raise flaw("no segmentation", which)
        return np.array(canvas, np.int32)


def read_coco(path: str | Path) -> Coco:
    """Read a COCO-style file: `images`, `categories`, and `annotations` as polygons or run lengths (RLE).

    The file is parsed once and kept while it does not change. Annotations are checked when a mask is read.

    Raises:
        UserError: the file is no JSON, or a key is missing, of a wrong type, repeated or unknown; the message says
            where.
    """
    path = Path(path)
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(
            "a COCO-style JSON file", f"'{printable(path)}': {error.strerror}", "Check the path."
        ) from error
    # Threads wait for one that parses instead of all parsing the same file.
    with _PARSING:
        return _parsed(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)
def _parsed(path: Path, mtime_ns: int, size: int) -> Coco:
    where = printable(path)
    record = read_json(path)
    class_names, class_of = _classes(get(record, "categories", list, where), where)
    images: dict[int, CocoImage] = {}
    names: set[str] = set()
    for number, item in enumerate(get(record, "images", list, where)):
        which = f"{where}, images[{number}]"
        identity, name = get(item, "id", int, which), get(item, "file_name", str, which)
        if identity in images or name in names:
            raise flaw("a repeated id or file_name", which)
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not name.isprintable():
            raise flaw(f"the file name '{printable(name)}', which leads out of the folder", which)
        names.add(name)
        images[identity] = CocoImage(name, *require_size(item, "height", "width", which), [])
    for number, item in enumerate(get(record, "annotations", list, where)):
        which = f"{where}, annotations[{number}]"
        image, category = get(item, "image_id", int, which), get(item, "category_id", int, which)
        if image not in images or category not in class_of:
            raise flaw(f"an unknown image {image}" if image not in images else f"an unknown category {category}", which)
        value = IGNORE_INDEX if item.get("iscrowd") else class_of[category]
        images[image].annotations.append((value, item.get("segmentation")))
    return Coco(path, class_names, images)


def _classes(categories: Sequence[Any], where: str) -> tuple[tuple[str, ...], dict[int, int]]:
    """Return the class names, and the class id of each category id."""
    names: dict[int, str] = {}
    for number, category in enumerate(categories):
        which = f"{where}, categories[{number}]"
        identity, name = get(category, "id", int, which), get(category, "name", str, which)
        if identity in names or name in names.values():
            raise flaw("a repeated id or name", which)
        names[identity] = name
    in_order = [identity for identity in sorted(names) if names[identity].lower() != BACKGROUND]
    if not 1 <= len(in_order) < _MAX_CLASSES:
        raise flaw(f"{len(in_order)} categories in place of 1 to 254", where)
    class_of = dict.fromkeys(names, 0) | {identity: n for n, identity in enumerate(in_order, 1)}
    return (BACKGROUND, *(names[identity] for identity in in_order)), class_of


def _draw_labelme(draw: ImageDraw.ImageDraw, shape: dict, value: int, where: str) -> None:
    kind = shape.get("shape_type") or "polygon"
    if kind == "polygon":
        draw.polygon(points_of(shape.get("points"), where), fill=value, outline=value)
    elif kind == "rectangle":
        points = points_of(shape.get("points"), where, 2)
        left, right = min(x for x, _ in points), max(x for x, _ in points)
        top, bottom = min(y for _, y in points), max(y for _, y in points)
        draw.rectangle((left, top, right, bottom), fill=value, outline=value)
    elif kind == "circle":
        points = points_of(shape.get("points"), where, 2)
        (x, y), radius = points[0], distance(*points[:2])
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=value, outline=value)
    else:
        raise flaw(f"a shape of type {str(kind)[:40]!r} (polygon, rectangle and circle are read)", where)
