"""Masks drawn from Label Studio's JSON export, one file for all images.

Pixels that no region covers are class 0, "background"; later regions paint over earlier ones. Polygons, rectangles and
ellipses cover the pixels that COCO's tools give them, brush strokes those that were painted.
"""

import functools
import math
import os
import re
import threading
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from rankmatch_keras.data.masks.coco import fill, runs_of
from rankmatch_keras.data.masks.label_studio_brush import MAX_RUNS, brushed
from rankmatch_keras.data.masks.label_studio_records import AnnotationRecord, FileRecord, Value
from rankmatch_keras.data.masks.labelme import BACKGROUND, MAX_CLASSES
from rankmatch_keras.data.masks.shapes import (
    MAX_FILLED,
    Work,
    flaw,
    read_record,
    require_points,
    validated,
)
from rankmatch_keras.data.readers.folders import IMAGE_ENDINGS
from rankmatch_keras.data.readers.guards import printable, require_bounded
from rankmatch_keras.data.readers.sources import Remark
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted

_MAX_BYTES = 2**29
_CORNERS = 128  # of the polygon in place of an ellipse
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the names of uploaded files
_PARSING = threading.Lock()


@dataclass(frozen=True)
class Region:
    """What was drawn in one piece: its label, and its shape in percent of the image."""

    label: str
    value: Value
    number: int


@dataclass(frozen=True, eq=False)
class Task:
    """An image of a project.

    Attributes:
        image: path or address of the image.
        size: height and width of the image; None where nothing is drawn.
        regions: what is drawn, in the order of the file.
        left_out: number of results that have a label, but do not say which pixels they cover.
        annotations: number of annotations, of which one is read.
    """

    image: str
    size: tuple[int, int] | None
    regions: tuple[Region, ...]
    left_out: int
    annotations: int


@dataclass(frozen=True, eq=False)
class Project:
    """A parsed export.

    Attributes:
        path: the file.
        class_names: "background", then all other labels in alphabetical order.
        tasks: the annotated images by their ids.
    """

    path: Path
    class_names: tuple[str, ...]
    tasks: dict[int, Task]

    def mask_of(self, name: str) -> "LabelStudioMask | None":
        """Return the mask of a picture by its name, which is the end of the path that a task has; None without one.

        Raises:
            UserError: several tasks fit.
        """
        found = self._by_name[0].get(name) or self._by_name[1].get(name) or []
        if len(found) > 1:
            where = f"tasks {found[0]} and {found[1]} of '{printable(self.path)}'"
            raise UserError(f"one task for the image '{name}'", where, "Remove one, or annotate it once.")
        return LabelStudioMask(self.path, found[0], self.tasks[found[0]].size) if found else None

    @functools.cached_property
    def _by_name(self) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """Ids of tasks by each end of their paths, as they are and without what stands before uploaded files."""
        plain: dict[str, list[int]] = {}
        uploaded: dict[str, list[int]] = {}
        for number, task in self.tasks.items():
            *folders, last = unicodedata.normalize("NFC", task.image).split("/")
            for start in range(len(folders) + 1):
                name = PurePosixPath(*folders[start:], last).with_suffix("").as_posix()
                plain.setdefault(name, []).append(number)
            if prefix := _UPLOADED.match(last):
                uploaded.setdefault(PurePosixPath(last[prefix.end() :]).stem, []).append(number)
        return plain, uploaded


@dataclass(frozen=True)
class LabelStudioMask:
    """A mask as a task of a Label Studio export.

    Attributes:
        path: the JSON file of all images.
        task: `id` of the task in it.
        size: height and width.
        class_names: name of class 0, 1, ...; None: as in the file.
    """

    path: Path
    task: int
    size: tuple[int, int] | None
    class_names: tuple[str, ...] | None = None

    def read(self) -> np.ndarray:
        """Draw int32 (H, W) of class ids.

        Raises:
            UserError: as `read_label_studio`; or there is no such task, or regions cannot be drawn.
        """
        project = read_label_studio(self.path)
        task = self._found(project)
        names = self.class_names or project.class_names
        ids = {name: number for number, name in enumerate(names)} | {BACKGROUND: 0}
        if self.size is None:
            raise flaw("no size", str(self))
        require_bounded(str(self), *self.size)
        canvas = np.zeros(self.size[0] * self.size[1], np.uint8)  # column by column, as runs go
        work = Work()
        for region in task.regions:
            which = f"{self}, result {region.number}"
            if region.label not in ids:
                raise flaw(f"the label '{printable(region.label)}', which is no class,", which)
            _draw(canvas, region.value, ids[region.label], self.size, work, which)
        return canvas.reshape(self.size[::-1]).T.astype(np.int32)

    def remarks(self) -> list[Remark]:
        """Return what a person should know about how the mask is read."""
        task, found = self._found(read_label_studio(self.path)), []
        if task.left_out:
            found.append(Remark("mask-boxes", f"{counted(task.left_out, 'result')} without outline left out"))
        if task.annotations > 1:
            found.append(Remark("mask-annotations", f"one of {task.annotations} annotations is read"))
        return found

    def _found(self, project: Project) -> Task:
        if self.task not in project.tasks:
            raise flaw(f"no task {self.task}", printable(self.path))
        return project.tasks[self.task]

    def __str__(self) -> str:
        return f"{printable(self.path)}, task {self.task}"


