"""Masks drawn from a COCO-style JSON file, one for all images.

Pixels without annotation are class 0, "background". Later annotations paint over earlier ones, single objects over
regions marked `iscrowd`. Polygons and run lengths (RLE) cover the pixels that COCO's own tools give them.
"""

import functools
import os
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco_tools

from rankmatch_keras.data.masks.coco_records import FileRecord, Polygons, Runs, unpacked
from rankmatch_keras.data.masks.labelme import BACKGROUND, MAX_CLASSES
from rankmatch_keras.data.masks.shapes import (
    Work,
    flaw,
    outline_length,
    read_record,
    require_points,
    validated,
)
from rankmatch_keras.data.readers.guards import printable, require_bounded
from rankmatch_keras.data.readers.sources import Remark
from rankmatch_keras.errors import UserError

_PARSING = threading.Lock()


@dataclass(frozen=True)
class CocoMask:
    """A mask as annotations in a COCO-style JSON file.

    Attributes:
        path: the JSON file of all images.
        image_id: `id` of the image in it.
        class_names: name of class 0, 1, ...; None: as in the file.
    """

    path: Path
    image_id: int
    class_names: tuple[str, ...] | None = None

    def read(self) -> np.ndarray:
        """Draw int32 (H, W) of class ids.

        Raises:
            UserError: as `read_coco`; or there is no such image, or annotations cannot be drawn.
        """
        coco = read_coco(self.path)
        ids = self._image(coco).draw(str(self))
        if self.class_names in (None, coco.class_names):
            return ids
        return np.array([self.class_names.index(name) for name in coco.class_names], np.int32)[ids]

    def remarks(self) -> list[Remark]:
        """Return what a person should know about how the mask is read."""
        coco = read_coco(self.path)
        image, found = self._image(coco), []
        if image.bare:
            found.append(Remark("mask-boxes", f"{image.bare} objects without outline left out"))
        if outside := sum(_is_outside(one.segmentation, image) for one in image.annotations):
            found.append(Remark("mask-outside", f"{outside} objects outside its {image.width} x {image.height} pixels"))
        if coco.same_names:
            found.append(Remark("mask-same-names", f"several categories called {', '.join(coco.same_names)}"))
        crowds = sum(one.is_crowd for one in image.annotations)
        if crowds and coco.mixes_crowds:
            found.append(Remark("mask-crowds", f"{crowds} regions with iscrowd read as their class"))
        return found

    def _image(self, coco: "Coco") -> "CocoImage":
        if self.image_id not in coco.images:
            raise flaw(f"no image {self.image_id}", printable(self.path))
        return coco.images[self.image_id]

    def __str__(self) -> str:
        return f"{printable(self.path)}, image {self.image_id}"


@dataclass(frozen=True, eq=False)
class Coco:
    """A parsed COCO-style file.

    Attributes:
        path: the file.
        class_names: "background" for pixels without annotation, then the categories in the order of their ids. A
            category called background is class 0 itself, categories of one name are one class, and one that is only
            the `supercategory` of others, without objects, is none.
        images: the images by their ids.
        mixes_crowds: whether some annotations are marked `iscrowd` and some are not.
        same_names: names of classes that several categories have.
    """

    path: Path
    class_names: tuple[str, ...]
    images: dict[int, "CocoImage"]
    mixes_crowds: bool = False
    same_names: tuple[str, ...] = ()

    def masks(self) -> dict[str, CocoMask]:
        """Return the mask of every image by its `file_name`, which may lie in subfolders."""
        return {image.file_name: CocoMask(self.path, number) for number, image in self.images.items()}


@dataclass(frozen=True)
class CocoAnnotation:
    """An object or region.

    Attributes:
        number: its place in the list of the image's annotations.
        value: its class id.
        is_crowd: whether it is marked as a region (`iscrowd`), as brush tools do for all that they draw.
        segmentation: its outline as in the file.
    """

    number: int
    value: int
    is_crowd: bool
    segmentation: Any


@dataclass(eq=False)
class CocoImage:
    """An image of a COCO-style file.

    Attributes:
        file_name: path below the folder of the images.
        height: rows.
        width: columns.
        annotations: what is drawn, in the order of the file.
        bare: number of objects that are left out, as they have a box alone.
    """

    file_name: str
    height: int
    width: int
    annotations: list[CocoAnnotation] = field(default_factory=list)
    bare: int = 0

    def draw(self, where: str) -> np.ndarray:
        """Draw int32 (H, W) of class ids; errors call the image `where`."""
        canvas = np.zeros(self.width * self.height, np.uint8)  # column by column, as runs go
        work = Work()
        for one in sorted(self.annotations, key=lambda one: not one.is_crowd):
            which = f"{where}, annotation {one.number}"
            for counts in runs_of(one.segmentation, self.height, self.width, work, which):
                fill(canvas, counts, one.value, work, which)
        return canvas.reshape(self.width, self.height).T.astype(np.int32)


