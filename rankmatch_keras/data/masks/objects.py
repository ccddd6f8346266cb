"""Masks as one file per object, such as those of cell nuclei: all objects of an image are class 1.

They lie in a folder with the name of their image (`masks/NAME/`), or in a folder `masks` beside the folder `images` of
the one image.
"""

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from rankmatch_keras.data.masks.class_names import BINARY, Names, require_requested
from rankmatch_keras.data.masks.file_masks import of_pictures
from rankmatch_keras.data.readers.folders import IMAGE_ENDINGS, MASK_ENDINGS, Picture, files_below, names_below
from rankmatch_keras.data.readers.guards import printable
from rankmatch_keras.data.readers.images import read_raw_mask
from rankmatch_keras.data.readers.sources import MaskSource
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted


@dataclass(frozen=True)
class ObjectMask:
    """A mask as the files of its objects.

    Attributes:
        path: their folder.
        files: the files, in which an object is brighter than half of the largest value.
    """

    path: Path
    files: tuple[Path, ...]

    def read(self) -> np.ndarray:
        """Read int32 (H, W): 1 where any object is.

        Raises:
            UserError: a file cannot be read, or two have different sizes.
        """
        union = _object(self.files[0])
        for file in self.files[1:]:
            one = _object(file)
            if one.shape != union.shape:
                raise UserError(
                    f"objects of one size, {union.shape[1]} x {union.shape[0]} as '{printable(self.files[0])}'",
                    f"{one.shape[1]} x {one.shape[0]} in '{printable(file)}'",
                    "Export them again.",
                )
            union |= one
        return union.astype(np.int32)

    def __str__(self) -> str:
        return f"{printable(self.path)} ({counted(len(self.files), 'object')})"


@dataclass(frozen=True)
class ObjectMasks:
    """Masks as one file per object."""

    class_names: tuple[str, ...]
    palette: ClassVar[None] = None
    kind: ClassVar[str] = "one file per object"
    notes: ClassVar[tuple[str, ...]] = ("Masks are one file per object: all objects of an image are class 1.",)

    @classmethod
    def detect(
        cls, place: Path, pictures: Mapping[str, Picture], names: Names, count: int | None, strict: bool
    ) -> "ObjectMasks":
        """Take the names of the two classes; see `mask_sets.detect_masks`."""
        return cls(require_requested(names, count, names if names and count == 2 else BINARY, f"in '{place}'"))

    def find(
        self, place: Path, images: Path, pictures: Mapping[str, Picture], strict: bool = True
    ) -> dict[str, MaskSource]:
        """Find the objects of each picture by its name; unless `strict`, of those that have some."""
        found = objects_by_image(place, images)
        masks = {name: ObjectMask(files[0].parent, tuple(files)) for name, files in found.items()}
        return dict(of_pictures(pictures, masks, place, strict))


def objects_by_image(place: Path, images: Path) -> dict[str, list[Path]]:
    """Find the files of objects by the names of their images; none where masks are not one file per object.

    Raises:
        UserError: several folders hold files of the same names, as masks of classes do.
    """
    if not os.path.isdir(place) or not os.path.isdir(images):
        return {}
    paths = files_below(place, MASK_ENDINGS, "masks")
    if any(path.parent == place for path in paths):
        return {}  # soon, as most folders of masks are flat
    files = names_below(place, paths)
    found = _beside(files) if place.samefile(images) else _below_names(files, images)
    if max(map(len, found.values()), default=0) < 2:
        return {}
    words = Counter(word for name, each in found.items() for word in {_word(file, name) for file in each})
    # Names of objects are numbers or repeat here and there by chance; those of classes are in most folders.
    repeated = sorted(word for word, count in words.items() if word and count > max(1, len(found) / 2))
    if len(repeated) > 1:
        raise UserError(
            "one file per object in the folder of each image",
            f"{' and '.join(map(repr, repeated[:3]))} in several folders of '{place}', which look like classes",
            "Merge the masks of an image into one file of class ids.",
        )
    return found


def without_objects(pictures: Mapping[str, Picture]) -> dict[str, Picture]:
    """Return the images of a folder that also holds their objects."""
    return {name: picture for name, picture in pictures.items() if picture.path.parent.name == "images"}


def _below_names(files: Mapping[str, Path], images: Path) -> dict[str, list[Path]]:
    """Group files by the name of their folder, if that is an image's and no file has an image's name."""
    folders = {name: name.rpartition("/")[0] for name in files}
    known = names_below(images, files_below(images, IMAGE_ENDINGS, "images")).keys()
    found: dict[str, list[Path]] = {}
    for name, file in files.items():
        if name in known:
            return {}
        if folders[name] in known:
            found.setdefault(folders[name], []).append(file)
    return found


def _beside(files: Mapping[str, Path]) -> dict[str, list[Path]]:
    """Group files in `X/masks` by the one image in `X/images`."""
    sides: dict[str, dict[str, list[str]]] = {"images": {}, "masks": {}}
    for name in files:
        *above, side, _ = PurePosixPath(name).parts if name.count("/") > 1 else ("", "")
        if side not in sides or not above:
            return {}
        sides[side].setdefault("/".join(above), []).append(name)
    if any(len(names) > 1 for names in sides["images"].values()):
        return {}
    return {
        names[0]: [files[mask] for mask in sides["masks"][above]]
        for above, names in sides["images"].items()
        if above in sides["masks"]
    }


def _word(file: Path, image: str) -> str:
    """Return what a file's name says beside numbers, also hexadecimal ones, and the name of its image."""
    word = re.sub(r"[\W\d_]+", "", file.stem.replace(PurePosixPath(image).name, "")).lower()
    return "" if re.fullmatch("[a-f]*", word) else word


def _object(path: Path) -> np.ndarray:
    values = read_raw_mask(path)
    if values.ndim == 3:
        values = values.max(axis=-1)
    return values > values.max() // 2