def read_label_studio(path: str | Path) -> Project:
    """Read an export of Label Studio as JSON (not JSON-MIN): a list of tasks.

    Of several annotations of a task that marked as ground truth is read, otherwise the first that was not skipped. The
    file is parsed once and kept while it does not change.

    Raises:
        UserError: the file is no such JSON, or holds no label; the message says where.
    """
    path = Path(path)
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError("a JSON file", f"'{printable(path)}': {error.strerror}", "Check the path.") from error
    with _PARSING:
        return _parsed(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)
def _parsed(path: Path, mtime_ns: int, size: int) -> Project:
    where = printable(path)
    tasks: dict[int, Task] = {}
    for number, task in enumerate(read_record(path, FileRecord, _MAX_BYTES).root):
        if task.id in tasks:
            raise flaw(f"the id {task.id} twice", where)
        submitted = [one for one in task.annotations if not one.was_cancelled]
        if submitted:
            chosen = next((one for one in submitted if one.ground_truth), submitted[0])
            tasks[task.id] = _task_of(task.data, chosen, len(submitted), f"{where}, [{number}]")
    labels = {region.label for task in tasks.values() for region in task.regions}
    found = sorted(label for label in labels if label.lower() != BACKGROUND)
    if not 1 <= len(found) < MAX_CLASSES:
        raise flaw(f"{len(found)} labels of regions in place of 1 to 254", where)
    return Project(path, (BACKGROUND, *found), tasks)


def _task_of(data: dict[str, Any], annotation: AnnotationRecord, count: int, where: str) -> Task:
    size, regions, left_out = None, [], 0
    for number, result in enumerate(annotation.result):
        which = f"{where}.result[{number}]"
        if not result.type.endswith("labels"):
            continue  # choices, texts, relations; shapes whose labels are results of their own
        value = validated(Value, result.value, which)
        if value.label is None or not value.is_region:
            left_out += 1
            continue
        if result.image_rotation:
            raise flaw("an image that was turned in Label Studio", which)
        own = result.original_height, result.original_width
        if None in own or size not in (None, own):
            raise flaw("no original_height and original_width, or different ones,", which)
        size = own
        label = BACKGROUND if value.label.lower() == BACKGROUND else value.label
        regions.append(Region(label, value, number))
    return Task(_image_path(data, where), size, tuple(regions), left_out, count)  # type: ignore[arg-type]


def _image_path(data: dict[str, Any], where: str) -> str:
    """Return the path of the image that a task names, without host and query."""
    paths = {key: _path_of(text) for key, text in data.items() if isinstance(text, str)}
    images = {key: path for key, path in paths.items() if PurePosixPath(path).suffix.lower() in IMAGE_ENDINGS}
    if "image" not in images and len(images) != 1:
        raise flaw(f"{len(images)} images in place of one", f"{where}.data")
    return images.get("image") or next(iter(images.values()))


def _path_of(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    local = parse_qs(parts.query).get("d")  # of files that lie where Label Studio runs
    return (local[0] if local else unquote(parts.path)).replace("\\", "/").strip("/")


def _draw(canvas: np.ndarray, value: Value, ids: int, size: tuple[int, int], work: Work, where: str) -> None:
    """Set the pixels of a region in a canvas that goes column by column."""
    height, width = size
    if value.rle is not None:
        try:
            painted, runs = brushed(value.rle, height, width)
        except ValueError as error:
            raise flaw(str(error), where) from None
        work.add_filled(height * width + runs * (MAX_FILLED // MAX_RUNS), where)
        canvas.reshape(width, height).T[painted] = ids
        return
    for counts in runs_of([_outline(value, height, width, where)], height, width, work, where):
        fill(canvas, counts, ids, work, where)


def _outline(value: Value, height: int, width: int, where: str) -> list[float]:
    """Return a polygon, rectangle or ellipse as [x, y, x, y, ...] in pixels."""
    scale = np.array([width, height]) / 100
    if value.points:
        require_points(value.points, where)
        return (np.reshape(value.points, (-1, 2)) * scale).ravel().tolist()
    sides: list[float | None]
    if value.radiusX is not None:
        angles = np.linspace(0, 2 * math.pi, _CORNERS, endpoint=False)
        corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        sides = [value.radiusX, value.radiusY]
    else:
        corners, sides = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]), [value.width, value.height]
    if None in (value.x, value.y, *sides):
        raise flaw("a place or side that is missing", where)
    turn = math.radians(value.rotation or 0)  # clockwise, around the corner or the center at x, y
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    outline = np.array([value.x, value.y]) * scale + (corners * (np.array(sides) * scale)) @ rotation
    return outline.ravel().tolist()
