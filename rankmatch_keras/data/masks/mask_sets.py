"""Masks of a user's own data set: which belongs to which image, what their values mean, and the classes.

Masks are image files or a TIFF stack, the shapes in one COCO-style JSON file, or those in a folder of LabelMe files.
Each kind is a class that finds further masks (those for validation) with the same meaning.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, TypeVar

import numpy as np

from rankmatch_keras.data.masks.encodings import IDS, MaskEncoding, TwoValues, detect_encoding
from rankmatch_keras.data.masks.legends import Legend, colors_of, legend_of, read_legend
from rankmatch_keras.data.masks.mask_files import MaskFile
from rankmatch_keras.data.masks.polygons import LabelMeMask, labelme_classes, read_coco
from rankmatch_keras.data.readers.folders import (
    IMAGE_ENDINGS,
    Picture,
    files_below,
    masks_by_name,
    names_below,
    pictures_by_name,
    require_masks,
)
from rankmatch_keras.data.readers.guards import only_readable
from rankmatch_keras.data.readers.images import read_raw_mask
from rankmatch_keras.data.readers.sources import MaskSource
from rankmatch_keras.errors import UserError

LEGENDS = ("legend.csv", "legend.txt", "label_colors.txt")
_BINARY = ("background", "foreground")
Classes = int | Sequence[str] | None
Names = tuple[str, ...] | None
LegendSource = Mapping[str, Sequence[int]] | str | Path | None
T = TypeVar("T")


@dataclass(frozen=True)
class FileMasks:
    """Masks as image files.

    Attributes:
        class_names: name of class 0, 1, ...
        encoding: what the values in the files mean.
        palette: one color per class if the masks are colors.
    """

    class_names: tuple[str, ...]
    encoding: MaskEncoding
    palette: tuple[tuple[int, int, int], ...] | None = None
    kind: ClassVar[str] = "image files"

    def find(
        self, place: Path, images: Path, pictures: Mapping[str, Picture], strict: bool = True
    ) -> dict[str, MaskSource]:
        """Find the mask of each picture by its name; unless `strict`, of those that have one."""
        files = _mask_files(place, images, pictures, strict)
        return {name: MaskFile(*mask, self.encoding) for name, mask in files.items()}


@dataclass(frozen=True)
class LabelMeMasks:
    """Masks as LabelMe files, one per image."""

    class_names: tuple[str, ...]
    palette: ClassVar[None] = None
    kind: ClassVar[str] = "LabelMe files"

    def find(
        self, place: Path, images: Path, pictures: Mapping[str, Picture], strict: bool = True
    ) -> dict[str, MaskSource]:
        """Find the mask of each picture by its name; unless `strict`, of those that have one."""
        return {
            name: LabelMeMask(file, self.class_names) for name, file in _json_files(place, pictures, strict).items()
        }


@dataclass(frozen=True)
class CocoMasks:
    """Masks as one COCO-style file for all images."""

    class_names: tuple[str, ...]
    palette: ClassVar[None] = None
    kind: ClassVar[str] = "a COCO-style file"

    def find(
        self, place: Path, images: Path, pictures: Mapping[str, Picture], strict: bool = True
    ) -> dict[str, MaskSource]:
        """Find the mask of each picture by its name; unless `strict`, of those that have one.

        Raises:
            UserError: the file has other categories, several images of one name, or none for a picture.
        """
        coco = read_coco(place)
        if coco.class_names != self.class_names:
            expected, found = ", ".join(self.class_names), ", ".join(coco.class_names)
            raise UserError(
                f"the classes {expected}", f"{found} in '{place}'", "Use the same categories in both files."
            )
        masks: dict[str, MaskSource] = {}
        for file_name, mask in coco.masks().items():
            name = PurePosixPath(file_name.replace("\\", "/")).with_suffix("").as_posix()
            if name in masks:
                raise UserError("one image per name", f"'{name}' with two endings in '{place}'", "Remove one.")
            masks[name] = mask
        return _of_pictures(pictures, masks, place, strict)


MaskSet = FileMasks | LabelMeMasks | CocoMasks


def kind_of_masks(place: Path, images: Path) -> type[MaskSet]:
    """Return the kind of the masks at a place; JSON files beside the images themselves are LabelMe's."""
    if place.is_file() and place.suffix.lower() == ".json":
        return CocoMasks
    if place.is_dir() and files_below(place, (".json",), "masks"):
        beside = images.is_dir() and place.samefile(images)
        if beside or not files_below(place, IMAGE_ENDINGS, "masks"):
            return LabelMeMasks
    return FileMasks


