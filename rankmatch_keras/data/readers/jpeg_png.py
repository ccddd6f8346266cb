"""JPEG and PNG files, read by Pillow, through the same three functions as `tiff` has."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from rankmatch_keras.data.readers.declared import require_few_scans
from rankmatch_keras.data.readers.guards import (
    ImageInfo,
    as_float32,
    drawn,
    open_regular,
    oriented,
    printable,
    quiet,
    require_bounded,
)
from rankmatch_keras.errors import UserError

_ORIENTATION = 0x0112
_GRAY = ("1", "L", "LA", "I", "I;16", "I;16B")


def page_info(path: str | Path, page: int | None) -> ImageInfo:
    """Read the header; see `image_info`."""
    with _opened(path, page) as header:
        height, width = header.image.height, header.image.width
        if header.orientation in (5, 6, 7, 8):
            height, width = width, height
        return ImageInfo(height, width, 1 if header.is_gray else 3, header.depth <= 8)


def read_page(path: str | Path, page: int | None) -> np.ndarray:
    """Read the image (H, W, C), uint8 or float32; see `read_image`."""
    with _opened(path, page) as header:
        image = header.image
        if header.depth > 8:
            picture = as_float32(header.stored(), path)
        elif image.mode in ("P", "CMYK"):
            # Pillow warns about transparency in palettes, which is dropped on purpose.
            image.load()
            image.info.pop("transparency", None)
            picture = np.array(image.convert("RGB"))
        elif image.mode == "1":
            picture = np.array(image.convert("L"))
        else:
            picture = _without_alpha(image)
    picture = oriented(picture, header.orientation)
    return picture if picture.ndim == 3 else picture[..., None]


def read_page_values(path: str | Path, page: int | None) -> np.ndarray:
    """Read the values as stored: (H, W), or (H, W, C) for colors, 0 where transparent; a palette yields its indices."""
    with _opened(path, page) as header:
        values = drawn(header.stored(), header.opacity())
    return oriented(values, header.orientation)


def page_palette(path: str | Path, page: int | None) -> np.ndarray | None:
    """Read the palette, uint8 (N, 3); None where there is none."""
    with _opened(path, page) as header:
        if header.image.mode != "P":
            return None
        return np.array(header.image.getpalette("RGB"), np.uint8).reshape(-1, 3)


def page_opacity(path: str | Path, page: int | None) -> np.ndarray | None:
    """Read the alpha band (H, W), where 0 is transparent; None where there is none."""
    with _opened(path, page) as header:
        opacity = header.opacity()
    return None if opacity is None else oriented(opacity, header.orientation)


@dataclass(frozen=True)
class _Header:
    file: BinaryIO
    image: ImageFile
    depth: int
    orientation: int

    @property
    def is_gray(self) -> bool:
        # Pillow has no mode for 16-bit gray with alpha and announces RGBA.
        return self.image.mode in _GRAY or self._rawmode == "LA;16B"

    @property
    def _rawmode(self) -> str:
        return str(self.image.tile[0][3])

    def stored(self) -> np.ndarray:
        """Decode the values as stored, without alpha."""
        if self.depth == 16 and self.image.mode in ("RGB", "RGBA"):
            return self._deep()
        values = _without_alpha(self.image)
        if self.image.mode == "L" and self.depth < 8:
            # Pillow has stretched 2 and 4 bits to 0..255.
            return values // np.uint8(255 // (2**self.depth - 1))
        return values

    def _deep(self) -> np.ndarray:
        """Decode a 16-bit file for which Pillow has only 8-bit modes, as uint16.

        PNG stores the high byte first. Asked for little-endian samples, Pillow keeps what is the low byte here, so the
        file is decoded once for each half. Gray with alpha has four bytes per pixel, as RGBA has.
        """
        if self.is_gray:
            halves = self._decoded_as("RGBA")
            return halves[..., 0] * np.uint16(256) + halves[..., 1]
        mode = self.image.mode
        high, low = self._decoded_as(f"{mode};16B"), self._decoded_as(f"{mode};16L")
        return (high * np.uint16(256) + low)[..., :3]

    def opacity(self) -> np.ndarray | None:
        """Decode the alpha band, of 16 bits the high byte; None where there is none."""
        if self.image.mode not in ("LA", "RGBA"):
            return None
        if self.depth == 16 and self.is_gray:
            return self._decoded_as("RGBA")[..., 2]  # gray and alpha, two bytes each
        return np.array(self.image)[..., -1]

    def _decoded_as(self, rawmode: str) -> np.ndarray:
        self.file.seek(0)
        with quiet():
            image = PngImageFile(self.file)
        image.tile = [image.tile[0]._replace(args=rawmode)]
        return np.array(image)


@contextmanager
def _opened(path: str | Path, page: int | None) -> Iterator[_Header]:
    """Open a file of one picture and check its header, decoding nothing yet.

    The class of the format is called instead of `Image.open`, so that no other decoder sees the file and the size
    limit is ours. Of a JPEG with several pictures (MPO) the main one is opened.
    """
    with open_regular(path) as file:
        head = file.read(26)
        file.seek(0)
        is_png = head.startswith(b"\x89PNG")
        with quiet():
            image = PngImageFile(file) if is_png else JpegImageFile(file)
            # The base class's method: that of PNG would decode the picture to find tags behind it.
            orientation = Image.Image.getexif(image).get(_ORIENTATION, 1)
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            raise UserError("one picture", f"animated, {frames} frames, in '{printable(path)}'", "Save one as PNG.")
        if page not in (None, 0):
            raise UserError("no page, or page 0", f"{page} for '{printable(path)}'", "Only TIFF files have pages.")
        require_bounded(path, image.height, image.width)
        if not is_png:
            file.seek(0)
            require_few_scans(file.read(), path)
        yield _Header(file, image, head[24] if is_png else 8, orientation)


def _without_alpha(image: Image.Image) -> np.ndarray:
    values = np.array(image)
    if image.mode == "LA":
        return values[..., 0]
    return values[..., :3] if image.mode == "RGBA" else values
