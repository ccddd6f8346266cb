"""Layout of a TIFF page, from its tags: bands, palette, inks, alpha, orientation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tifffile import TiffPage

from rankmatch_keras.data.readers.guards import ImageInfo, printable, require_bounded
from rankmatch_keras.data.readers.tiff_codecs import JPEG, require_codec
from rankmatch_keras.errors import UserError

_ORIENTATION = 274
_NO_DATA = 42113
_ALPHA = (1, 2)
_READABLE = ("MINISWHITE", "MINISBLACK", "RGB", "PALETTE", "MASK", "SEPARATED", "YCBCR")


@dataclass(frozen=True)
class Layout:
    """Tags of one page that decide what its values mean."""

    page: TiffPage
    orientation: int
    kept: list[int]
    colormap: np.ndarray | None

    @classmethod
    def of(cls, page: TiffPage, path: str | Path, bounded: bool = True) -> "Layout":
        """Read the tags of a page.

        Args:
            page: the page.
            path: its file, for messages.
            bounded: whether the picture must fit into memory.

        Raises:
            UserError: the picture is too large, or of a kind that is not read.
        """
        kind = _kind(page)
        if bounded:
            require_bounded(path, page.imagelength, page.imagewidth, page.samplesperpixel)
        if page.imagedepth > 1:
            raise _unsupported(f"tiles that are {page.imagedepth} pictures deep", path)
        if page.dtype is None or np.dtype(page.dtype).kind not in "buif" or not isinstance(page.bitspersample, int):
            raise _unsupported(f"samples of type {page.dtype} ({page.bitspersample} bits)", path)
        if kind not in _READABLE or (kind == "YCBCR" and page.compression not in JPEG):
            raise _unsupported(f"{kind} colors", path)
        require_codec(page, path)
        colors = page.samplesperpixel - len(page.extrasamples)
        kept = [n for n in range(page.samplesperpixel) if n < colors or page.extrasamples[n - colors] not in _ALPHA]
        if kind == "PALETTE" and (page.colormap is None or np.dtype(page.dtype).kind not in "bu"):
            raise _unsupported("a palette image without palette", path)
        return cls(page, page.tags.valueof(_ORIENTATION, default=1), kept, page.colormap if kind == "PALETTE" else None)

    @property
    def info(self) -> ImageInfo:
        """Size and channels of the picture, upright and without alpha."""
        height, width = self.page.imagelength, self.page.imagewidth
        if self.orientation in (5, 6, 7, 8):
            height, width = width, height
        channels = 3 if self.colormap is not None or self._is_cmyk else len(self.kept)
        return ImageInfo(height, width, channels, self.page.dtype in (np.bool_, np.uint8) or self.colormap is not None)

    @property
    def _is_cmyk(self) -> bool:
        return _kind(self.page) == "SEPARATED" and len(self.kept) == 4

    @property
    def alpha(self) -> int | None:
        """Number of the band that holds the opacity."""
        return next((n for n in range(self.page.samplesperpixel) if n not in self.kept), None)

    @property
    def palette(self) -> np.ndarray | None:
        """The palette as uint8 (N, 3)."""
        if self.colormap is None:
            return None
        # Some programs write 0..255 where the standard demands 0..65535.
        return (self.colormap.T // (256 if self.colormap.max() > 255 else 1)).astype(np.uint8)

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Convert (H, W, bands) as stored to (H, W, C) as it looks."""
        if self.palette is not None:
            return self.palette[values[..., 0].astype(np.int64)]
        values = values[..., self.kept]
        if values.dtype.kind in "bu":
            highest = 2**self.page.bitspersample - 1
            if _kind(self.page) == "MINISWHITE":
                values = highest - values.astype(np.uint8 if highest == 1 else values.dtype)
            if highest < 255:
                values = values.astype(np.uint8) * (255 // highest)
        return _rgb_of_cmyk(values) if self._is_cmyk else values

    def missing(self, values: np.ndarray) -> np.ndarray | None:
        """Return where (H, W, bands) as stored has no data: bool (H, W, C) of the picture; None if there is no mark.

        The marks are the value that the file names (GDAL's tag) and the lowest number of its floats.
        """
        marks = [self._named_no_data(values.dtype)]
        if values.dtype.kind == "f" and values.dtype.itemsize > 2:
            marks += [np.finfo(values.dtype).min, np.finfo(np.float32).min]
        known = [values == mark for mark in marks if mark is not None]
        if not known or self.colormap is not None:
            return None
        missing = np.logical_or.reduce(known)[..., self.kept]
        return np.repeat(missing.any(-1, keepdims=True), 3, -1) if self._is_cmyk else missing

    def _named_no_data(self, dtype: np.dtype) -> Any:
        """Return the value that stands for no data; None if none is named, or none that the samples can hold."""
        text = str(self.page.tags.valueof(_NO_DATA, default="")).strip(" \0")
        try:
            value = int(text) if dtype.kind in "ui" and text.lstrip("+-").isdigit() else float(text)
            with np.errstate(over="ignore"):
                stored = np.asarray(value).astype(dtype) if dtype.kind == "f" else np.array([int(value)], dtype)[0]
        except (ValueError, OverflowError):
            return None
        return stored if dtype.kind == "f" or stored == value else None


def _kind(page: TiffPage) -> str:
    if "PhotometricInterpretation" not in page.tags:
        return "MINISBLACK"
    return getattr(page.photometric, "name", f"unknown ({page.photometric})")


def _rgb_of_cmyk(values: np.ndarray) -> np.ndarray:
    """Convert ink 0..maximum to light 0..maximum of the same type."""
    highest = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1
    light = highest - values.astype(np.float64)
    rgb = light[..., :3] * light[..., 3:] / highest
    return np.rint(rgb).astype(values.dtype) if values.dtype.kind in "ui" else rgb


def _unsupported(found: str, path: str | Path) -> UserError:
    return UserError(
        "a TIFF file of gray, color, palette or N bands, integer or float",
        f"{found} in '{printable(path)}'",
        "Save it as one of these.",
    )
