"""NIfTI files, volumes of CT and MRI, as stacks of slices along their third axis, by the same functions as `tiff`.

nibabel reads the header, which bounds all that is read after it. A slice lies in one piece in the file. Of a compressed
file that piece would cost all that is before it, so it is unpacked once, into a temporary file without name.
"""

import atexit
import gzip
import logging
import os
import tempfile
import threading
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from rankmatch_keras.data.readers.archives import archive_of
from rankmatch_keras.data.readers.guards import (
    ImageInfo,
    as_float32,
    open_regular,
    printable,
    reading,
    require_bounded,
)
from rankmatch_keras.environment import require_extra
from rankmatch_keras.errors import UserError

NIFTI_ENDINGS = (".nii", ".nii.gz")
MAX_SLICES = 100_000
MAX_UNPACKED = 2**33  # bytes of all temporary files of a process
_MAX_OFFSET = 2**26  # of the pixels: before them are texts of programs
_MOST_PACKED = 1040  # times that gzip shortens a file at best
_BLOCK = 2**22
_SCALARS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
_GEOMETRY = (
    *("dim_info", "pixdim", "xyzt_units", "qform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "sform_code", "srow_x", "srow_y", "srow_z"),
)

# Flaws that matter are raised as errors.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)


def count_slices(path: str | Path) -> int:
    """Count the slices of a volume, from its header.

    Raises:
        UserError: the file is no NIfTI volume that is read, or nibabel is not installed.
    """
    with reading(path, "a readable NIfTI file"):
        return _layout_of(path).shape[2]


def page_info(path: str | Path, page: int | None) -> ImageInfo:
    """Read the header; see `image_info`."""
    layout = _layout_of(path)
    _require_page(layout, path, page)
    width, height, _ = layout.shape
    return ImageInfo(height, width, 1, layout.dtype == np.uint8 and not layout.is_scaled)


def page_orientation(path: str | Path, page: int | None) -> int:
    """Return 1: slices are read as they are stored."""
    return 1


def page_palette(path: str | Path, page: int | None) -> None:
    """Return None: slices have no palette."""


def page_opacity(path: str | Path, page: int | None) -> None:
    """Return None: slices have no alpha band."""


def read_page(path: str | Path, page: int | None) -> np.ndarray:
    """Read a slice as an image (H, W, 1), uint8 or float32; see `read_image`."""
    values = read_page_values(path, page)[..., None]
    return values if values.dtype == np.uint8 else as_float32(values, path)


def read_page_values(path: str | Path, page: int | None) -> np.ndarray:
    """Read a slice in the units that the file's slope and intercept make: (H, W), H along the volume's second axis."""
    layout = _layout_of(path)
    index = _require_page(layout, path, page)
    width, height, _ = layout.shape
    data = _piece(layout, path, index)
    if len(data) < layout.slice_bytes:
        raise _cut_off(path)
    values = np.frombuffer(data, layout.dtype).reshape(height, width)  # the first axis is the fastest
    values = values.astype(layout.dtype.newbyteorder("="))
    return values * layout.slope + layout.intercept if layout.is_scaled else values


def mask_header(path: str | Path) -> bytes:
    """Return all that is in front of the pixels of a volume of class ids (uint8) in the place of another volume.

    Size, affine and units are those of the volume; texts, which may name a patient, are left out.
    """
    with reading(path, "a readable NIfTI file"):
        known, shape = _header(path), _layout_of(path).shape
    header = type(known)(endianness=known.endianness)
    for field in _GEOMETRY:
        header[field] = known[field]
    pixdim = known["pixdim"].copy()
    header.set_data_shape(shape)
    header["pixdim"] = pixdim
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header.set_intent("label")
    header["vox_offset"] = header.single_vox_offset
    return header.binaryblock.ljust(header.single_vox_offset, b"\0")


class _Layout(NamedTuple):
    shape: tuple[int, int, int]  # width, height, slices
    dtype: np.dtype
    offset: int
    slope: float
    intercept: float
    is_packed: bool

    @property
    def is_scaled(self) -> bool:
        return (self.slope, self.intercept) != (1, 0)

    @property
    def slice_bytes(self) -> int:
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    @property
    def pixel_bytes(self) -> int:
        return self.slice_bytes * self.shape[2]


def _layout_of(path: str | Path) -> _Layout:
    if archive_of(path):
        raise UserError("NIfTI files outside zip files", f"'{printable(path)}'", "Unpack the zip file.")
    open_regular(path).close()
    return _read_layout(*_identity(path))


def _identity(path: str | Path) -> tuple[str, int, int]:
    status = os.stat(path)
    return os.path.abspath(path), status.st_mtime_ns, status.st_size


@lru_cache(maxsize=1024)
def _read_layout(path: str, mtime_ns: int, size: int) -> _Layout:
    header, is_packed = _header(path), _is_packed(path)
    dtype = header.get_data_dtype()
    if dtype.str[1:] not in _SCALARS:
        name = "RGB" if dtype.fields else str(dtype)
        raise UserError(
            "one whole or real number per pixel", f"{name} in '{printable(path)}'", "Save one channel, e.g. as float32."
        )
    slope, intercept = header.get_slope_inter()
    offset = float(header["vox_offset"])
    if not header.single_vox_offset <= offset <= _MAX_OFFSET:
        raise UserError("pixels soon behind the header", f"at byte {offset} in '{printable(path)}'", "Save it again.")
    slope, intercept = (1.0, 0.0) if slope is None else (float(slope), float(intercept))
    layout = _Layout(_shape(header, path), dtype, int(offset), slope, intercept, is_packed)
    _require_room(layout, path, size)
    return layout


def _shape(header: Any, path: str) -> tuple[int, int, int]:
    shape = tuple(int(side) for side in header.get_data_shape())
    sides = f"{' x '.join(map(str, shape))} in '{printable(path)}'"
    if len(shape) < 2 or any(side != 1 for side in shape[3:]):
        raise UserError("a volume of three dimensions", sides, "Save one volume per file.")
    width, height, count = (*shape, 1)[:3]
    require_bounded(path, height, width)
    if not 0 < count <= MAX_SLICES:
        raise UserError(f"1 to {MAX_SLICES} slices", sides, "Cut it into several volumes.")
    return width, height, count


def _require_room(layout: _Layout, path: str, size: int) -> None:
    """Refuse a file that is shorter than its header says, and one too large to unpack."""
    end = layout.offset + layout.pixel_bytes
    if end > (size * _MOST_PACKED if layout.is_packed else size):
        raise _cut_off(path)
    if layout.is_packed and end > MAX_UNPACKED:
        found = f"{end / 1e9:.1f} GB in '{printable(path)}'"
        raise UserError(f"at most {MAX_UNPACKED / 1e9:.1f} GB in a compressed file", found, "Unpack it with gunzip.")


def _require_page(layout: _Layout, path: str | Path, page: int | None) -> int:
    count = layout.shape[2]
    if page is None and count > 1:
        found = f"{count} slices in '{printable(path)}'"
        raise UserError("a file of one picture", found, "Give the path of the volume itself.")
    if not 0 <= (page or 0) < count:
        raise UserError(f"a slice from 0 to {count - 1}", f"{page} for '{printable(path)}'", "Correct the number.")
    return page or 0


def _header(path: str | Path) -> Any:
    """Read the header, and nothing behind it."""
    require_extra("nibabel", "volumes", "NIfTI files")
    from nibabel import Nifti1Header, Nifti2Header

    with open_regular(path) as file, _plain(file, path) as stream:
        head = stream.read(Nifti2Header.sizeof_hdr)
    kind = Nifti2Header if head[4:7] == b"n+2" else Nifti1Header
    if kind is not Nifti2Header and head[344:347] != b"n+1":
        found = f"another kind of file at '{printable(path)}'"
        raise UserError("a NIfTI file with header and pixels in one (.nii or .nii.gz)", found, "Convert it.")
    return kind(head[: kind.sizeof_hdr])


def _is_packed(path: str | Path) -> bool:
    with open_regular(path) as file:
        return file.read(2) == b"\x1f\x8b"


def _plain(file: IO[bytes], path: str | Path) -> IO[bytes]:
    return gzip.GzipFile(fileobj=file) if _is_packed(path) else file  # type: ignore[return-value]


def _piece(layout: _Layout, path: str | Path, index: int) -> bytes:
    if layout.is_packed:
        return _UNPACKED.read(path, layout, index * layout.slice_bytes)
    with open_regular(path) as file:
        file.seek(layout.offset + index * layout.slice_bytes)
        return file.read(layout.slice_bytes)


class _UnpackedFiles:
    """The pixels of the compressed files that were read last, in temporary files of bounded size."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple, IO[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: str | Path, layout: _Layout, start: int) -> bytes:
        # A forked process would share the position of the files.
        key = (*_identity(path), os.getpid())
        with self._lock:
            if key not in self._files:
                self._make_room(layout.pixel_bytes)
                self._files[key] = _unpacked(path, layout)
            self._files.move_to_end(key)
            file = self._files[key]
            file.seek(start)
            return file.read(layout.slice_bytes)

    def close(self) -> None:
        with self._lock:
            self._make_room(MAX_UNPACKED)

    def _make_room(self, needed: int) -> None:
        while self._files and sum(os.fstat(f.fileno()).st_size for f in self._files.values()) + needed > MAX_UNPACKED:
            self._files.popitem(last=False)[1].close()


_UNPACKED = _UnpackedFiles()
atexit.register(_UNPACKED.close)


def _unpacked(path: str | Path, layout: _Layout) -> IO[bytes]:
    """Unpack as many bytes as the header declares."""
    with (
        tempfile.TemporaryFile(prefix="rankmatch-") as kept,
        open_regular(path) as file,
        gzip.GzipFile(fileobj=file) as stream,
    ):
        stream.read(layout.offset)
        waiting = layout.pixel_bytes
        while waiting:
            block = stream.read(min(waiting, _BLOCK))
            if not block:
                raise _cut_off(path)
            kept.write(block)
            waiting -= len(block)
        stream.read(1)  # at the end of the file its checksum is compared
        kept.flush()
        return os.fdopen(os.dup(kept.fileno()), "rb")


def _cut_off(path: str | Path) -> UserError:
    return UserError("a whole NIfTI file", f"'{printable(path)}', which is cut off", "Copy or save it again.")
