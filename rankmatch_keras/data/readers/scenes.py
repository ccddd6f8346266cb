"""Scenes: TIFF pictures beyond the limit on pictures in memory, of which windows are read."""

import functools
import math
import weakref
from pathlib import Path

import numpy as np
from tifffile import TiffFile, TiffPage

from rankmatch_keras.data.readers.guards import MAX_PIXELS, as_float32, open_regular, printable, reading
from rankmatch_keras.data.readers.images import with_channels
from rankmatch_keras.data.readers.sources import ImageFile
from rankmatch_keras.data.readers.tiff_codecs import bounded_decoder
from rankmatch_keras.data.readers.tiff_layout import Layout
from rankmatch_keras.errors import UserError

SEGMENT_VALUES = 1 << 25  # in a strip or tile at most: windows are small, and so must be what is decoded for them
CACHE_BYTES = 1 << 27
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Scene:
    """A picture that is indexed by rows and columns like an array (H, W, C); see `read_image` for its values.

    Args:
        source: a TIFF file of one picture.

    Attributes:
        shape: (H, W, C); `ndim` is 3.
        dtype: uint8, or float32 with NaN where there is no data.

    Raises:
        UserError: the picture is of a kind that is not read, turned by its orientation tag, or in large pieces.
    """

    def __init__(self, source: ImageFile):
        self.path = source.path
        self._channels = source.channels
        with reading(self.path):
            file = TiffFile(self.path)
            weakref.finalize(self, file.close)  # once nobody uses the scene
            self._page: TiffPage = file.pages.first
            self._layout = Layout.of(self._page, self.path, bounded=False)
            self._decode = bounded_decoder(self._page, self.path)
        page = self._page
        self._piece = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        self._grid = tuple(-(-side // piece) for side, piece in zip(self._size, self._piece, strict=True))
        values = math.prod(self._piece) * page.samplesperpixel
        if values > SEGMENT_VALUES or self._layout.orientation not in (0, 1):
            found = "turned by its orientation tag" if values <= SEGMENT_VALUES else "in large pieces"
            raise UserError(
                "a scene in tiles, upright", f"'{printable(self.path)}', {found}", "Save it in tiles of 256 pixels."
            )
        self._read = functools.lru_cache(max(4, CACHE_BYTES // (values * np.dtype(page.dtype).itemsize)))(
            self._read_piece
        )
        self.dtype = np.dtype(np.uint8 if self._layout.info.eight_bit else np.float32)
        self.shape = (*self._size, self[:1, :1].shape[-1])
        self.ndim = 3

    def __getitem__(self, place: tuple[slice, slice]) -> np.ndarray:
        """Read a window."""
        rows, columns = (range(*one.indices(side)) for one, side in zip(place, self._size, strict=True))
        with reading(self.path):
            values = self._values(rows, columns)
            picture = self._layout.picture(values)
            if picture.dtype != np.uint8:
                picture = as_float32(picture, self.path, self._layout.missing(values))
        return with_channels(picture, self._channels, self.path)

    @property
    def _size(self) -> tuple[int, int]:
        return self._page.imagelength, self._page.imagewidth

    def _values(self, rows: range, columns: range) -> np.ndarray:
        """Read (h, w, bands) as stored."""
        (height, width), page = self._piece, self._page
        planes = page.samplesperpixel if page.planarconfig == 2 else 1
        values = np.zeros((len(rows), len(columns), page.samplesperpixel), page.dtype)
        for plane in range(planes):
            for y in range(rows.start // height, -(-rows.stop // height)):
                for x in range(columns.start // width, -(-columns.stop // width)):
                    piece = self._read((plane * self._grid[0] + y) * self._grid[1] + x)
                    top, left = max(rows.start, y * height), max(columns.start, x * width)
                    part = piece[top - y * height : rows.stop - y * height, left - x * width : columns.stop - x * width]
                    there = values[top - rows.start :, left - columns.start :][: part.shape[0], : part.shape[1]]
                    there[..., plane : plane + part.shape[-1]] = part
        return values

    def _read_piece(self, index: int) -> np.ndarray:
        """Decode a strip or tile: (h, w, bands)."""
        page = self._page
        handle = page.parent.filehandle
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if offset + count > handle.size or count > 2 * page.nbytes + 2**20:
            raise UserError("a whole TIFF file", f"pixels beyond the end of '{printable(self.path)}'", "Copy it again.")
        handle.seek(offset)
        data = handle.read(count) if count else None
        piece, _, (_, height, width, _) = self._decode(
            data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader
        )
        if piece is None:  # GDAL leaves out tiles without data
            return np.full((height, width, 1), page.nodata, page.dtype)
        return piece[0, :height, :width]


def open_scene(source: object) -> Scene | None:
    """Open an image that is too large to be read whole; None for all others, and for pages of stacks.

    Raises:
        UserError: see `Scene`.
    """
    if not isinstance(source, ImageFile) or source.page is not None or not _is_large(source.path):
        return None
    return Scene(source)


def _is_large(path: Path) -> bool:
    with reading(path):
        with open_regular(path) as file:
            if file.read(4) not in _TIFF:
                return False
        with TiffFile(path) as tiff:
            page = tiff.pages.first
            return page.imagelength * page.imagewidth > MAX_PIXELS
