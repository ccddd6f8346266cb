"""Masks of a user's own data set: which belongs to which image, what their values mean, and the classes.

Masks are image files or a TIFF stack, the shapes in one COCO-style JSON file, or those in a folder of LabelMe files.
Each kind is a class that finds further masks (those for validation) with the same meaning.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

from rankmatch_keras.data.masks.class_names import Classes, requested, require_requested
from rankmatch_keras.data.masks.coco import read_coco
from rankmatch_keras.data.masks.cvat import class_masks
from rankmatch_keras.data.masks.file_masks import FileMasks, LegendSource, detect_files, mask_files, of_pictures
from rankmatch_keras.data.masks.labelme import LabelMeMask, labelme_classes
from rankmatch_keras.data.readers.archives import archive_of, innermost_folder
from rankmatch_keras.data.readers.folders import (
    IMAGE_ENDINGS,
    Picture,
    files_below,
    masks_by_name,
    names_below,
    pictures_by_name,
)
from rankmatch_keras.data.readers.guards import only_readable, reading
from rankmatch_keras.data.readers.sources import MaskSource
from rankmatch_keras.errors import UserError


@dataclass(frozen=True)
class LabelMeMasks:
    """Masks as LabelMe files, one per image."""

    class_names: tuple[str, ...]
    palette: ClassVar[None] = None
    notes: ClassVar[tuple[str, ...]] = ()
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
    notes: ClassVar[tuple[str, ...]] = ()
    kind: ClassVar[str] = "a COCO-style file"

    def find(
        self, place: Path, images: Path, pictures: Mapping[str, Picture], strict: bool = True
    ) -> dict[str, MaskSource]:
        """Find the mask of each picture by its name; unless `strict`, of those that have one.

        Raises:
            UserError: the file has categories of no class, several images of one name, or none for a picture.
        """
        coco = read_coco(place)
        if not set(coco.class_names) <= set(self.class_names):
            expected, found = ", ".join(self.class_names), ", ".join(coco.class_names)
            raise UserError(
                f"the classes {expected}", f"{found} in '{place}'", "Use the same categories in both files."
            )
        masks: dict[str, MaskSource] = {}
        for file_name, mask in coco.masks().items():
            path = PurePosixPath(file_name.replace("\\", "/"))
            # Composed as the names of files are: macOS stores accents as characters of their own.
            name = unicodedata.normalize("NFC", path.with_suffix("").as_posix())
            if name in masks:
                raise UserError("one image per name", f"'{name}' with two endings in '{place}'", "Remove one.")
            masks[name] = replace(mask, class_names=self.class_names)
        return of_pictures(pictures, masks, place, strict)


MaskSet = FileMasks | LabelMeMasks | CocoMasks


def place_of_masks(place: Path) -> Path:
    """Return the folder of the masks in a zip file or an export; any other place is returned as it is.

    Raises:
        UserError: a zip file cannot be read.
    """
    if archive_of(place) == place:
        with reading(place, "a zip file of masks"):
            place = innermost_folder(place)
    return class_masks(place)


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
    threshold: float | None = None,
    strict: bool = True,
    suffix: str | None = None,
) -> MaskSet:
    """Detect what the masks of the labeled images mean.

    Args:
        place: the masks: a folder, a TIFF stack, or a COCO-style file.
        images: the folder or stack of the images.
        pictures: the images by name.
        classes: class names or their number, checked against the masks; None: as in the masks.
        legend: what colors mean: a file, or a color per class name. By default, if the masks are colors, a file
            legend.csv, legend.txt or label_colors.txt in the folder of the masks or beside it.
        threshold: read black-and-white masks with soft edges as two classes, split at this part of the way from the
            dark value to the bright one.
        strict: False: masks that are missing or cannot be read are skipped, and masks that contradict the number of
            `classes` are taken as class ids, so that the check can name them.
        suffix: what the names of mask files have beyond their images', see `mask_names.masks_of`.

    Raises:
        UserError: the masks cannot be read, belong to no image, or contradict `classes`, `legend` or each other.
    """
    names, count = requested(classes)
    kind = kind_of_masks(place, images)
    if kind is FileMasks:
        found_files = mask_files(place, images, pictures, strict, suffix)
        return replace(detect_files(place, found_files, classes, legend, threshold, strict), suffix=suffix)
    if legend is not None or threshold is not None or suffix is not None:
        what = "a legend" if legend is not None else "mask_suffix" if threshold is None else "binarize"
        raise UserError(f"{what} for masks that are image files", f"{kind.kind} and {what}", "Leave it out.")
    if kind is CocoMasks:
        return CocoMasks(require_requested(names, count, read_coco(place).class_names, f"in '{place}'"))
    files = list(_json_files(place, pictures, strict).values())
    found = labelme_classes(files if strict else only_readable(files, lambda file: labelme_classes([file])))
    if names is None:
        return LabelMeMasks(require_requested(None, count, found, f"in '{place}'"))
    # A class may be missing in these files, but class 0 is the background and cannot be a label.
    unknown = [label for label in found[1:] if label not in names[1:]]
    if unknown:
        raise UserError(
            "class names that start with the background and hold every label",
            f"{', '.join(names)} without a place for the label '{unknown[0]}' in '{place}'",
            "Correct the class names.",
        )
    return LabelMeMasks(names)


def unused_masks(images: Path, masks: Path, suffix: str | None = None) -> list[str]:
    """Return the mask files that belong to no image."""
    masks = place_of_masks(masks)
    if kind_of_masks(masks, images) is not FileMasks:
        return []
    pictures = pictures_by_name(images)
    return [str(mask) for name, mask in masks_by_name(masks, images, pictures, suffix).items() if name not in pictures]


def _json_files(place: Path, pictures: Mapping[str, Picture], strict: bool) -> dict[str, Path]:
    return of_pictures(pictures, names_below(place, files_below(place, (".json",), "masks")), place, strict)
