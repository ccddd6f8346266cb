"""MATLAB files of version 5 to 7 with one array each, such as label maps, through the same functions as `tiff` has.

SciPy reads the array. What is packed is unpacked before, up to a bound: SciPy would believe any size.
"""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np

from rankmatch_keras.data.readers.guards import ImageInfo, as_float32, open_regular, printable, require_bounded
from rankmatch_keras.errors import UserError

# Two bytes for each pixel of the largest picture, and room for what lies beside it.
MAX_BYTES = 2**28
_HEADER = 128
_PACKED = 15  # type of an element that is packed
_ORDER = {b"IM": "<", b"MI": ">"}
_INTEGERS = ("logical", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
_FLOATS = ("double", "single")


def page_info(path: str | Path, page: int | None) -> ImageInfo:
    """Read the array for its size; see `image_info`."""
    values = read_page_values(path, page)
    return ImageInfo(values.shape[0], values.shape[1], 1, values.dtype.itemsize == 1)


def page_orientation(path: str | Path, page: int | None) -> int:
    """Return 1: arrays are upright."""
    return 1


def page_palette(path: str | Path, page: int | None) -> None:
    """Return None: arrays have no palette."""


def page_opacity(path: str | Path, page: int | None) -> None:
    """Return None: arrays have no alpha band."""


def read_page(path: str | Path, page: int | None) -> np.ndarray:
    """Read the array as an image (H, W, 1), uint8 or float32; see `read_image`."""
    values = read_page_values(path, page)[..., None]
    return values if values.dtype == np.uint8 else as_float32(values, path)


def read_page_values(path: str | Path, page: int | None) -> np.ndarray:
    """Read the only array of two dimensions, or the only one of integers: (H, W).

    Raises:
        UserError: there is none or there are several, the file is of version 7.3, or too large.
        Exception: what SciPy raises on damaged files.
    """
    from scipy import io  # here: it takes a moment

    if page not in (None, 0):
        raise UserError("no page, or page 0", f"{page} for '{printable(path)}'", "Only TIFF files have pages.")
    content = _unpacked(path)
    name = _chosen(io.whosmat(BytesIO(content)), path)
    values = np.asarray(io.loadmat(BytesIO(content), variable_names=[name])[name])
    if values.dtype.kind not in "biuf":
        raise _unfit(f"'{name}' of {values.dtype}", path)
    return np.ascontiguousarray(values)


def _chosen(variables: list[tuple[str, tuple[int, ...], str]], path: str | Path) -> str:
    """Return the name of the variable to read, from the names, shapes and types of all."""
    flat = [(name, shape, kind) for name, shape, kind in variables if len(shape) == 2 and min(shape) > 1]
    for kinds in (_INTEGERS, _FLOATS):
        found = [(name, shape) for name, shape, kind in flat if kind in kinds]
        if len(found) == 1:
            name, shape = found[0]
            require_bounded(path, *shape)
            return name
        if found:
            break
    shown = ", ".join(f"{name} ({kind} {' x '.join(map(str, shape))})" for name, shape, kind in variables[:6])
    raise _unfit(shown[:300] or "no variable", path)


def _unpacked(path: str | Path) -> bytes:
    """Read a file, with its elements unpacked."""
    with open_regular(path) as file:
        content = file.read(MAX_BYTES + 1)
    if content.startswith(b"MATLAB 7.3"):
        raise UserError("a MATLAB file of version 5 to 7", f"version 7.3 in '{printable(path)}'", "Save it with -v7.")
    order = _ORDER.get(content[_HEADER - 2 : _HEADER])
    if order is None:
        raise UserError("a MATLAB file of version 5 to 7", f"another kind at '{printable(path)}'", "Save it with -v7.")
    parts, at, room = [content[:_HEADER]], _HEADER, MAX_BYTES
    while at + 8 <= len(content) and room > 0:
        kind, size = struct.unpack_from(f"{order}II", content, at)
        element = content[at : at + 8 + size]
        if kind == _PACKED:
            element = zlib.decompressobj().decompress(element[8:], room)
        parts.append(element)
        room -= len(element)
        at += 8 + size
    if room <= 0:
        found = f"more than {MAX_BYTES >> 20} MiB in '{printable(path)}'"
        raise UserError("a MATLAB file of one label map", found, "Save it as uint8 or uint16, without other variables.")
    return b"".join(parts)


def _unfit(found: str, path: str | Path) -> UserError:
    return UserError(
        "a MATLAB file with one array of whole numbers (H, W)",
        f"{found} in '{printable(path)}'",
        "Save the label map alone.",
    )
