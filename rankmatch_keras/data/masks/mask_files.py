"""Mask files: read as class ids, and written as palette PNGs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.masks.encodings import IDS, MaskEncoding
from rankmatch_keras.data.masks.palettes import PaletteColors
from rankmatch_keras.data.masks.surveys import Survey, survey_of
from rankmatch_keras.data.readers.guards import drawn, printable
from rankmatch_keras.data.readers.images import read_colors, read_opacity, read_palette, read_raw_mask
from rankmatch_keras.data.readers.sources import Remark
from rankmatch_keras.files import replacing

VOC_IGNORE_COLOR = (224, 224, 192)


@dataclass(frozen=True)
class MaskFile:
    """A mask file, or one page of a TIFF stack.

    Attributes:
        path: the file.
        page: page of a stack, from 0; None for a file of one picture.
        encoding: what the values in the file mean; class ids by default.
    """

    path: Path
    page: int | None = None
    encoding: MaskEncoding = IDS

    def read(self) -> np.ndarray:
        """Read int32 (H, W) of class ids; see `read_raw_mask`, `read_colors` and the encoding."""
        if not getattr(self.encoding, "of_colors", False):
            return self.encoding.decode(read_raw_mask(self.path, self.page), str(self))
        colors = read_colors(self.path, self.page)
        if getattr(self.encoding, "has_black", False):
            colors = drawn(colors, read_opacity(self.path, self.page))
        return self.encoding.decode(colors, str(self))

    def survey(self) -> Survey:
        """Count the values in the file, whatever they mean."""
        raw = read_raw_mask(self.path, self.page)
        return survey_of(str(self), raw, read_palette(self.path, self.page))

    def remarks(self) -> list[Remark]:
        """Return what a person should know about how the mask is read."""
        found = []
        opacity = read_opacity(self.path, self.page)
        if opacity is not None:
            clear, partly = int((opacity == 0).sum()), int(((opacity > 0) & (opacity < opacity.max())).sum())
            more = f", {partly} partly transparent ones as drawn" if partly else ""
            found.append(Remark("mask-transparent", f"{clear} transparent pixels read as not drawn{more}"))
        if isinstance(self.encoding, PaletteColors):
            palette = read_palette(self.path, self.page)
            if palette is not None and self.encoding.differs(palette):
                found.append(Remark("mask-palettes", f"read by color, with the ids of '{self.encoding.like}'"))
        return found

    def __str__(self) -> str:
        return printable(self.path, self.page)


def read_mask(path: str | Path, page: int | None = None) -> np.ndarray:
    """Read a mask of class ids: int32 (H, W); see `read_raw_mask` and `Ids`.

    Raises:
        UserError: as `read_raw_mask`; or the mask holds colors.
    """
    return MaskFile(Path(path), page).read()


def write_mask(path: str | Path, ids: np.ndarray, palette: Sequence[Sequence[int]] | np.ndarray) -> None:
    """Write class ids as a palette PNG, all or nothing: the values are the ids, viewers show colors.

    Args:
        path: the file; its folder is made if needed.
        ids: integers (H, W), 0..255.
        palette: a color (red, green, blue in 0..255) per class, or for all 256 values; by default the ignore index
            has VOC's color, and values without class are black.
    """
    picture = Image.fromarray(ids.astype(np.uint8))
    colors = np.zeros((256, 3), np.uint8)
    colors[IGNORE_INDEX] = VOC_IGNORE_COLOR
    if len(palette):
        colors[: len(palette)] = palette
    picture.putpalette(colors.tobytes())
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)
