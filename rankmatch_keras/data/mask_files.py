"""Writing masks as the files that everything here reads."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rankmatch_keras.files import replacing

IGNORE_COLOUR = (224, 224, 192)  # as in PASCAL VOC


def write_mask(path: Path, ids: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> None:
    """Write class ids as a palette PNG, all or nothing: the values are the ids, viewers show colours.

    Args:
        path: the file; its folder is made if needed.
        ids: integers (H, W), 0..255.
        palette: a colour (red, green, blue in 0..255) per class.
    """
    picture = Image.fromarray(ids.astype(np.uint8))
    colours = [*palette, *[(0, 0, 0)] * (255 - len(palette)), IGNORE_COLOUR]
    picture.putpalette([value for colour in colours for value in colour])
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")
