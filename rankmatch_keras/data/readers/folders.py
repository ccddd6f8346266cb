"""Pictures in folders and stacks, and the mask that belongs to each, whatever the file endings.

A picture is named by its path below the folder without ending (`a`, `cells/a`); a page of a TIFF stack, or a slice of a
NIfTI volume, by the name of its file and its number from 0 (`stack/0007`). Hidden files and folders are skipped. Links
to files are followed, as people link data; links to folders are refused, because they may lead in circles.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rankmatch_keras.data.readers.archives import archive_of, files_in, is_file, is_folder
from rankmatch_keras.data.readers.guards import printable, reading
from rankmatch_keras.data.readers.mask_names import masks_of
from rankmatch_keras.data.readers.nifti import NIFTI_ENDINGS, count_slices
from rankmatch_keras.data.readers.tiff import count_pages
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted

TIFF_ENDINGS = (".tif", ".tiff")
STACK_ENDINGS = (*TIFF_ENDINGS, *NIFTI_ENDINGS)
_FIRST_ENDINGS = (".jpg", ".jpeg", ".png", *STACK_ENDINGS)
# Read where no file with one of the first endings has the name: previews lie beside pictures.
_SECOND_ENDINGS = (".jpe", ".jfif", ".bmp", ".webp", ".gif")
IMAGE_ENDINGS = (*_FIRST_ENDINGS, *_SECOND_ENDINGS)
MASK_ENDINGS = (*IMAGE_ENDINGS, ".mat")
# What lies beside pictures and is none: texts, tables, georeferences, thumbnails of a file manager.
_BESIDE = (
    *("", ".txt", ".csv", ".tsv", ".md", ".json", ".geojson", ".xml", ".yaml", ".yml", ".ini", ".log", ".html", ".pdf"),
    *(".py", ".sh", ".m", ".mat", ".npy", ".npz", ".xlsx", ".xls", ".db", ".lst", ".list", ".sha256", ".md5", ".zip"),
    *(".tfw", ".jgw", ".pgw", ".wld", ".prj", ".ovr"),
)
# Control characters, line breaks and invalid Unicode: they break lists, logs and hashes.
_UNFIT = ("Cc", "Cs", "Zl", "Zp")


class Picture(NamedTuple):
    """A file with one picture, or one page of a stack."""

    path: Path
    page: int | None = None

    def __str__(self) -> str:
        """Return its name in messages."""
        return str(self.path) if self.page is None else f"{self.path}, page {self.page}"


def pictures_by_name(
    place: str | Path, what: str = "images", stack: str | None = None, endings: tuple[str, ...] = IMAGE_ENDINGS
) -> dict[str, Picture]:
    """Find the pictures of a folder and its subfolders, or of one stack, by name in sorted order.

    Args:
        place: a folder, a zip file or a folder in one, or a TIFF or NIfTI file.
        what: what it should hold, for messages.
        stack: name of the stack in the names of its pages, where `place` is a file; its own stem by default.
        endings: of the files that are read.

    Raises:
        UserError: the place does not exist or holds no picture, two pictures have the same name, a link leads to a
            folder or nowhere, a folder cannot be read, or a name is not printable text.
    """
    place = Path(place)
    if os.path.isfile(place) and ending_of(place) in STACK_ENDINGS:
        return _pages(place, stack or _name(place, place.parent))
    # `os.path` has an answer for paths that cannot be, e.g. with NUL or too long.
    if not is_folder(place):
        found = "a file" if os.path.exists(place) else "nothing"
        raise UserError(
            f"a folder of {what}, or a TIFF stack or NIfTI volume", f"{found} at '{place}'", "Check the path."
        )
    files = _without_previews(files_below(place, endings, what), place)
    if not files:
        others = endings_of(files_not_read(place))
        found = f"only {others} in '{place}'" if others else f"none of them in '{place}'"
        remedy = "Unpack it: of zip files only pictures are read." if archive_of(place) else "Check the path."
        raise UserError(f"a folder of {what} ({', '.join(endings)})", found, remedy)
    found_by_name: dict[str, Picture] = {}
    for file in files:
        name = _name(file, place)
        try:
            pages = _pages(file, name) if ending_of(file) in STACK_ENDINGS else {name: Picture(file)}
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
    wanted = [file for file in _all_below(folder, what) if ending_of(file) in endings]
    wanted.sort(key=lambda file: file.parts)  # the order of paths, which compare slowly
    for file in wanted:
        if not is_file(file):
            found = "a link that leads nowhere" if file.is_symlink() else "no regular file"
            raise UserError(f"files of {what}", f"'{file}', {found}", "Remove or replace it.")
    return wanted


def files_not_read(place: str | Path) -> list[Path]:
    """Find the files of a folder of pictures that are left out, other than texts and the like: sorted.

    Args:
        place: a folder; of a stack nothing is left out.
    """
    if not os.path.isdir(place):
        return []
    files = _all_below(place, "images")
    pictures = [file for file in files if ending_of(file) in IMAGE_ENDINGS]
    previews = set(pictures) - set(_without_previews(pictures, Path(place)))
    return sorted(file for file in files if file in previews or ending_of(file) not in (*IMAGE_ENDINGS, *_BESIDE))


def ending_of(file: Path) -> str:
    """Return the ending of a file in lower case, with both parts of `.nii.gz`."""
    return ".nii.gz" if file.name.lower().endswith(".nii.gz") else file.suffix.lower()


def endings_of(files: Sequence[Path]) -> str:
    """Count files by their ending, as text: "12 .heic, 1 .nd2"; empty without files."""
    counts = Counter(ending_of(file) for file in files)
    return ", ".join(f"{count} {printable(ending)}" for ending, count in counts.most_common())


def not_read(place: str | Path) -> str | None:
    """Say in a line which files of a folder of pictures are left out; None if there are none."""
    files = files_not_read(place)
    return f"Not read in '{printable(place)}': {endings_of(files)}, such as '{printable(files[0])}'." if files else None


def _without_previews(files: Sequence[Path], folder: Path) -> Sequence[Path]:
    if all(ending_of(file) in _FIRST_ENDINGS for file in files):
        return files
    known = {_stem(file, folder) for file in files if ending_of(file) in _FIRST_ENDINGS}
    return [file for file in files if ending_of(file) in _FIRST_ENDINGS or _stem(file, folder) not in known]


def _all_below(folder: str | Path, what: str) -> list[Path]:
    def fail(error: OSError):
        raise UserError(f"a readable folder of {what}", f"{error}", "Check its permissions.") from error

    if archive_of(folder):
        with reading(folder, f"a zip file of {what}"):
            return files_in(Path(folder))
    files = []
    for base, folders, names in os.walk(folder, onerror=fail):
        parent = Path(base)
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [parent / name for name in names if not name.startswith(".")]
        for link in (parent / name for name in folders):
            if link.is_symlink():
                raise UserError(
                    f"folders and files of {what}",
                    f"'{link}', a link to a folder",
                    "Give that folder, or link its files.",
                )
    return files


def names_below(folder: str | Path, files: Iterable[Path]) -> dict[str, Path]:
    """Name files by their path below a folder without ending."""
    return {_name(file, Path(folder)): file for file in files}


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort names with numbers by value: `slice_2` before `slice_10`."""

    def key(name: str):
        # Text and digits alternate; digits are compared by length, then as text, which works for any number of them.
        parts = re.split("([0-9]+)", name)
        digits = [part.lstrip("0") for part in parts[1::2]]
        return [*zip(parts[::2], [(len(part), part) for part in [*digits, ""]], strict=True)], name

    return sorted(names, key=key)


