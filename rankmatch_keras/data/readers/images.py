"""Paths to arrays: the one place where image files are open_regular, and what they hold is made to fit."""

from pathlib import Path
from types import ModuleType

import numpy as np

from rankmatch_keras.data.readers import jpeg_png, tiff
from rankmatch_keras.data.readers.guards import ImageInfo, as_int32, open_regular, printable, reading
from rankmatch_keras.errors import UserError

_READERS = {"JPEG": jpeg_png, "PNG": jpeg_png, "TIFF": tiff}
# What the bytes at a position of a file say; formats without reader are here to be refused by name.
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (8, b"WEBP", "WebP"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"jP  ", "JPEG 2000"),
    (128, b"DICM", "DICOM"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"%PDF", "PDF"),
)


def read_image(path: str | Path, page: int | None = None, channels: int | None = 3) -> np.ndarray:
    """Read an image.

    Palettes are looked up, CMYK is converted to RGB, alpha is dropped, and the orientation that the file states
    is applied.

    Args:
        path: a JPEG, PNG or TIFF file; its content decides, not its ending.
        page: number of the page of a TIFF stack, from 0; None for a file of one picture.
        channels: 3: grey is repeated; 1: also a colour image whose three channels are equal; any other number
            must be that of the file; None: as in the file (grey 1, colour 3, TIFF with N bands N).

    Returns:
        (H, W, C): uint8 for files of up to 8 bits per channel (1, 2 and 4 bits are stretched to 0..255), float32
        in the file's own units for all others.

    Raises:
        UserError: missing, damaged, another format, animated or several pages without `page`, no such page, more
            than 100 megapixels, NaN or infinite values, or other channels than wanted.
    """
    with reading(path):
        picture = _reader(path).read_page(path, page)
    return _fitted(picture, channels, path)


def read_raw_mask(path: str | Path, page: int | None = None) -> np.ndarray:
    """Read the values of a mask as they are stored; a palette image yields its indices, not its colours.

    Args:
        path: a JPEG, PNG or TIFF file.
        page: number of the page of a TIFF stack, from 0; None for a file of one picture.

    Returns:
        int32 (H, W) where there is one value per pixel (a 1-bit file: 0 and 1), uint8 (H, W, 3) for colours.

    Raises:
        UserError: as `read_image`; or NaN, fractions, or bands that are neither one value nor RGB.
    """
    with reading(path, "a readable mask"):
        values = _reader(path).read_page_values(path, page)
        if values.ndim == 2:
            return as_int32(values, path)
    if values.shape[-1] != 3 or values.dtype != np.uint8:
        raise UserError(
            "a mask with one value or one 8-bit RGB colour per pixel",
            f"{values.shape[-1]} bands of {values.dtype} in '{printable(path)}'",
            "Save class ids in one channel.",
        )
    return values


def read_colors(path: str | Path, page: int | None = None) -> np.ndarray:
    """Read a mask as colours: palettes are looked up, grey is repeated.

    Args:
        path: a JPEG, PNG or TIFF file of at most 8 bits per channel.
        page: number of the page of a TIFF stack, from 0; None for a file of one picture.

    Returns:
        uint8 (H, W, 3).

    Raises:
        UserError: as `read_image`; or the file has more than 8 bits per channel.
    """
    picture = read_image(path, page)
    if picture.dtype != np.uint8:
        raise UserError("a mask of 8-bit colours", f"deeper values in '{printable(path)}'", "Save 8 bits per channel.")
    return picture


def image_info(path: str | Path, page: int | None = None) -> ImageInfo:
    """Return height, width, channels and whether the image is read as uint8, from the header alone.

    Args:
        path: a JPEG, PNG or TIFF file.
        page: number of the page of a TIFF stack, from 0; None for a file of one picture.

    Raises:
        UserError: as `read_image`, except for damage behind the header and for values.
    """
    with reading(path):
        return _reader(path).page_info(path, page)


def _reader(path: str | Path) -> ModuleType:
    with open_regular(path) as file:
        head = file.read(132)
    name = next((name for at, magic, name in _SIGNATURES if head.startswith(magic, at)), None)
    if name in _READERS:
        return _READERS[name]
    found = f"a {name} file" if name else "none of them" if head else "an empty file"
    raise UserError("a JPEG, PNG or TIFF file", f"{found} at '{printable(path)}'", "Convert or replace it.")


def _fitted(picture: np.ndarray, channels: int | None, path: str | Path) -> np.ndarray:
    """Return the picture with the channels that are wanted, or say why that cannot be."""
    found = picture.shape[-1]
    if channels in (None, found):
        return picture
    if channels == 3 and found == 1:
        return np.repeat(picture, 3, axis=-1)
    if channels == 1 and found == 3:
        if (picture == picture[..., :1]).all():
            return np.ascontiguousarray(picture[..., :1])
        raise UserError("a grey image", f"colours in '{printable(path)}'", "Convert it, or read 3 channels.")
    raise UserError(
        f"an image of {channels} channel{'s' if channels != 1 else ''}",
        f"{found} in '{printable(path)}'",
        f"Read {found} channels, or choose the bands and save them anew.",
    )
