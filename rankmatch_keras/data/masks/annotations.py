"""Masks of a data set that are drawn from annotations: LabelMe files, or one file of COCO's or Label Studio's kind."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

from rankmatch_keras.data.masks.class_names import Names, require_requested
from rankmatch_keras.data.masks.coco import read_coco
from rankmatch_keras.data.masks.file_masks import of_pictures
from rankmatch_keras.data.masks.label_studio import read_label_studio
from rankmatch_keras.data.masks.labelme import LabelMeMask, labelme_classes
from rankmatch_keras.data.readers.folders import Picture, files_below, names_below
from rankmatch_keras.data.readers.guards import only_readable
from rankmatch_keras.data.readers.images import image_info
from rankmatch_keras.data.readers.sources import MaskSource
from rankmatch_keras.errors import UserError


@dataclass(frozen=True)
class LabelMeMasks:
    """Masks as LabelMe files, one per image."""

    class_names: tuple[str, ...]
    palette: ClassVar[None] = None
    notes: ClassVar[tuple[str, ...]] = ()
    kind: ClassVar[str] = "LabelMe files"

    @classmethod
    def detect(
        cls, place: Path, pictures: Mapping[str, Picture], names: Names, count: int | None, strict: bool
    ) -> "LabelMeMasks":
        """Find the classes of the masks; see `mask_sets.detect_masks`."""
        files = list(_json_files(place, pictures, strict).values())
        found = labelme_classes(files if strict else only_readable(files, lambda file: labelme_classes([file])))
        return cls(_with_background(names, count, found, place))

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

    @classmethod
    def detect(
        cls, place: Path, pictures: Mapping[str, Picture], names: Names, count: int | None, strict: bool
    ) -> "CocoMasks":
        """Find the classes of the masks; see `mask_sets.detect_masks`."""
        return cls(require_requested(names, count, read_coco(place).class_names, f"in '{place}'"))

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


@dataclass(frozen=True)
class LabelStudioMasks:
    """Masks as one JSON file of Label Studio for all images."""

    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    palette: ClassVar[None] = None
    kind: ClassVar[str] = "a file of Label Studio"

    @classmethod
    def detect(
        cls, place: Path, pictures: Mapping[str, Picture], names: Names, count: int | None, strict: bool
    ) -> "LabelStudioMasks":
        """Find the classes of the masks; see `mask_sets.detect_masks`."""
        class_names = _with_background(names, count, read_label_studio(place).class_names, place)
        return cls(class_names, (f"Masks are drawn from Label Studio's annotations in {place}.",))

    def find(
        self, place: Path, images: Path, pictures: Mapping[str, Picture], strict: bool = True
    ) -> dict[str, MaskSource]:
        """Find the mask of each picture by the path that its task names; unless `strict`, of those that have one.

        Raises:
            UserError: see `read_label_studio` and `Project.mask_of`; or a picture has no task.
        """
        project = read_label_studio(place)
        masks: dict[str, MaskSource] = {}
        for name, picture in pictures.items():
            if mask := project.mask_of(name):
                masks[name] = replace(mask, class_names=self.class_names, size=mask.size or _size_of(picture, strict))
        return of_pictures(pictures, masks, place, strict)


def _size_of(picture: Picture, strict: bool) -> tuple[int, int] | None:
    """Return height and width of an image in which nothing is drawn, as the file does not say it."""
    try:
        info = image_info(*picture)
    except UserError:
        if strict:
            raise
        return None
    return info.height, info.width


def _with_background(names: Names, count: int | None, found: tuple[str, ...], place: Path) -> tuple[str, ...]:
    """Return the classes asked for, if they have a place for all labels that were found behind the background."""
    if names is None:
        return require_requested(None, count, found, f"in '{place}'")
    # A class may be missing in these files, but class 0 is the background and cannot be a label.
    unknown = [label for label in found[1:] if label not in names[1:]]
    if unknown:
        raise UserError(
            "class names that start with the background and hold every label",
            f"{', '.join(names)} without a place for the label '{unknown[0]}' in '{place}'",
            "Correct the class names.",
        )
    return names


def _json_files(place: Path, pictures: Mapping[str, Picture], strict: bool) -> dict[str, Path]:
    return of_pictures(pictures, names_below(place, files_below(place, (".json",), "masks")), place, strict)
