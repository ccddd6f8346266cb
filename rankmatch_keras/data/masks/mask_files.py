"""Mask files: read as class ids, and written as palette PNGs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rankmatch_keras.data.masks.encodings import IDS, MaskEncoding
from rankmatch_keras.data.readers.guards import printable
from rankmatch_keras.data.readers.images import read_colors, read_raw_mask
from rankmatch_keras.files import replacing

IGNORE_COLOR = (224, 224, 192)  # as in PASCAL VOC


@dataclass(frozen=True)
class MaskFile:
    """A mask file, or one page of a TIFF stack.

    Attributes:
        path: the file.
        page: number of the page from 0; None for a file of one picture.
        encoding: what the values of the file mean; class ids by default.
    """

    path: Path
    page: int | None = None
    encoding: MaskEncoding = IDS

    def read(self) -> np.ndarray:
        """Return int32 (H, W) of class ids; see `images.read_raw_mask`, `images.read_colors` and the encoding."""
        read = read_colors if getattr(self.encoding, "of_colors", False) else read_raw_mask
        return self.encoding.decode(read(self.path, self.page), str(self))

    def __str__(self) -> str:
        return printable(self.path, self.page)


def read_mask(path: str | Path, page: int | None = None) -> np.ndarray:
    """Read a mask of class ids: int32 (H, W); see `read_raw_mask` and `Ids`.

    Raises:
        UserError: as `read_raw_mask`; or the mask holds colors.
    """
    return MaskFile(Path(path), page).read()


def write_mask(path: Path, ids: np.ndarray, palette: Sequence[tuple[int, int, int]] | np.ndarray) -> None:
    """Write class ids as a palette PNG, all or nothing: the values are the ids, viewers show colors.

    Args:
        path: the file; its folder is made if needed.
        ids: integers (H, W), 0..255.
        palette: a color (red, green, blue in 0..255) per class, or of all 256 values.
    """
    picture = Image.fromarray(ids.astype(np.uint8))
    colors = [*palette, *[(0, 0, 0)] * (255 - len(palette)), IGNORE_COLOR][:256]
    picture.putpalette(np.array(colors, np.uint8).tobytes())
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")
