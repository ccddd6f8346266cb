"""Paths to arrays: the one place where image files are opened."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from rankmatch_keras.errors import UserError

MAX_PIXELS = 100_000_000
# What Pillow raises on damaged files, depending on the format.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as colour.

    Grey is repeated to three channels, palettes are looked up, CMYK is converted, an alpha channel is
    dropped, 16-bit grey values are divided by 257 (65535 becomes 255), and the EXIF orientation is applied.

    Args:
        path: any format that Pillow reads (JPEG, PNG, TIFF, ...).

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        UserError: missing, unreadable, truncated, more than 100 megapixels, several pages, or float pixels.
    """
    with _opened(path) as image:
        if image.mode.startswith("I"):
            grey = np.asarray(image)
            if grey.min() < 0 or grey.max() > 65535:
                raise _unsupported(path, "integers beyond 16 bits", "Save it with 8 or 16 bits per channel.")
            pixels = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
        elif image.mode == "F":
            raise _unsupported(path, "floating point pixels", "Save it with 8 or 16 bits per channel.")
        elif image.mode == "L":
            pixels = np.asarray(image)
        else:
            return np.asarray(image.convert("RGB"))
    return np.repeat(pixels[..., None], 3, axis=-1)


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask as class ids; a palette image yields its indices, not its colours.

    Args:
        path: a single-channel or palette image, usually PNG.

    Returns:
        int32 (H, W).

    Raises:
        UserError: as `read_image`; or the mask has several channels.
    """
    with _opened(path) as image:
        if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
            raise UserError(
                "a mask with one class id per pixel (grey or palette)",
                f"mode {image.mode} in '{path}'",
                "Save class ids in one channel instead of colours.",
            )
        return np.asarray(image).astype(np.int32)


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """Open, bound, decode and orient; whatever Pillow raises becomes a UserError that names the file."""
    try:
        with Image.open(path) as image:
            _require_bounded(image, path)
            image.load()
            # In place, because a copy would no longer be the object that the context closes.
            ImageOps.exif_transpose(image, in_place=True)
            yield image
    except UserError:
        raise
    except _DAMAGED as error:
        raise UserError(
            "a readable image", f"'{path}': {error or type(error).__name__}", "Check or replace the file."
        ) from error


def _require_bounded(image: Image.Image, path: str | Path) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _unsupported(path, f"{image.width} x {image.height} pixels", "Cut it into tiles.")
    if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
        pages = getattr(image, "n_frames", 1)
        raise _unsupported(path, f"{pages} pages", "Save each page as a file of its own.")


def _unsupported(path: str | Path, found: str, remedy: str) -> UserError:
    return UserError("one picture of at most 100 megapixels, 8 or 16 bits", f"{found} in '{path}'", remedy)
