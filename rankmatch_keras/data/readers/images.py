"""Image files as arrays: the one place where they are opened and their channels made to fit."""

from pathlib import Path
from types import ModuleType

import numpy as np

from rankmatch_keras.data.readers import matlab, nifti, pillow_files, tiff
from rankmatch_keras.data.readers.guards import ImageInfo, as_int32, open_regular, printable, reading
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted

_READERS = {name: pillow_files for name in ("JPEG", "PNG", "BMP", "WebP", "GIF")} | {
    "TIFF": tiff,
    "MATLAB": matlab,
    "NIfTI": nifti,
}
_FORMATS = "a JPEG, PNG, TIFF, BMP, WebP or GIF file"
# Offset, bytes there, and the format they stand for; formats without a reader are listed to be refused by name.
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"MATLAB ", "MATLAB"),
    (344, b"n+1\0", "NIfTI"),
    (4, b"n+2\0", "NIfTI"),
    (0, b"\x1f\x8b", "NIfTI"),  # gzip
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

    Palettes are looked up, CMYK is converted to RGB, alpha is dropped, and the orientation stored in the file is
    applied.

    Args:
        path: a JPEG, PNG, TIFF, BMP, WebP or GIF file, of which the first frame is read; its content decides, not its
            ending.
        page: page of a TIFF stack, from 0; None for a file of one picture.
        channels: 3: gray is repeated; 1: color is accepted too where its three channels are equal; any other number
            must be that of the file; None: as in the file (gray 1, color 3, TIFF with N bands N).

    Returns:
        (H, W, C): uint8 for files of up to 8 bits per channel (1, 2 and 4 bits are stretched to 0..255), float32
        in the file's own units for all others, NaN where there is no data: what a GeoTIFF file names so, NaN, and the
        lowest number of its floats.

    Raises:
        UserError: the file is missing, damaged, of another format, animated, or has several pages and no `page` is
            given; there is no such page; more than 100 megapixels; infinite values; or other channels than asked for.
    """
    with reading(path):
        picture = _reader(path).read_page(path, page)
    return with_channels(picture, channels, path)


def read_raw_mask(path: str | Path, page: int | None = None) -> np.ndarray:
    """Read the values of a mask as stored; a palette image yields its indices, not its colors.

    What is transparent in an image with alpha was not drawn: it is 0, whatever color goes on below.

    Args:
        path: an image file, see `read_image`; or a MATLAB file of version 5 to 7 with one label map.
        page: page of a TIFF stack, from 0; None for a file of one picture.

    Returns:
        int32 (H, W) where there is one value per pixel (a 1-bit file: 0 and 1), uint8 (H, W, 3) for colors, those of
        a GIF file's palette included.

    Raises:
        UserError: as `read_image`; or NaN, fractions, or bands that are neither one value nor RGB.
    """
    with reading(path, "a readable mask"):
        values = _reader(path).read_page_values(path, page)
        if values.ndim == 2:
            return as_int32(values, path)
    if values.shape[-1] != 3 or values.dtype != np.uint8:
        raise UserError(
            "a mask with one value or one 8-bit RGB color per pixel",
            f"{values.shape[-1]} bands of {values.dtype} in '{printable(path)}'",
            "Save class ids in one channel.",
        )
    return values


def read_colors(path: str | Path, page: int | None = None) -> np.ndarray:
    """Read a mask as colors: palettes are looked up, gray is repeated.

    Args:
        path: an image file of at most 8 bits per channel.
        page: page of a TIFF stack, from 0; None for a file of one picture.

    Returns:
        uint8 (H, W, 3).

    Raises:
        UserError: as `read_image`; or the file has more than 8 bits per channel.
    """
    picture = read_image(path, page)
    if picture.dtype != np.uint8:
        raise UserError("a mask of 8-bit colors", f"deeper values in '{printable(path)}'", "Save 8 bits per channel.")
    return picture


def read_palette(path: str | Path, page: int | None = None) -> np.ndarray | None:
    """Read the palette of a mask: uint8 (N, 3), or None where its values are no indices of one.

    Raises:
        UserError: as `image_info`.
    """
    with reading(path, "a readable mask"):
        return _reader(path).page_palette(path, page)


def read_opacity(path: str | Path, page: int | None = None) -> np.ndarray | None:
    """Read the alpha band: (H, W), where 0 is transparent; None without one, or if it is the same everywhere.

    Raises:
        UserError: as `read_image`.
    """
    with reading(path, "a readable mask"):
        opacity = _reader(path).page_opacity(path, page)
    return None if opacity is None or (opacity == opacity.flat[0]).all() else opacity


def image_info(path: str | Path, page: int | None = None) -> ImageInfo:
    """Read height, width, channels and depth of an image from its header alone.

    Args:
        path: an image file, see `read_image`.
        page: page of a TIFF stack, from 0; None for a file of one picture.

    Raises:
        UserError: as `read_image`, except for damage after the header and for values.
    """
    with reading(path):
        return _reader(path).page_info(path, page)


def read_orientation(path: str | Path, page: int | None = None) -> int:
    """Read how a picture is turned when it is read: 1..8 of the EXIF standard, 1 for not at all.

    Raises:
        UserError: as `image_info`.
    """
    with reading(path):
        orientation = _reader(path).page_orientation(path, page)
        return orientation if orientation in range(1, 9) else 1


def is_animated(path: str | Path) -> bool:
    """Return whether a file has several frames of which the first one is read."""
    with reading(path):
        return pillow_files.is_animated_gif(path)


def _reader(path: str | Path) -> ModuleType:
    with open_regular(path) as file:
        head = file.read(348)
    name = next((name for at, magic, name in _SIGNATURES if head.startswith(magic, at)), None)
    if name in _READERS:
        return _READERS[name]
    found = f"a {name} file" if name else "a file of another kind" if head else "an empty file"
    raise UserError(_FORMATS, f"{found} at '{printable(path)}'", "Convert or replace it.")


def with_channels(picture: np.ndarray, channels: int | None, path: str | Path) -> np.ndarray:
    """Return a picture (H, W, C) with the channels asked for, see `read_image`.

    Raises:
        UserError: it has others.
    """
    found = picture.shape[-1]
    if channels in (None, found):
        return picture
    if channels == 3 and found == 1:
        return np.repeat(picture, 3, axis=-1)
    if channels == 1 and found == 3:
        if np.array_equal(picture, np.broadcast_to(picture[..., :1], picture.shape), equal_nan=True):
            return np.ascontiguousarray(picture[..., :1])
        raise UserError("a gray image", f"colors in '{printable(path)}'", "Convert it, or read 3 channels.")
    raise UserError(
        f"an image of {counted(channels, 'channel')}",
        f"{found} in '{printable(path)}'",
        f"Read {counted(found, 'channel')}, or select the bands and save them again.",
    )
