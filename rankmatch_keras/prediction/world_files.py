"""World files: six numbers in a text file beside a picture, from its pixels to the map."""

import math
import os
from pathlib import Path

from rankmatch_keras.data.readers.images import read_orientation
from rankmatch_keras.files import replacing
from rankmatch_keras.texts import printable, say

MOST_BYTES = 4096


def copy_world_file(image: Path, mask: Path) -> None:
    """Copy the world file of an image, if it has one, beside its mask, a PNG file: `a.jgw` as `a.pgw`.

    One that is not six numbers, or whose picture is turned when it is read, is named and left.
    """
    letters = image.suffix[1:].lower()
    endings = (letters[0] + letters[-1] + "w", letters + "w", "wld") if len(letters) > 1 else ()
    # `os.path` has an answer for names that are too long with another ending.
    found = [file for ending in endings if os.path.isfile(file := image.with_suffix(f".{ending}"))]
    if not found:
        return
    with open(found[0], "rb") as opened:
        content = opened.read(MOST_BYTES)
    if not _is_six_numbers(content) or read_orientation(image) != 1:
        say(f"Not copied: {printable(str(found[0]))}, not six numbers, or of a picture that is turned", error=True)
        return
    with replacing(mask.with_name(f"{mask.stem}.pgw")) as temporary:
        temporary.write_bytes(content)


def _is_six_numbers(content: bytes) -> bool:
    try:
        numbers = [float(word) for word in content.split()]
    except ValueError:
        return False
    return len(numbers) == 6 and all(map(math.isfinite, numbers))
