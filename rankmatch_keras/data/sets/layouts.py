"""Layouts of public data sets: from their folders to samples."""

from collections.abc import Iterable
from pathlib import Path

from rankmatch_keras.data.masks.encodings import IDS, MaskEncoding
from rankmatch_keras.data.masks.mask_files import MaskFile
from rankmatch_keras.data.readers.folders import pictures_by_name, require_files
from rankmatch_keras.data.readers.sources import ImageFile
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.errors import UserError


def require_layout(root: Path, name: str, folders: Iterable[str], remedy: str) -> None:
    """Raise UserError that names the folders of a layout missing below `root`."""
    missing = [folder for folder in folders if not (root / folder).is_dir()]
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
