"""Guards that all readers share: size limits, silenced warnings, and errors that name the file."""

import logging
import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np

from rankmatch_keras.data.readers.archives import archive_of, open_member
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted

MAX_PIXELS = 100_000_000
# Limits the memory of pictures with many bands to that of the largest picture with four.
MAX_VALUES = 4 * MAX_PIXELS
MAX_TEXT = 1_000_000
_ONE_AT_A_TIME = threading.Lock()

T = TypeVar("T")


class ImageInfo(NamedTuple):
    """Facts from the header of an image.

    Attributes:
        height: rows, after the orientation is applied.
        width: columns, after the orientation is applied.
        channels: gray 1, color (also palette and CMYK) 3, TIFF with N bands N; alpha does not count.
        eight_bit: whether the image is read as uint8 (True) or as float32 (False).
    """

    height: int
    width: int
    channels: int
    eight_bit: bool


def printable(path: str | Path, page: int | None = None) -> str:
    """Return a path, and the page of a stack, as text for messages, with line breaks and control characters escaped."""
    text = str(path)
    text = text if text.isprintable() else text.encode("unicode_escape", "surrogatepass").decode()
    return text if page is None else f"{text}, page {page}"


@contextmanager
def reading(
    path: str | Path, what: str = "a readable image", remedy: str = "Check or replace the file."
) -> Iterator[None]:
    """Turn any exception raised while a file is read into one line that names the file.

    Raises:
        UserError: instead of any other exception.
    """
    try:
        yield
    except UserError:
        raise
    # Decoders raise nearly any type on damaged or hostile files, even RecursionError and MemoryError, and which one
    # differs between versions: a list of them would never be complete.
    except Exception as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        reason = printable(" ".join(reason.split())[:200])
        raise UserError(what, f"'{printable(path)}': {reason}", remedy) from error


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading, also one in a zip file, as if that were a folder.

    Raises:
        UserError: the path is a folder, a pipe or a device (which may never end); or see `open_member`.
        OSError: there is no such file, or it must not be read.
    """
    if archive_of(path) not in (None, Path(path)):
        return open_member(path)
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        found = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
        raise UserError("a file", f"{found} at '{printable(path)}'", "Give the path of the file itself.")
    return open(path, "rb")


def read_text(path: str | Path, what: str) -> str:
    """Read a text file in UTF-8 of at most a megabyte, with or without byte order mark.

    Args:
        path: the file.
        what: what it should be, as a short phrase.

    Raises:
        UserError: it cannot be read, is no text, or longer.
    """
    with reading(path, what), open_regular(path) as file:
        text = file.read(MAX_TEXT + 1)
        if len(text) > MAX_TEXT:
            raise UserError(what, f"more than a megabyte in '{printable(path)}'", "Give a text file.")
        return text.decode("utf-8-sig")


def only_readable(files: Sequence[T], read: Callable[[T], object]) -> list[T]:
    """Return the files that can be read, in their order.

    Args:
        files: the files.
        read: reads one, or raises UserError.

    Raises:
        UserError: none can be read; the message is that of the first.
    """

    def error_of(file: T) -> UserError | None:
        try:
            read(file)
        except UserError as error:
            return error
        return None

    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as executor:
        errors = list(executor.map(error_of, files))
    first = next((error for error in errors if error is not None), None)
    if first is not None and None not in errors:
        raise first
    return [file for file, error in zip(files, errors, strict=True) if error is None]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings about flawed headers: a file is either read or refused.

    Catching warnings changes the state of the whole process, so one thread at a time may do it.
    """
    logger = logging.getLogger("PIL")
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


def require_bounded(path: str | Path, height: int, width: int, bands: int = 1) -> None:
    """Refuse a picture by its header, before memory for it is allocated.

    Raises:
        UserError: no pixels, more than 100 megapixels, or more than 400 million values.
    """
    if min(height, width, bands) < 1:
        raise UserError("at least one pixel", f"{width} x {height} pixels in '{printable(path)}'", "Replace the file.")
    if height * width > MAX_PIXELS or height * width * bands > MAX_VALUES:
        size = f"{width} x {height} pixels" + (f" with {bands} bands" if bands > 1 else "")
        raise UserError(
            f"a picture of at most {MAX_PIXELS // 10**6} megapixels and {MAX_VALUES // 10**6} million values",
            f"{size} in '{printable(path)}'",
            "Cut it into tiles.",
        )


def oriented(picture: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a picture upright according to its Orientation tag.

    Args:
        picture: (H, W) or (H, W, C) as stored.
        orientation: 1..8 of the EXIF standard; any other number means upright.

    Returns:
        The upright picture; H and W are swapped for 5..8.
    """
    if orientation in (5, 6, 7, 8):
        picture = picture.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def drawn(values: np.ndarray, opacity: np.ndarray | None) -> np.ndarray:
    """Set the transparent pixels of a mask to 0: they were not drawn, whatever goes on below.

    Args:
        values: (H, W) or (H, W, C).
        opacity: (H, W), 0 where transparent; None, or the same everywhere: all is drawn.
    """
    if opacity is None or not opacity.size or (opacity == opacity.flat[0]).all():
        return values
    return np.where((opacity == 0).reshape(opacity.shape + (1,) * (values.ndim - 2)), values.dtype.type(0), values)


def as_float32(picture: np.ndarray, path: str | Path, missing: np.ndarray | None = None) -> np.ndarray:
    """Convert an image to float32 in the units of its file.

    Args:
        picture: the image.
        path: its file, for messages.
        missing: bool of its shape, True where it has no data, which becomes NaN.

    Raises:
        UserError: infinity, or a number beyond the range of float32.
    """
    with np.errstate(all="ignore"):
        picture = picture.astype(np.float32)
    if missing is not None:
        picture[missing] = np.nan
    if np.isinf(picture).any():
        raise UserError(
            "finite pixel values",
            f"{int(np.isinf(picture).sum())} values that are infinite in '{printable(path)}'",
            "Replace them by numbers.",
        )
    return picture


def as_int32(values: np.ndarray, path: str | Path) -> np.ndarray:
    """Convert the values of a mask to int32.

    Raises:
        UserError: NaN, infinity, fractions, or numbers beyond 32 bits.
    """
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
        # NaN is unequal to itself; infinity is caught by the range below.
        wrong = values != np.floor(values)
        if wrong.any():
            first = values[wrong][0]
            raise _no_ids(f"{first} and the like (NaN or fractions) at {int(wrong.sum())} pixels", path)
    if values.dtype.kind != "b" and values.dtype.itemsize >= 4 and values.size:
        low, high = values.min(), values.max()
        if low < -(2**31) or high >= 2**31:
            count = int(np.sum((values < -(2**31)) | (values >= 2**31)))
            raise _no_ids(f"numbers beyond 32 bits at {counted(count, 'pixel')}", path)
    return values.astype(np.int32)


def _no_ids(found: str, path: str | Path) -> UserError:
    return UserError("a mask of whole numbers", f"{found} in '{printable(path)}'", "Save class ids.")
