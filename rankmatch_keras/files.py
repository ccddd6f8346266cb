"""Atomic writing: a crash leaves the old file or the new one, never half of one."""

import contextlib
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from rankmatch_keras.errors import UserError

TEMPORARY = ".writing-"  # begin of the names of files that are not whole yet


@contextlib.contextmanager
def replacing(path: str | Path, keep: str | Path | None = None) -> Iterator[Path]:
    """Yield a temporary path with the same ending beside `path`, and rename it to `path` when the block succeeds.

    The content is on the disk before the name is, so that not even a power failure leaves an empty file.

    Args:
        path: file to write, or folder where there is none yet; the folder that it is in is made if needed.
        keep: name that the file which is there gets, on the same file system; by default it is replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Short, whatever the length of the name; the same ending, from which libraries tell the format.
    mark, ending = zlib.crc32(os.fsencode(path.name)), path.suffix if len(path.suffix) < 16 else ""
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{mark:08x}{ending}")
    try:
        yield temporary
        for written in (*temporary.rglob("*"), temporary):
            _synchronize(written)
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
        _synchronize(path.parent)
    except OSError as error:
        if error.filename in (None, str(temporary)):  # libraries forget the name, or give that which nobody knows
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):  # e.g. the folder is gone; the first error is the one to tell
            temporary.unlink(missing_ok=True)


def require_new_folder(path: str | Path) -> Path:
    """Return the folder that a command is going to fill, as a path; one that cannot be is refused before the work.

    Raises:
        UserError: there is a file, or a folder that is not empty, or none can be made.
    """
    path = Path(path)
    found = _hindrance(path) or (f"{path} with files" if path.is_dir() and any(path.iterdir()) else None)
    if found:
        raise UserError("a new or empty output folder", found, "Choose another --out.")
    return path


def require_file_place(path: str | Path) -> Path:
    """Return the file that a command is going to write, as a path; one that cannot be is refused before the work.

    Raises:
        UserError: there is a folder of its name, or its own folder can neither be written nor made.
    """
    path = Path(path)
    found = _hindrance(path.parent) or (f"the folder {path}" if path.is_dir() else None)
    if found:
        raise UserError("a file that can be written", found, "Choose another --out.")
    return path


def _hindrance(folder: Path) -> str | None:
    """Return what keeps files from being written into a folder, which may not be there yet; `None` if nothing does."""
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            folder.stat()
        nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        if not nearest.is_dir():
            return f"the file {nearest}"
        return None if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest}, where nothing may be written"
    except (OSError, ValueError) as error:  # e.g. a name that is too long, or one with a NUL
        return f"{str(folder)[:80]!r} ({getattr(error, 'strerror', None) or error})"


def remove_temporaries(folder: str | Path, below: bool = False) -> None:
    """Remove what killed processes left half-written in a folder (and below), where nobody else writes now."""
    for path in (Path(folder).rglob if below else Path(folder).glob)(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            path.unlink()


def _synchronize(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not path.is_dir():  # some file systems cannot synchronize folders
            raise error
    finally:
        os.close(descriptor)
