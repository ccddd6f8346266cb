"""Masks of a user's own data set: which belongs to which image, what their values mean, and the classes.

Masks are image files or a TIFF stack, one file per object, or shapes in LabelMe files or in one JSON file. Each kind is
a class that finds further masks (those for validation) with the same meaning.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rankmatch_keras.data.masks.annotations import CocoMasks, LabelMeMasks, LabelStudioMasks
from rankmatch_keras.data.masks.class_names import Classes, requested
from rankmatch_keras.data.masks.cvat import class_masks
from rankmatch_keras.data.masks.file_masks import FileMasks, LegendSource, detect_files, mask_files
from rankmatch_keras.data.masks.label_studio_export import project_of_strokes
from rankmatch_keras.data.masks.objects import ObjectMasks, objects_by_image, without_objects
from rankmatch_keras.data.readers.archives import archive_of, innermost_folder
from rankmatch_keras.data.readers.folders import (
    MASK_ENDINGS,
    Picture,
    files_below,
    masks_by_name,
    pictures_by_name,
    without_masks,
)
from rankmatch_keras.data.readers.guards import open_regular, reading
from rankmatch_keras.errors import UserError

MaskSet = FileMasks | ObjectMasks | LabelMeMasks | CocoMasks | LabelStudioMasks


def place_of_masks(place: Path) -> Path:
    """Return the folder or file of the masks in a zip file or an export; any other place is returned as it is.

    Raises:
        UserError: a zip file cannot be read, or masks of an export do not say to which image they belong.
    """
    if archive_of(place) == place:
        with reading(place, "a zip file of masks"):
            place = innermost_folder(place)
    return project_of_strokes(class_masks(place))


def kind_of_masks(place: Path, images: Path) -> type[MaskSet]:
    """Return the kind of the masks at a place; JSON files beside the images themselves are LabelMe's."""
    if place.is_file() and place.suffix.lower() == ".json":
        return LabelStudioMasks if _is_list(place) else CocoMasks
    if place.is_dir() and files_below(place, (".json",), "masks"):
        beside = images.is_dir() and place.samefile(images)
        if beside or not files_below(place, MASK_ENDINGS, "masks"):
            return LabelMeMasks
    return ObjectMasks if objects_by_image(place, images) else FileMasks


def images_without_masks(
    pictures: dict[str, Picture], images: Path, masks: Path, suffix: str | None
) -> dict[str, Picture]:
    """Return the pictures of a folder that are not masks of others, where one folder holds both."""
    kind = kind_of_masks(masks, images)
    if kind is ObjectMasks and masks.samefile(images):
        return without_objects(pictures)
    return without_masks(pictures, images, masks, suffix) if kind is FileMasks else pictures


def _is_list(path: Path) -> bool:
    """Return whether a JSON file holds a list, as those of Label Studio do."""
    with reading(path, "a JSON file"), open_regular(path) as file:
        return file.read(64).decode("utf-8-sig", "ignore").lstrip().startswith("[")


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
        place: the masks: a folder, a TIFF stack, or a JSON file.
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
    if issubclass(kind, FileMasks):
        found_files = mask_files(place, images, pictures, strict, suffix)
        return replace(detect_files(place, found_files, classes, legend, threshold, strict), suffix=suffix)
    if legend is not None or threshold is not None or suffix is not None:
        what = "a legend" if legend is not None else "mask_suffix" if threshold is None else "binarize"
        raise UserError(f"{what} for masks that are image files", f"{kind.kind} and {what}", "Leave it out.")
    return kind.detect(place, pictures, names, count, strict)


def unused_masks(images: Path, masks: Path, suffix: str | None = None) -> list[str]:
    """Return the mask files that belong to no image."""
    masks = place_of_masks(masks)
    if kind_of_masks(masks, images) is not FileMasks:
        return []
    pictures = pictures_by_name(images)
    return [str(mask) for name, mask in masks_by_name(masks, images, pictures, suffix).items() if name not in pictures]
