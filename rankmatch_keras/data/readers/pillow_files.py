"""JPEG, PNG, BMP, WebP and GIF files, read by Pillow, through the same three functions as `tiff` has."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from rankmatch_keras.data.readers.declared import declared_size, require_few_scans
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
_KINDS: tuple[tuple[bytes, type[ImageFile]], ...] = (
    (b"\x89PNG", PngImageFile),
    (b"\xff\xd8", JpegImageFile),
    (b"RIFF", WebPImageFile),
    (b"GIF8", GifImageFile),
    (b"BM", BmpImageFile),
)
# Damage in what is said beside the picture does no harm.
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"tIME")


def page_info(path: str | Path, page: int | None) -> ImageInfo:
    """Read the header; see `image_info`."""
    with _opened(path, page) as header:
        height, width = header.image.height, header.image.width
        if header.orientation in (5, 6, 7, 8):
            height, width = width, height
        return ImageInfo(height, width, 1 if header.is_gray else 3, header.depth <= 8)


def page_orientation(path: str | Path, page: int | None) -> int:
    """Read the orientation tag; see `read_orientation`."""
    with _opened(path, page) as header:
        return header.orientation


def read_page(path: str | Path, page: int | None) -> np.ndarray:
    """Read the image (H, W, C), uint8 or float32; see `read_image`."""
    with _opened(path, page) as header:
        header.require_intact(path)
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
        header.require_intact(path)
        values = drawn(header.stored(), header.opacity())
    return oriented(values, header.orientation)


def page_palette(path: str | Path, page: int | None) -> np.ndarray | None:
    """Read the palette, uint8 (N, 3); None where there is none."""
    with _opened(path, page) as header:
        if header.image.mode != "P" or isinstance(header.image, GifImageFile):
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
        return self.image.mode in _GRAY or (self.depth == 16 and str(self.image.tile[0][3]) == "LA;16B")

    def require_intact(self, path: str | Path) -> None:
        """Look through the file for damage that the decoder accepts, and for work out of proportion."""
        if not isinstance(self.image, (PngImageFile, JpegImageFile)):
            return
        place = self.file.tell()
        self.file.seek(0)
        content = self.file.read()
        self.file.seek(place)
        if isinstance(self.image, PngImageFile):
            _require_checksums(content, path)
        else:
            require_few_scans(content, path)

    def stored(self) -> np.ndarray:
        """Decode the values as stored, without alpha."""
        if self.depth == 16 and self.image.mode in ("RGB", "RGBA"):
            return self._deep()
        if isinstance(self.image, GifImageFile):
            return self._shown()
        values = _without_alpha(self.image)
        if self.image.mode == "L" and self.depth < 8:
            # Pillow has stretched 2 and 4 bits to 0..255.
            return values // np.uint8(255 // (2**self.depth - 1))
        return values

    def _shown(self) -> np.ndarray:
        """Decode the colors of a palette, or the gray: programs number the colors of a GIF file as they like."""
        self.image.load()
        self.image.info.pop("transparency", None)
        colors = np.array(self.image.convert("RGB"))
        return colors[..., 0] if (colors == colors[..., :1]).all() else colors

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
    limit is ours. Of a JPEG with several pictures (MPO) the main one is opened, of a GIF the first frame.
    """
    with open_regular(path) as file:
        head = file.read(32)
        file.seek(0)
        size = declared_size(head) if head.startswith(b"RIFF") else None
        if size is not None:  # its class allocates when it is made
            require_bounded(path, *size)
        kind = next(kind for magic, kind in _KINDS if head.startswith(magic))
        with quiet():
            image = kind(file)
            # The base class's method: that of PNG would decode the picture to find tags behind it.
            orientation = Image.Image.getexif(image).get(_ORIENTATION, 1)
        frames = 1 if kind is GifImageFile else getattr(image, "n_frames", 1)
        if frames > 1:
            raise UserError("one picture", f"animated, {frames} frames, in '{printable(path)}'", "Save one as PNG.")
        if page not in (None, 0):
            raise UserError("no page, or page 0", f"{page} for '{printable(path)}'", "Only TIFF files have pages.")
        require_bounded(path, image.height, image.width)
        yield _Header(file, image, head[24] if kind is PngImageFile else 8, orientation)


def is_animated_gif(path: str | Path) -> bool:
    """Return whether a file is a GIF of several frames."""
    with open_regular(path) as file:
        if not file.read(4).startswith(b"GIF8"):
            return False
        file.seek(0)
        with quiet():
            return bool(GifImageFile(file).is_animated)


def _require_checksums(content: bytes, path: str | Path) -> None:
    """Refuse a PNG file whose checksums do not fit: decoders leave those of the pixels out."""
    view, at = memoryview(content), 8
    while at + 8 <= len(content):
        kind, end = content[at + 4 : at + 8], at + 8 + int.from_bytes(content[at : at + 4], "big")
        damaged = zlib.crc32(view[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big")
        if end + 4 > len(content) or (damaged and kind not in _PNG_TEXTS):
            raise UserError("a whole PNG file", f"damaged data in '{printable(path)}'", "Copy or save it again.")
        if kind == b"IEND":
            return
        at = end + 4


def _without_alpha(image: Image.Image) -> np.ndarray:
    values = np.array(image)
    if image.mode == "LA":
        return values[..., 0]
    return values[..., :3] if image.mode == "RGBA" else values