def read_coco(path: str | Path) -> Coco:
    """Read a COCO-style file: `images`, `categories`, and `annotations` as polygons or run lengths (RLE).

    The file is parsed once and kept while it does not change. Outlines are checked when a mask is read.

    Raises:
        UserError: the file is no JSON, or a key is missing, of a wrong type, repeated or unknown, or no object has an
            outline; the message says where.
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
    record = read_record(path, FileRecord)
    class_names, class_of = _classes(record, where)
    images: dict[int, CocoImage] = {}
    names: set[str] = set()
    for number, item in enumerate(record.images):
        which, name = f"{where}, images[{number}]", item.file_name
        if item.id in images or name in names:
            raise flaw("a repeated id or file_name", which)
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or not parts.name or not name.isprintable():
            what = "leads out of the folder" if parts.name else "names no file"
            raise flaw(f"the file name '{printable(name)}', which {what},", which)
        require_bounded(which, item.height, item.width)
        names.add(name)
        images[item.id] = CocoImage(name, item.height, item.width)
    for number, one in enumerate(record.annotations):
        if one.image_id not in images or one.category_id not in class_of:
            known = one.image_id in images
            unknown = f"category {one.category_id}" if known else f"image {one.image_id}"
            raise flaw(f"an unknown {unknown}", f"{where}, annotations[{number}]")
        image = images[one.image_id]
        if one.segmentation is None or one.segmentation == []:
            image.bare += 1
            continue
        place = len(image.annotations) + image.bare
        image.annotations.append(CocoAnnotation(place, class_of[one.category_id], bool(one.iscrowd), one.segmentation))
    if record.annotations and not any(image.annotations for image in images.values()):
        raise UserError(
            "annotations with outlines",
            f"boxes alone at all {len(record.annotations)} annotations in '{where}'",
            "Export polygons or masks: boxes do not say which pixels are the object.",
        )
    crowds = {annotation.is_crowd for image in images.values() for annotation in image.annotations}
    names_of = Counter(category.name for category in {each.id: each for each in record.categories}.values())
    same_names = tuple(name for name in class_names if names_of[name] > 1)
    return Coco(path, class_names, images, len(crowds) == 2, same_names)


def _classes(record: FileRecord, where: str) -> tuple[tuple[str, ...], dict[int, int]]:
    """Return the class names, and the class id of each category id."""
    names: dict[int, str] = {}
    for number, category in enumerate(record.categories):
        if names.setdefault(category.id, category.name) != category.name:
            raise flaw("a repeated id", f"{where}, categories[{number}]")
    parents = {each.supercategory for each in record.categories if each.supercategory != each.name}
    with_objects = {names.get(annotation.category_id) for annotation in record.annotations}
    in_order = dict.fromkeys(
        names[identity]
        for identity in sorted(names)
        if names[identity].lower() != BACKGROUND
        and (names[identity] in with_objects or names[identity] not in parents or _is_leaf(names[identity], record))
    )
    if not 1 <= len(in_order) < MAX_CLASSES:
        raise flaw(f"{len(in_order)} categories in place of 1 to 254", where)
    ids = {name: number for number, name in enumerate(in_order, 1)}
    return (BACKGROUND, *in_order), {identity: ids.get(name, 0) for identity, name in names.items()}


def _is_leaf(name: str, record: FileRecord) -> bool:
    """Return whether a category that others name as theirs is of its own kind, as "person" in COCO."""
    return any(each.name == name and each.supercategory == name for each in record.categories)


def runs_of(segmentation: Any, height: int, width: int, work: Work, where: str) -> list[Sequence[int]]:
    """Return the run lengths of an annotation: down the columns, outside and inside alternating."""
    if isinstance(segmentation, dict):
        runs = validated(Runs, segmentation, where)
        if runs.size != [height, width]:
            raise flaw(f"run lengths of size {str(runs.size)[:40]} for {[height, width]}", where)
        return [runs.counts]
    polygons = validated(Polygons, {"polygons": segmentation}, where).polygons
    for points in polygons:
        require_points(points, where)
        work.add_outline(outline_length(points), where)
    found = coco_tools.frPyObjects(polygons, height, width)
    return [unpacked(one["counts"].decode("ascii")) for one in found]


def _is_outside(segmentation: Any, image: CocoImage) -> bool:
    """Return whether polygons have no point inside the image and none around it."""
    if isinstance(segmentation, dict):
        return False
    polygons = Polygons.model_validate({"polygons": segmentation}).polygons
    x, y = (np.concatenate([points[start::2] for points in polygons]) for start in (0, 1))
    return bool(x.max() <= 0 or y.max() <= 0 or x.min() >= image.width or y.min() >= image.height)


def fill(canvas: np.ndarray, counts: Sequence[int], value: int, work: Work, where: str) -> None:
    """Set the pixels inside runs that must fill the canvas exactly."""
    total = sum(counts)
    if total != len(canvas):
        raise flaw(f"run lengths of {total} pixels for {len(canvas)}", where)
    ends = np.cumsum(counts)
    starts, stops = ends[:-1:2], ends[1::2]
    work.add_filled(int((stops - starts[: len(stops)]).sum()) + len(counts), where)
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=False):
        canvas[start:stop] = value
