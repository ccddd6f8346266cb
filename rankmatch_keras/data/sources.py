"""Where an image or a mask comes from: a file, a page of a stack, an array in memory.

A source is a small record that can be printed, compared and sent to another process; `read` opens it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from rankmatch_keras.data.codings import IDS, MaskCoding
from rankmatch_keras.data.decoding import read_colors, read_image, read_raw_mask
from rankmatch_keras.data.pictures import printable


@runtime_checkable
class ImageSource(Protocol):
    """Anything with `read() -> (H, W, C)`, uint8 or float32, and a name for messages as its `str`."""

    def read(self) -> np.ndarray:
        """Return the image."""


@runtime_checkable
class MaskSource(Protocol):
    """Anything with `read() -> int32 (H, W)` of class ids, and a name for messages as its `str`."""

    def read(self) -> np.ndarray:
        """Return the mask."""


@dataclass(frozen=True)
class ImageFile:
    """An image file, or one page of a TIFF stack.

    Attributes:
        path: the file.
        page: number of the page from 0; None for a file of one picture.
        channels: how many channels are wanted: grey is repeated, anything else must fit. None: as in the file.
    """

    path: Path
    page: int | None = None
    channels: int | None = 3

    def read(self) -> np.ndarray:
        """Return (H, W, C), uint8 or float32; see `decoding.read_image`."""
        return read_image(self.path, self.page, self.channels)

    def __str__(self) -> str:
        return _named(self.path, self.page)


@dataclass(frozen=True)
class MaskFile:
    """A mask file, or one page of a TIFF stack.

    Attributes:
        path: the file.
        page: number of the page from 0; None for a file of one picture.
        coding: what the values of the file mean; class ids by default.
    """

    path: Path
    page: int | None = None
    coding: MaskCoding = IDS

    def read(self) -> np.ndarray:
        """Return int32 (H, W) of class ids; see `decoding.read_raw_mask`, `decoding.read_colors` and the coding."""
        read = read_colors if getattr(self.coding, "of_colors", False) else read_raw_mask
        return self.coding.decode(read(self.path, self.page), str(self))

    def __str__(self) -> str:
        return _named(self.path, self.page)


@dataclass(frozen=True, eq=False)
class Array:
    """An image or a mask that is in memory.

    Attributes:
        values: (H, W, C) uint8 or float32 for an image, int32 (H, W) for a mask.
        name: what messages call it.
    """

    values: np.ndarray
    name: str

    def read(self) -> np.ndarray:
        """Return the array itself."""
        return self.values

    def __str__(self) -> str:
        return self.name


def _named(path: Path, page: int | None) -> str:
    return printable(path) if page is None else f"{printable(path)}, page {page}"