def detect_masks(
    place: Path,
    images: Path,
    pictures: Mapping[str, Picture],
    classes: Classes = None,
    legend: LegendSource = None,
    strict: bool = True,
) -> MaskSet:
    """Detect what the masks of the labeled images mean.

    Args:
        place: the masks: a folder, a TIFF stack, or a COCO-style file.
        images: the folder or stack of the images.
        pictures: the images by name.
        classes: class names or their number, checked against the masks; None: as in the masks.
        legend: what colors mean: a file, or a color per class name. By default, if the masks are colors, a file
            legend.csv, legend.txt or label_colors.txt in the folder of the masks or beside it.
        strict: False: masks that are missing or cannot be read are skipped, and masks that contradict the number of
            `classes` are taken as class ids, so that the check can name them.

    Raises:
        UserError: the masks cannot be read, belong to no image, or contradict `classes` or `legend`.
    """
    names, count = _requested(classes)
    kind = kind_of_masks(place, images)
    if kind is FileMasks:
        return _detect_files(place, _mask_files(place, images, pictures, strict), names, count, legend, strict)
    if legend is not None:
        raise UserError("a legend for masks that are image files", f"{kind.kind} and a legend", "Leave it out.")
    if kind is CocoMasks:
        return CocoMasks(_require_requested(names, count, read_coco(place).class_names, f"in '{place}'"))
    files = list(_json_files(place, pictures, strict).values())
    found = labelme_classes(files if strict else only_readable(files, lambda file: labelme_classes([file])))
    if names is None:
        return LabelMeMasks(_require_requested(None, count, found, f"in '{place}'"))
    # A class may be missing in these files, but class 0 is the background and cannot be a label.
    unknown = [label for label in found[1:] if label not in names[1:]]
    if unknown:
        raise UserError(
            "class names that start with the background and hold every label",
            f"{', '.join(names)} without a place for the label '{unknown[0]}' in '{place}'",
            "Correct the class names.",
        )
    return LabelMeMasks(names)


def unused_masks(images: Path, masks: Path) -> list[str]:
    """Return the mask files that belong to no image."""
    if kind_of_masks(masks, images) is not FileMasks:
        return []
    pictures = pictures_by_name(images)
    return [str(mask) for name, mask in masks_by_name(masks, images, pictures).items() if name not in pictures]


def _detect_files(
    place: Path, masks: Mapping[str, Picture], names: Names, count: int | None, legend: LegendSource, strict: bool
) -> FileMasks:
    files = list(masks.values())
    if not strict:
        files = only_readable(files, lambda mask: read_raw_mask(*mask))
    if legend is None and read_raw_mask(*files[0]).ndim == 3:
        legend = _legend_beside(place)
    if legend is not None:
        return _by_legend(legend, names, count)
    try:
        encoding, number = detect_encoding(_read_ahead(files), count)
    except UserError:
        if strict or count is None:
            raise
        encoding, number = IDS, count
    if not isinstance(encoding, Legend):
        return FileMasks(names or (_BINARY if isinstance(encoding, TwoValues) else _numbered(number)), encoding)
    colors = tuple(colors_of(entry)[0] for entry in encoding.colors)
    if all(red == green == blue for red, green, blue in colors):
        # Black and white, or class ids, saved as colors: they are ordered like gray values.
        found = _numbered(number) if encoding.ignore else _BINARY if number == 2 else _hex(colors)
        return FileMasks(names or found, encoding)
    if names:
        raise UserError(
            "a legend that says which color is which class",
            f"class names and {number} colors in '{place}'",
            "Give a legend: lines of name,red,green,blue.",
        )
    return FileMasks(_hex(colors), encoding, colors)


