"""Strips and tiles of a TIFF page: which compressions are read, and how much memory one strip or tile may take."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tifffile import COMPRESSION, PREDICTOR, TiffPage

from rankmatch_keras.data.readers.declared import declared_size, require_few_scans
from rankmatch_keras.data.readers.guards import printable
from rankmatch_keras.errors import UserError

# imagecodecs stops these at the size of the strip or tile.
_BYTES = (
    COMPRESSION.NONE,
    COMPRESSION.LZW,
    COMPRESSION.ADOBE_DEFLATE,
    COMPRESSION.DEFLATE,
    COMPRESSION.PIXTIFF,
    COMPRESSION.PACKBITS,
    COMPRESSION.ZSTD,
    COMPRESSION.ZSTD_DEPRECATED,
    COMPRESSION.LZMA,
    COMPRESSION.CCITTRLE,
    COMPRESSION.CCITTFAX3,
    COMPRESSION.CCITTFAX4,
)
JPEG = (COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY)
_JPEG_2000 = (COMPRESSION.JPEG2000, COMPRESSION.JPEG_2000_LOSSY, COMPRESSION.APERIO_JP2000_RGB)
# These allocate what the strip or tile declares of itself.
_PICTURES = (*JPEG, *_JPEG_2000, COMPRESSION.PNG, COMPRESSION.WEBP, COMPRESSION.LERC)
# Tiles of any page may be as large as this: small pages have tiles that are far larger.
_TILE_VALUES = 2**24
_SLACK = 2**20


def require_codec(page: TiffPage, path: str | Path) -> None:
    """Refuse a page that would be read wrongly, or whose tiles are out of proportion to it.

    Raises:
        UserError: its compression is not read, or not with these samples; the message names it.
    """
    name = getattr(page.compression, "name", f"unknown compression {page.compression}")
    if page.compression not in (*_BYTES, *_PICTURES):
        raise _unread(name, path)
    if page.compression in (COMPRESSION.LERC, *_JPEG_2000):
        depth = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
        # Writers disagree on the order of the bytes, and on what the predictor meets; 32 bits of JPEG 2000 are lossy.
        if depth > 8 and page.parent.byteorder == ">":
            raise _unread(f"{name} of {depth} bits in big-endian order", path)
        if page.predictor != PREDICTOR.NONE:
            raise _unread(f"{name} with a predictor", path)
        if depth > 16 and page.compression in _JPEG_2000:
            raise _unread(f"{name} of {depth} bits", path)
    values = math.prod((page.tilelength, page.tilewidth, page.samplesperpixel)) if page.is_tiled else 0
    if values > max(_TILE_VALUES, 2 * page.imagelength * page.imagewidth * page.samplesperpixel):
        raise UserError(
            "tiles in proportion to the picture",
            f"{page.tilewidth} x {page.tilelength} for {page.imagewidth} x {page.imagelength} pixels"
            f" in '{printable(path)}'",
            "Save it again.",
        )


def decoded(page: TiffPage, path: str | Path) -> np.ndarray:
    """Decode a page: (planes, 1, H, W, samples) as stored.

    Raises:
        UserError: a strip or tile declares more pixels than it has room for.
        Exception: whatever the decoder raises on damaged data.
    """
    page.decode = bounded_decoder(page, path)
    return page.asarray(squeeze=False, maxworkers=1)


def bounded_decoder(page: TiffPage, path: str | Path) -> Callable[..., Any]:
    """Return the page's function that decodes a strip or tile, with a look at what it declares."""
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    decode = page.decode

    def look_first(data: bytes | None, index: int, **options: Any) -> Any:
        if data is not None and page.compression in _PICTURES:
            size = declared_size(data)
            if size is None:
                raise _unread(f"{page.compression.name} data of another kind", path)
            if size[0] * size[1] > rows * columns + _SLACK:
                found = f"{size[1]} x {size[0]} pixels in a strip or tile of {columns} x {rows} in '{printable(path)}'"
                raise UserError("a whole TIFF file", found, "Copy or save it again.")
            if page.compression in JPEG:
                require_few_scans(data, path)
        try:
            return decode(data, index, **options)
        except Exception:
            fitting = page.is_tiled or page.compression in _PICTURES or page.imagelength % page.rowsperstrip == 0
            if fitting or page.rowsperstrip > page.imagelength:
                raise
        # Some programs write the last strip with as many rows as the others.
        return _with_whole_strips(page).decode(data, index, **options)

    return look_first


def _with_whole_strips(page: TiffPage) -> TiffPage:
    """Return the page with rows added until its last strip is as high as the others."""
    higher = copy.copy(page)
    for cached in ("decode", "hash"):
        higher.__dict__.pop(cached, None)
    planes, depth, height, width, samples = page.shaped
    higher.shaped = (planes, depth, -(-height // page.rowsperstrip) * page.rowsperstrip, width, samples)
    return higher


def _unread(found: str, path: str | Path) -> UserError:
    return UserError(
        "a TIFF compression that can be read",
        f"{printable(found)} in '{printable(path)}'",
        "Save the file uncompressed, or with Deflate or LZW.",
    )
