"""Samples, data sets as lists of them with their class names, and how both are made from folders."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rankmatch_keras.data.masks.encodings import IDS, MaskEncoding
from rankmatch_keras.data.masks.mask_files import MaskFile
from rankmatch_keras.data.masks.sizes import resized
from rankmatch_keras.data.readers.folders import pictures_by_name, require_files
from rankmatch_keras.data.readers.images import image_info
from rankmatch_keras.data.readers.sources import ImageFile, ImageSource, MaskSource
from rankmatch_keras.data.sets.hierarchies import Hierarchy
from rankmatch_keras.data.sets.protocol import Protocol
from rankmatch_keras.errors import UserError


@dataclass(frozen=True)
class Sample:
    """One image and its mask, if it has one; both are read only when asked for.

    Attributes:
        name: identifies the sample within its data set, whatever folder the set lies in.
        image: source of the image; a path stands for `ImageFile(path)`.
        mask: source of the mask, None for an unlabeled image; a path stands for `MaskFile(path)`, a file of class ids.
        resize_mask: whether a mask of another size is resized to that of the image.
    """

    name: str
    image: ImageSource
    mask: MaskSource | None = None
    resize_mask: bool = False

    def __post_init__(self):
        if isinstance(self.image, (str, os.PathLike)):
            object.__setattr__(self, "image", ImageFile(Path(self.image)))
        if isinstance(self.mask, (str, os.PathLike)):
            object.__setattr__(self, "mask", MaskFile(Path(self.mask)))

    def read_image(self) -> np.ndarray:
        """Read the image: (H, W, C), uint8 for 8-bit files, float32 in the file's units for all others.

        Raises:
            UserError: the image cannot be read; the message names it.
        """
        return self.image.read()

    def shown(self, image: np.ndarray) -> np.ndarray:
        """Return of its image (H, W, C) what people look at: of a slice with its neighbors that slice alone."""
        return self.image.shown(image) if isinstance(self.image, ImageFile) else image

    def read_mask(self) -> np.ndarray:
        """Read the mask: int32 (H, W), class ids 0..K-1 and 255 for pixels to ignore.

        Raises:
            UserError: the mask cannot be read, holds values of no class, or cannot be resized; the message names it.
            ValueError: the sample has no mask.
        """
        if self.mask is None:
            raise ValueError(f"Sample {self.name!r} has no mask.")
        ids = self.mask.read()
        return resized(ids, self._image_size(), self.mask, self.image) if self.resize_mask else ids

    def _image_size(self) -> tuple[int, int]:
        if isinstance(self.image, ImageFile):
            info = image_info(self.image.path, self.image.page)
            return info.height, info.width
        return self.read_image().shape[:2]


@dataclass(frozen=True)
class Origin:
    """The call that opened a data set; `open_data(origin.loader, **origin.arguments)` opens it again.

    Attributes:
        loader: a name of `LOADERS`.
        arguments: its keyword arguments, fit for JSON.
    """

    loader: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SegmentationData:
    """A data set as lists of samples.

    Attributes:
        name: name of the data set, as printed with scores.
        train: samples with masks, from which the labeled ones are chosen.
        val: samples with masks that are never trained on.
        class_names: name of class 0, 1, ...; masks are read as these ids and 255 (ignore).
        unlabeled: further training images without masks.
        test: samples with masks of a separate test set, if the data set has one.
        palette: one color (red, green, blue in 0..255) per class for pictures; None for the default colors.
        protocol: how scores on this set are usually measured.
        origin: how the set was opened, if by `open_data`; sets of equal samples are equal whatever their origin.
        hierarchy: the classes as leaves of a tree of groups, see `parents_of`; None where there is none.
        notes: how the masks were found and understood, where that is not obvious, as sentences.
    """

    name: str
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    class_names: tuple[str, ...]
    unlabeled: tuple[Sample, ...] = ()
    test: tuple[Sample, ...] = ()
    palette: tuple[tuple[int, int, int], ...] | None = None
    protocol: Protocol = Protocol()
    origin: Origin | None = field(default=None, compare=False)
    hierarchy: Hierarchy | None = field(default=None, hash=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self):
        for name in self.class_names:
            if any("\ud800" <= character <= "\udfff" for character in str(name)):
                raise UserError("class names of Unicode text", f"{ascii(name)} in {self.name}", "Rename the class.")

    @property
    def num_classes(self) -> int:
        """Number of classes K; masks are read as 0..K-1 and 255."""
        return len(self.class_names)


def seeded_order(names: Iterable[str], seed: int) -> list[str]:
    """Order names by SHA-256 of seed and name: random, and the same on every machine and library version."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())


def require_layout(root: Path, name: str, folders: Iterable[str], remedy: str) -> None:
    """Raise UserError that names the folders of a layout missing below `root`."""
    missing = [folder for folder in folders if not os.path.isdir(root / folder)]
    if missing:
        raise UserError(f"the layout of {name}", f"no folder {', '.join(missing)} in '{root}'", remedy)


def files_to_samples(
    files: Iterable[tuple[str, Path, Path]], source: str | Path, encoding: MaskEncoding = IDS
) -> tuple[Sample, ...]:
    """Make one sample per triple of name, image and mask.

    Args:
        files: the triples.
        source: the list or folder that the names come from, for messages.
        encoding: what the values of the masks mean.

    Raises:
        UserError: files are missing; the message gives their number and the first five.
    """
    files = list(files)
    require_files((path for _, *paths in files for path in paths), source)
    return tuple(Sample(name, ImageFile(image), MaskFile(mask, encoding=encoding)) for name, image, mask in files)


def folder_to_samples(
    images: Path, masks: Path, prefix: str = "", encoding: MaskEncoding = IDS, channels: int = 3
) -> tuple[Sample, ...]:
    """Make one sample per image of a folder, named `prefix` and the file name without its ending.

    Raises:
        UserError: a folder is missing or empty, or images have no mask of the same name; the message gives their
            number and the first five.
    """
    pictures, found = pictures_by_name(images), pictures_by_name(masks, "masks")
    require_files((masks / f"{name}.png" for name in pictures if name not in found), images)
    return tuple(
        Sample(prefix + name, ImageFile(*picture, channels), MaskFile(*found[name], encoding))
        for name, picture in pictures.items()
    )