def _by_legend(legend: LegendSource, names: Names, count: int | None) -> FileMasks:
    named: dict[str, Any]
    if isinstance(legend, (str, Path)):
        named, where = dict(read_legend(legend)), f"in the legend '{legend}'"
    elif isinstance(legend, Mapping) and legend and all(isinstance(name, str) for name in legend):
        named, where = dict(legend), "in the legend"
    else:
        raise UserError("a legend: a file, or a color for each class name", f"{legend!r}", "Correct the legend.")
    encoding, found = legend_of(named)
    if names and set(names) == set(found):
        # The class names decide which class is 0, 1, ...; ignored ones follow.
        encoding, found = legend_of({name: named[name] for name in (*names, *named)})
    _requested(found)
    return FileMasks(
        _require_requested(names, count, found, where),
        encoding,
        tuple(colors_of(entry)[0] for entry in encoding.colors),
    )


def _legend_beside(place: Path) -> Path | None:
    for folder in (place, place.parent) if place.is_dir() else (place.parent,):
        found = [folder / name for name in LEGENDS if (folder / name).is_file()]
        if len(found) > 1:
            raise UserError("one legend", f"'{found[0]}' and '{found[1]}'", "Give one as the legend, or remove one.")
        if found:
            return found[0]
    return None


def _mask_files(place: Path, images: Path, pictures: Mapping[str, Picture], strict: bool) -> dict[str, Picture]:
    return _of_pictures(pictures, masks_by_name(place, images, pictures), place, strict)


def _json_files(place: Path, pictures: Mapping[str, Picture], strict: bool) -> dict[str, Path]:
    return _of_pictures(pictures, names_below(place, files_below(place, (".json",), "masks")), place, strict)


def _of_pictures(pictures: Mapping[str, Picture], masks: Mapping[str, T], place: Path, strict: bool) -> dict[str, T]:
    """Return the masks of the pictures by name: of every one, or, unless `strict`, of at least one."""
    found = {name: masks[name] for name in pictures if name in masks}
    if strict or not found:
        require_masks(pictures, masks, place)
    return found


def _read_ahead(masks: Iterable[Picture]) -> Iterator[tuple[str, np.ndarray]]:
    """Read name and stored values of each mask, in several threads, a few ahead."""
    masks, ahead = list(masks), 2 * (os.cpu_count() or 1)
    with ThreadPoolExecutor(ahead) as executor:
        for start in range(0, len(masks), ahead):
            part = masks[start : start + ahead]
            yield from zip(map(str, part), executor.map(lambda mask: read_raw_mask(*mask), part), strict=True)


def _requested(classes: Classes) -> tuple[Names, int | None]:
    """Return names and number of the classes, as far as they are given.

    Raises:
        UserError: the classes are neither None, a number nor a list of different names.
    """
    if classes is None:
        return None, None
    if isinstance(classes, int) and not isinstance(classes, bool) and 2 <= classes <= 255:
        return None, classes
    if isinstance(classes, (list, tuple)) and all(isinstance(name, str) and name.strip() for name in classes):
        if 2 <= len(classes) <= 255 and len(set(classes)) == len(classes):
            return tuple(classes), len(classes)
    raise UserError("2 to 255 class names, each once", f"{classes!r}", "Name every class, the background included.")


def _require_requested(names: Names, count: int | None, found: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return the names found in the masks or the legend, if they are those, or as many, as asked for."""
    if names in (None, found) and count in (None, len(found)):
        return found
    asked = f"the classes {', '.join(names)}" if names else f"{count} classes"
    shown = ", ".join(found[:20]) + (", ..." if len(found) > 20 else "")
    raise UserError(asked, f"{len(found)} {where}: {shown}", "Correct the classes, or leave them out.")


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"class {n}" for n in range(count))


def _hex(colors: Sequence[tuple[int, int, int]]) -> tuple[str, ...]:
    return tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colors)
