"""Sources of images and masks: a file, a page of a stack, an array in memory.

A source is a small record that can be printed, compared and sent to another process; `read` opens it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from rankmatch_keras.data.readers.guards import printable
from rankmatch_keras.data.readers.images import read_image, read_opacity
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted


class Remark(NamedTuple):
    """Something a person should know about how an image or a mask is read.

    A source whose `remarks()` returns a list of them has the check report them.

    Attributes:
        kind: the kind of finding, such as "mask-transparent".
        text: what was found and done.
    """

    kind: str
    text: str


@runtime_checkable
class ImageSource(Protocol):
    """Anything with `read() -> (H, W, C)`, uint8 or float32, and a name for messages as its `str`."""

    def read(self) -> np.ndarray:
        """Read the image."""


@runtime_checkable
class MaskSource(Protocol):
    """Anything with `read() -> int32 (H, W)` of class ids, and a name for messages as its `str`."""

    def read(self) -> np.ndarray:
        """Read the mask."""


@dataclass(frozen=True)
class ImageFile:
    """An image file, or one page of a TIFF stack.

    Attributes:
        path: the file.
        page: page of a stack, from 0; None for a file of one picture.
        channels: channels asked for: gray is repeated, anything else must fit. None: as in the file.
        slices: path and page of the slices of a volume whose channels are read one after the other, this one in their
            middle; none: this picture alone.
    """

    path: Path
    page: int | None = None
    channels: int | None = 3
    slices: tuple[tuple[Path, int | None], ...] = ()

    def read(self) -> np.ndarray:
        """Read the image: (H, W, C), uint8 or float32; see `read_image`.

        Raises:
            UserError: as `read_image`; or its neighbors have another size.
        """
        if not self.slices:
            return read_image(self.path, self.page, self.channels)
        read = {one: read_image(*one, self.channels) for one in dict.fromkeys(self.slices)}
        own = read[self.path, self.page]
        for one, picture in read.items():
            if picture.shape != own.shape:
                raise UserError(
                    f"neighboring slices of one size, {_size(own)} as in {self}",
                    f"{_size(picture)} in {printable(*one)}",
                    "Put each volume into a folder or stack of its own, or leave out --context.",
                )
        return np.concatenate([read[one] for one in self.slices], axis=-1)

    def shown(self, image: np.ndarray) -> np.ndarray:
        """Return of an image (H, W, C) that was read here what people look at: the channels of this slice alone."""
        count = max(1, len(self.slices))
        each = image.shape[-1] // count
        return image[..., count // 2 * each :][..., :each]

    def remarks(self) -> list[Remark]:
        """Return what a person should know about how the image is read."""
        opacity = read_opacity(self.path, self.page)
        return [] if opacity is None else [Remark("image-alpha", f"values {opacity.min()} to {opacity.max()}")]

    def __str__(self) -> str:
        return printable(self.path, self.page)


def _size(picture: np.ndarray) -> str:
    height, width, channels = picture.shape
    return f"{width} x {height} pixels of {counted(channels, 'channel')}"


@dataclass(frozen=True, eq=False)
class Array:
    """An image or a mask in memory.

    Attributes:
        values: (H, W, C) uint8 or float32 for an image, int32 (H, W) for a mask.
        name: its name in messages.
    """

    values: np.ndarray
    name: str

    def read(self) -> np.ndarray:
        """Return the array itself."""
        return self.values

    def __str__(self) -> str:
        return self.name
