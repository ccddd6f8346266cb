"""What compressed pictures declare of themselves, read before a decoder takes memory or time for them."""

import re
import struct
from io import BytesIO
from pathlib import Path

from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from rankmatch_keras.data.readers.guards import MAX_PIXELS, printable
from rankmatch_keras.errors import UserError

# Progressive files have 6 to 18 scans; each costs a pass over all pixels, however few bytes it has.
MAX_SCANNED = 20 * MAX_PIXELS
_SEGMENT = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
_NO_FRAME = (0xC4, 0xC8, 0xCC)


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width that a JPEG, JPEG 2000, PNG, WebP or LERC stream declares; None for anything else."""
    if data.startswith(b"\xff\xd8"):
        return jpeg_size_and_scans(data)[:2]
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        width, height = struct.unpack_from(">2I", data, 16)
        return height, width
    if data.startswith(b"RIFF") and len(data) >= 30:
        return _webp_size(data)
    if data.startswith(b"Lerc2 ") and len(data) >= 22:
        # Behind the version, and from version 3 on a checksum.
        height, width = struct.unpack_from("<2I", data, 14 if data[6] >= 3 else 10)
        return height, width
    if data.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")):
        width, height = Jpeg2KImageFile(BytesIO(data)).size
        return height, width
    return None


def jpeg_size_and_scans(data: bytes) -> tuple[int, int, int]:
    """Return height, width and the number of scans of a JPEG stream; the largest size, if it declares several."""
    height = width = scans = 0
    at = 2
    while found := _SEGMENT.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == 0xD9:
            break
        if marker == 0xDA:
            scans += 1
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME and len(data) >= at + 7:
            size = struct.unpack_from(">2H", data, at + 3)
            height, width = max(height, size[0]), max(width, size[1])
        at += int.from_bytes(data[at : at + 2], "big")
    return height, width, scans


def require_few_scans(data: bytes, path: str | Path) -> None:
    """Refuse a JPEG stream of hundreds of scans, which would take minutes.

    Raises:
        UserError: more than 20 passes over 100 megapixels, or as much work on fewer.
    """
    if data.count(b"\xff\xda") < 2:
        return
    height, width, scans = jpeg_size_and_scans(data)
    if scans * height * width > MAX_SCANNED:
        raise UserError(
            "a JPEG file of few scans", f"{scans} of {width} x {height} pixels in '{printable(path)}'", "Save it again."
        )


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[27:30], "little"), 1 + int.from_bytes(data[24:27], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<2H", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    return None
