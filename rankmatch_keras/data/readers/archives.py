"""Zip files as folders: the path of a member is that of the zip file with the member's name below it.

Nothing is unpacked to the disk. A member is read into memory, by the size that it declares.
"""

import functools
import os
import re
import stat
import struct
import zipfile
from io import BytesIO
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

from rankmatch_keras.errors import UserError

# Room for the largest picture as bytes that are not compressed.
MAX_MEMBER = 2**29
# The list of all members takes many times its size in memory.
MAX_LIST = 2**26
OPEN_FILES = 4
_TAIL = 2**16 + 256  # where the end record is, in front of a comment
# Other decompressors of the library fill the memory before they look at the size.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def archive_of(path: str | Path) -> Path | None:
    """Return the zip file that a path leads into, or to; None for all other paths."""
    if ".zip" not in str(path).lower():
        return None  # a folder may hold a million names
    path = Path(path)
    return next((p for p in (path, *path.parents) if p.suffix.lower() == ".zip" and os.path.isfile(p)), None)


def is_file(path: str | Path) -> bool:
    """Return whether there is a file, on the disk or in a zip file."""
    archive = archive_of(path)
    if archive is None or archive == Path(path):
        return os.path.isfile(path)
    return _name(path, archive) in _members(archive)


def is_folder(path: str | Path) -> bool:
    """Return whether there is a folder, on the disk or in a zip file, or a zip file."""
    archive = archive_of(path)
    if archive is None:
        return os.path.isdir(path)
    return archive == Path(path) or any(name.startswith(f"{_name(path, archive)}/") for name in _members(archive))


def innermost_folder(archive: Path) -> Path:
    """Return the folder that holds everything in a zip file: itself, or that which was packed as a whole."""
    names = [name for name in _members(archive) if not is_hidden(name)]
    return archive.joinpath(*os.path.commonprefix([name.split("/")[:-1] for name in names]))


def files_in(folder: Path) -> list[Path]:
    """Return the files below a zip file, or below a folder in one; hidden ones are left out.

    Raises:
        UserError: the zip file has members that no folder can hold; see `_checked_name`.
    """
    archive = archive_of(folder)
    if archive is None:
        return []
    files = [archive / name for name in _members(archive) if not is_hidden(name)]
    return [file for file in files if file.is_relative_to(folder)]


def is_hidden(name: str) -> bool:
    """Return whether a member is hidden, as what macOS packs beside each file."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def open_member(path: str | Path) -> BinaryIO:
    """Read a member of a zip file into memory.

    Raises:
        UserError: it is encrypted, compressed in an unusual way, or larger than 512 MiB.
        Exception: what the library raises where there is no such member, or the zip file is damaged.
    """
    archive = archive_of(path)
    if archive is None:
        raise FileNotFoundError(f"no zip file in {path}")
    file, members = _opened(archive)
    member = members[_name(path, archive)]
    _require_readable(member, archive)
    with file.open(member) as stream:
        return BytesIO(stream.read(member.file_size))  # no more than it declares


def _require_readable(member: zipfile.ZipInfo, archive: Path) -> None:
    found = None
    if member.flag_bits & 1:
        found = "encrypted"
    elif member.compress_type not in _METHODS:
        found = f"compressed by method {member.compress_type}"
    elif member.file_size > MAX_MEMBER:
        found = f"of {member.file_size / 1e9:.1f} GB"
    if found:
        raise UserError(
            f"files of at most {MAX_MEMBER >> 20} MiB in a zip file, deflated and not encrypted",
            f"'{member.filename}', {found}, in '{archive}'",
            "Unpack it, if you trust it, and give the folder.",
        )


def _members(archive: Path) -> dict[str, zipfile.ZipInfo]:
    return _opened(archive)[1]


def _opened(archive: Path) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    status = os.stat(archive)
    # A replaced file is opened again, and so is every file in a forked process, which would share its position.
    return _open_archive(os.path.abspath(archive), status.st_mtime_ns, status.st_size, os.getpid())


@functools.lru_cache(maxsize=OPEN_FILES)
def _open_archive(path: str, mtime_ns: int, size: int, process: int):
    _require_short_list(path, size)
    file = zipfile.ZipFile(path)
    members: dict[str, zipfile.ZipInfo] = {}
    for member in file.infolist():
        name = _checked_name(member, path)
        if name in members:
            raise _unfit(f"'{member.filename}' twice", path)
        if not member.is_dir():
            members[name] = member
    return file, members


def _require_short_list(path: str, size: int) -> None:
    """Refuse a zip file whose end record, or what looks like one, declares a long list of members."""
    with open(path, "rb") as file:
        file.seek(max(0, size - _TAIL))
        tail = file.read() + bytes(64)
    declared = [struct.unpack_from("<L", tail, found.start() + 12)[0] for found in re.finditer(b"PK\5\6", tail)]
    declared = [length for length in declared if length != 2**32 - 1]  # said in the record of large files
    declared += [struct.unpack_from("<Q", tail, found.start() + 40)[0] for found in re.finditer(b"PK\6\6", tail)]
    if max(declared, default=0) > MAX_LIST:
        raise UserError("a zip file of fewer members", f"a list of {max(declared)} bytes in '{path}'", "Unpack it.")


def _checked_name(member: zipfile.ZipInfo, archive: str) -> str:
    """Return the path of a member below its zip file.

    Raises:
        UserError: it is a link, or leads out of a folder.
    """
    path = PureWindowsPath(member.filename)  # which knows both slashes, and drives
    if path.anchor or ".." in path.parts or not path.parts:
        raise _unfit(f"'{member.filename}', which leads out of a folder,", archive)
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _unfit(f"'{member.filename}', a link,", archive)
    return path.as_posix()


def _unfit(found: str, archive: str) -> UserError:
    return UserError("files and folders in a zip file", f"{found} in '{archive}'", "Pack it again.")


def _name(path: str | Path, archive: Path) -> str:
    return Path(path).relative_to(archive).as_posix()