def masks_by_name(
    masks: str | Path, images: str | Path, pictures: Mapping[str, Picture], suffix: str | None = None
) -> dict[str, Picture]:
    """Find the pictures in `masks`, by the names of those in `images` where they belong to one.

    Args:
        masks: folder or stack of the masks.
        images: folder or stack of the images.
        pictures: the images by name.
        suffix: see `mask_names.masks_of`.

    Raises:
        UserError: see `pictures_by_name` and `masks_of`; or two stacks differ in length.
    """
    two_stacks = os.path.isfile(images) and os.path.isfile(masks)
    stack = _name(Path(images), Path(images).parent) if two_stacks else None
    found = pictures_by_name(masks, "masks", stack, MASK_ENDINGS)
    if two_stacks and len(found) != len(pictures):
        raise UserError(
            "as many masks as images",
            f"{len(pictures)} in '{images}' and {len(found)} in '{masks}'",
            "Check both stacks.",
        )
    image_of = {mask: image for image, mask in masks_of(pictures, found, suffix, not _same(masks, images)).items()}
    return {image_of.get(name, name): mask for name, mask in found.items()}


def without_masks(
    pictures: Mapping[str, Picture], images: str | Path, masks: str | Path, suffix: str | None = None
) -> dict[str, Picture]:
    """Return the pictures of a folder that are not masks of others, where one folder holds both."""
    found = set(masks_of(pictures, pictures, suffix, apart=False).values()) if _same(images, masks) else set()
    return {name: picture for name, picture in pictures.items() if name not in found}


def _same(masks: str | Path, images: str | Path) -> bool:
    return os.path.isdir(masks) and os.path.isdir(images) and os.path.samefile(masks, images)


def require_masks(pictures: Mapping[str, Picture], masks: Mapping[str, Any], place: str | Path) -> None:
    """Raise UserError if a picture has no mask of its name; `place` is where the masks were looked for."""
    missing = [name for name in pictures if name not in masks]
    if missing:
        raise UserError(
            "a mask for every labeled image",
            f"no mask '{missing[0]}.*' in '{place}' for '{pictures[missing[0]]}' "
            f"({counted(len(missing), 'such image')})",
            "Add the mask under the image's name, say how the names of masks end (--mask-suffix _mask), or move images "
            "without masks to the unlabeled folder.",
        )


def require_files(paths: Iterable[Path], source: str | Path) -> None:
    """Raise UserError if paths that `source` names do not exist: how many, and the first five."""
    missing = [str(path) for path in paths if not os.path.isfile(path)]
    if missing:
        shown = ", ".join(f"{name!r}" for name in missing[:5])
        more = ", ..." if len(missing) > 5 else ""
        raise UserError(
            f"files that exist for every name in '{source}'",
            f"{len(missing)} missing: {shown}{more}",
            "Check the data root, or download what is missing.",
        )


def _pages(file: Path, name: str) -> dict[str, Picture]:
    is_volume = ending_of(file) in NIFTI_ENDINGS
    count = count_slices(file) if is_volume else count_pages(file)
    if count == 1 and not is_volume:
        return {name: Picture(file)}
    return {f"{name}/{page:04d}": Picture(file, page) for page in range(count)}


def _name(file: Path, folder: Path) -> str:
    # Composed, because some file systems store accents as separate characters and others do not.
    name = unicodedata.normalize("NFC", _stem(file, folder))
    if not name.isprintable() and any(unicodedata.category(character) in _UNFIT for character in name):
        raise UserError("file names of one line of text", f"{str(file)!r}", "Rename the file.")
    return name


def _stem(file: Path, folder: Path) -> str:
    path = _below(file, folder)
    return path[: -len(".nii.gz")] if ending_of(file) == ".nii.gz" else path.rsplit(".", 1)[0]


def _below(file: Path, folder: Path) -> str:
    return "/".join(file.parts[len(folder.parts) :])
