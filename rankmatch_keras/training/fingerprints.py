"""Fingerprints of the files of a run, so that a resumed one learns from the same images and says what changed."""

import csv
import functools
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rankmatch_keras import data
from rankmatch_keras.data.readers.archives import archive_of
from rankmatch_keras.data.readers.guards import reading
from rankmatch_keras.errors import UserError
from rankmatch_keras.files import replacing

ENDS = 1 << 16  # bytes at the begin and at the end of a file that are looked at
SHOWN = 3
COLUMNS = ("part", "name", "files")

Fingerprints = dict[tuple[str, str], str]  # of image and mask, by part and name


def fingerprints(parts: Mapping[str, Sequence[data.Sample]]) -> Fingerprints:
    """Return a fingerprint of the image and mask of every sample: size, and checksum of begin and end.

    Args:
        parts: samples by the name of their part.
    """
    of_file = functools.cache(_of_file)

    def of(source):
        files = dict.fromkeys(archive_of(path) or path for path in _files(source))
        found = " ".join(map(of_file, files))
        return found if len(files) < 2 else f"{len(files)}-{zlib.crc32(found.encode()):08x}"

    return {
        (part, sample.name): f"{of(sample.image)} {of(sample.mask)}".strip()
        for part, samples in parts.items()
        for sample in samples
    }


def _files(source: Any) -> Sequence[Path]:
    """Return the files of a source: its objects', its neighboring slices', or its one; arrays have none."""
    path = getattr(source, "path", None)
    slices = [file for file, _ in getattr(source, "slices", ())]
    return getattr(source, "files", slices) or ([] if path is None else [path])


def _of_file(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            checksum = zlib.crc32(file.read(ENDS))
            file.seek(max(0, size - ENDS))
            return f"{size}-{zlib.crc32(file.read(ENDS), checksum):08x}"
    except OSError:  # whoever reads it says what is wrong with it
        return ""


def write(path: Path, found: Fingerprints) -> None:
    """Write fingerprints as a table."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows((*key, files) for key, files in found.items())


def require_same(path: Path, now: Fingerprints) -> None:
    """Check that the images are those of the table; older runs have none.

    Raises:
        UserError: images are new, missing or changed; the message names some of each.
    """
    before = _read(path)
    if before is None:
        return
    kinds = {
        "new": now.keys() - before.keys(),
        "missing": before.keys() - now.keys(),
        "changed": {key for key in now.keys() & before.keys() if now[key] != before[key]},
    }
    found = [_listed(kind, sorted(keys)) for kind, keys in kinds.items() if keys]
    if found:
        raise UserError(
            "the images that the run was started with",
            f"{'; '.join(found)} (by {path})",
            "Resume with the same files, or start a new run.",
        )


def _listed(kind: str, keys: Sequence[tuple[str, str]]) -> str:
    names = ", ".join(f"{part} {name}" for part, name in keys[:SHOWN])
    return f"{len(keys)} {kind}: {names}{', ...' if len(keys) > SHOWN else ''}"


def _read(path: Path) -> Fingerprints | None:
    if not os.path.lexists(path):
        return None
    remedy = "Remove it to resume without this check."
    with reading(path, "a table of the images of a run", remedy), path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
        if tuple(header) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
            raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
    return {(part, name): files for part, name, files in rows}
