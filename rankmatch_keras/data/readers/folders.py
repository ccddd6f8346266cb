"""Pictures in folders and TIFF stacks, and the mask that belongs to each, whatever the file endings.

A picture is named by its path below the folder without ending (`a`, `cells/a`); a page of a stack by the stack's name
and its number from 0 (`stack/0007`). Hidden files and folders are skipped. Links to files are followed, as people link
data; links to folders are refused, because they may lead in circles.
"""

import os
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rankmatch_keras.data.readers.tiff import count_pages
from rankmatch_keras.errors import UserError

TIFF_ENDINGS = (".tif", ".tiff")
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", *TIFF_ENDINGS)
# Control characters, line breaks and invalid Unicode: they break lists, logs and hashes.
_UNFIT = ("Cc", "Cs", "Zl", "Zp")


class Picture(NamedTuple):
    """A file with one picture, or one page of a TIFF stack."""

    path: Path
    page: int | None = None

    def __str__(self) -> str:
        """Return its name in messages."""
        return str(self.path) if self.page is None else f"{self.path}, page {self.page}"


def pictures_by_name(place: str | Path, what: str = "images", stack: str | None = None) -> dict[str, Picture]:
    """Find the pictures of a folder and its subfolders, or of one TIFF stack, by name in sorted order.

    Args:
        place: a folder, or a TIFF file.
        what: what it should hold, for messages.
        stack: name of the stack in the names of its pages, where `place` is a file; its own stem by default.

    Raises:
        UserError: the place does not exist or holds no picture, two pictures have the same name, a link leads to a
            folder or nowhere, a folder cannot be read, or a name is not printable text.
    """
    place = Path(place)
    if place.is_file() and place.suffix.lower() in TIFF_ENDINGS:
        return _pages(place, stack or _name(place, place.parent))
    if not place.is_dir():
        found = "a file" if place.exists() else "nothing"
        raise UserError(f"a folder of {what}, or a TIFF stack", f"{found} at '{place}'", "Check the path.")
    files = files_below(place, IMAGE_ENDINGS, what)
    if not files:
        endings = ", ".join(IMAGE_ENDINGS)
        raise UserError(f"a folder of {what} ({endings})", f"none of them in '{place}'", "Check the path.")
    found_by_name: dict[str, Picture] = {}
    for file in files:
        name = _name(file, place)
        try:
            pages = _pages(file, name) if file.suffix.lower() in TIFF_ENDINGS else {name: Picture(file)}
        except UserError:
            pages = {name: Picture(file)}  # one of many: reading it will tell what is wrong
        for name in pages.keys() & found_by_name.keys():
            raise UserError(
                "one file per name",
                f"'{_below(found_by_name[name].path, place)}' and '{_below(file, place)}' in '{place}'",
                "Rename or remove one: files are matched by name without ending.",
            )
        found_by_name.update(pages)
    return found_by_name


def files_below(folder: str | Path, endings: tuple[str, ...], what: str) -> list[Path]:
    """Find the files with one of the endings (in any case) in a folder and its subfolders, sorted.

    Args:
        folder: an existing folder.
        endings: endings with their dot, in lower case.
        what: what the files are, for messages.

    Raises:
        UserError: see `pictures_by_name`.
    """

    def fail(error: OSError):
        raise UserError(f"a readable folder of {what}", f"{error}", "Check its permissions.") from error

    files = []
    for base, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(base, name) for name in names if not name.startswith(".")]
        for link in (Path(base, name) for name in folders):
            if link.is_symlink():
                raise UserError(
                    f"folders and files of {what}",
                    f"'{link}', a link to a folder",
                    "Give that folder, or link its files.",
                )
    wanted = sorted(file for file in files if file.suffix.lower() in endings)
    for file in wanted:
        if not file.is_file():
            found = "a link that leads nowhere" if file.is_symlink() else "no regular file"
            raise UserError(f"files of {what}", f"'{file}', {found}", "Remove or replace it.")
    return wanted


def names_below(folder: str | Path, files: Iterable[Path]) -> dict[str, Path]:
    """Name files by their path below a folder without ending."""
    return {_name(file, Path(folder)): file for file in files}


def masks_by_name(masks: str | Path, images: str | Path, pictures: Mapping[str, Picture]) -> dict[str, Picture]:
    """Find the pictures in `masks`, by the names of those in `images`.

    Raises:
        UserError: see `pictures_by_name`; or two stacks differ in length.
    """
    two_stacks = Path(images).is_file() and Path(masks).is_file()
    found = pictures_by_name(masks, "masks", stack=_name(Path(images), Path(images).parent) if two_stacks else None)
    if two_stacks and len(found) != len(pictures):
        raise UserError(
            "as many masks as images",
            f"{len(pictures)} in '{images}' and {len(found)} in '{masks}'",
            "Check both stacks.",
        )
    return found


def require_masks(pictures: Mapping[str, Picture], masks: Mapping[str, Any], place: str | Path) -> None:
    """Raise UserError if a picture has no mask of its name; `place` is where the masks were looked for."""
    missing = [name for name in pictures if name not in masks]
    if missing:
        raise UserError(
            "a mask for every labeled image",
            f"no mask '{missing[0]}.*' in '{place}' for '{pictures[missing[0]]}' ({len(missing)} such images)",
            "Add the mask under the image's name, or move images without masks to the unlabeled folder.",
        )


def require_files(paths: Iterable[Path], source: str | Path) -> None:
    """Raise UserError if paths that `source` names do not exist: how many, and the first five."""
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        shown = ", ".join(f"{name!r}" for name in missing[:5])
        more = ", ..." if len(missing) > 5 else ""
        raise UserError(
            f"files that exist for every name in '{source}'",
            f"{len(missing)} missing: {shown}{more}",
            "Check the data root, or download what is missing.",
        )


def _pages(file: Path, name: str) -> dict[str, Picture]:
    count = count_pages(file)
    if count == 1:
        return {name: Picture(file)}
    return {f"{name}/{page:04d}": Picture(file, page) for page in range(count)}


def _name(file: Path, folder: Path) -> str:
    # Composed, because some file systems store accents as separate characters and others do not.
    name = unicodedata.normalize("NFC", _below(file, folder).rsplit(".", 1)[0])
    if any(unicodedata.category(character) in _UNFIT for character in name):
        raise UserError("file names of one line of text", f"{str(file)!r}", "Rename the file.")
    return name


def _below(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()
