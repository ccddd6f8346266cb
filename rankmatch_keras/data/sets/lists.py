"""Lists of images as text files, in the format of the public partitions: `image-path mask-path` per line.

Paths are relative to a root that the reader knows. A tab separates them if names contain spaces; a page of a TIFF stack
is written `stack.tif#12`.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from rankmatch_keras.data.readers.folders import Picture
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.errors import UserError

MAX_BYTES = 256 * 2**20
_PAGE = re.compile(r"(.+\.tiff?)#([0-9]{1,9})", re.IGNORECASE | re.DOTALL)


def read_list(path: str | Path) -> list[tuple[str, str | None]]:
    """Read a list: `image-path mask-path`, or only an image, per line.

    Args:
        path: the text file (UTF-8, with or without byte order mark). Blank lines are skipped; a line with a tab is
            split there, so that names may contain spaces, any other line at white space.

    Returns:
        `(image path, mask path or None)` per line, as written in the file.

    Raises:
        UserError: the file is missing or empty, or a line holds more than two paths.
    """
    path = Path(path)
    there = os.path.isfile(path)
    if not there or path.stat().st_size > MAX_BYTES:
        found = f"more than {MAX_BYTES >> 20} MiB in '{path}'" if there else f"no file '{path}'"
        raise UserError("a text file with a list of images", found, "Check the path.")
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("a text file (UTF-8) with a list of images", f"{error} in '{path}'", "Check it.") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        pair = _parse(line)
        if pair is None:
            raise UserError(
                "`image-path mask-path` or `image-path` per line",
                f"{line.strip()!r} in line {number} of '{path}'",
                "Put a tab between the two if names contain spaces.",
            )
        pairs.append(pair)
    if not pairs:
        raise UserError("at least one image", f"only blank lines in '{path}'", "Check the list.")
    return pairs


def list_line(sample: Sample, root: str | Path) -> str:
    """Write a sample as a line of a list.

    Args:
        sample: a sample of files; its mask is named too if it has one.
        root: the folder that the paths are relative to.

    Raises:
        UserError: image or mask is no file or lies outside the root, or a name contains a line break or tab.
    """
    image = _written(sample.image, root)
    mask = None if sample.mask is None else _written(sample.mask, root)
    spaced = any(character.isspace() for character in image + (mask or ""))
    line = f"{image}\t{mask or ''}" if spaced else f"{image} {mask or ''}".rstrip()
    if "\n" in line or line.startswith("\ufeff") or _parse(line) != (image, mask):
        raise UserError("names without line breaks, tabs and spaces at the end", f"{line!r}", "Rename the file.")
    return line


def picture_below(root: str | Path, name: str, source: str | Path) -> Picture:
    r"""Find the file, or the page of a stack, that a list names.

    Args:
        root: the folder that names are relative to.
        name: a path as in the list; `\` is taken as `/` if there is no such file.
        source: the list, for messages.

    Raises:
        UserError: the name leads out of the root.
    """
    root, page = Path(root), None
    text = name
    if match := _PAGE.fullmatch(text):
        text, page = match[1], int(match[2])
    if "\\" in text and not os.path.isfile(root / text):
        text = text.replace("\\", "/")
    # Compared as text, not resolved: links inside the root may point to another disk.
    base, place = os.path.abspath(root), os.path.abspath(root / text)
    outside = ".." in Path(text).parts or not Path(place).is_relative_to(base) or place == base
    if outside or "\0" in text:
        raise UserError(
            f"paths below the data root '{root}'",
            f"{name!r} in '{source}'",
            "Write paths relative to the root, without '..'.",
        )
    return Picture(root / os.path.relpath(place, base), page)


def picture_name(root: str | Path, picture: Picture) -> str:
    """Return the name of a picture below a root: its path without ending, and its page."""
    stem = os.path.splitext(picture.path.relative_to(root).as_posix())[0]
    return stem if picture.page is None else f"{stem}/{picture.page:04d}"


def common_folder(samples: Iterable[Sample]) -> Path:
    """Return the innermost folder that holds all files of some samples, which paths of lists are relative to.

    Raises:
        UserError: the samples are not files, or lie on different drives.
    """
    sources = [source for sample in samples for source in (sample.image, sample.mask)]
    paths = [path for path in (getattr(source, "path", None) for source in sources) if path is not None]
    try:
        return Path(os.path.commonpath({os.path.dirname(os.path.abspath(path)) for path in paths}))
    except ValueError as error:
        raise UserError("images in files below one folder", f"{error}", "Move them together.") from error


def _written(source, root: str | Path) -> str:
    path, page = getattr(source, "path", None), getattr(source, "page", None)
    if path is None:
        raise UserError("images and masks in files", f"{source} in memory", "Save it as a file first.")
    base = os.path.abspath(root)
    place = Path(os.path.abspath(path))
    if not place.is_relative_to(base):
        raise UserError(f"files below '{root}'", f"'{path}'", "Give a folder that holds them all as --data.")
    return place.relative_to(base).as_posix() + ("" if page is None else f"#{page}")


def _parse(line: str) -> tuple[str, str | None] | None:
    """Split a line; return None if it is no image with at most one mask."""
    if "\t" in line:
        fields = [field.strip() for field in line.split("\t")]
        if fields[1:] == [""]:
            fields = fields[:1]
    else:
        fields = line.split()
    if len(fields) > 2 or not all(fields):
        return None
    return fields[0], fields[1] if len(fields) == 2 else None
