"""TIFF files: one picture, one with many bands, or a stack of pages that is never loaded whole."""

import functools
import logging
import math
import os
import struct
import weakref
from pathlib import Path

import numpy as np
from tifffile import COMPRESSION, TiffFile, TiffPage

from rankmatch_keras.data.readers.archives import archive_of
from rankmatch_keras.data.readers.guards import ImageInfo, as_float32, drawn, open_regular, oriented, printable, reading
from rankmatch_keras.data.readers.tiff_codecs import decoded
from rankmatch_keras.data.readers.tiff_layout import Layout
from rankmatch_keras.errors import UserError

MAX_PAGES = 1_000_000
OPEN_FILES = 32
_NARROW = 16
_PADDING = 16

# Flaws that matter are raised as errors; nobody could fix the rest.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def count_pages(path: str | Path) -> int:
    """Count the pictures in a TIFF file, without thumbnails and transparency masks.

    The tags decide: a picture with N bands is one page; an array (N, H, W) saved as one volume has N pages, even where
    ImageJ or tifffile wrote a single header for all of them. A JPEG or PNG file called .tif has one.

    Raises:
        UserError: the file is no TIFF file or damaged, or its chain of pages is cut off or circular.
    """
    with reading(path, "a readable TIFF file"):
        with open_regular(path) as file:
            is_other_picture = file.read(8).startswith((b"\x89PNG", b"\xff\xd8\xff"))
        return 1 if is_other_picture else _kept_open(path).count


def page_info(path: str | Path, page: int | None) -> ImageInfo:
    """Read the tags of a page; see `image_info`."""
    stack = _stack(path, page)
    with stack.lock:
        return Layout.of(stack.header(page or 0), path).info


def page_orientation(path: str | Path, page: int | None) -> int:
    """Read the orientation tag of a page; see `read_orientation`."""
    stack = _stack(path, page)
    with stack.lock:
        return Layout.of(stack.header(page or 0), path).orientation


def read_page(path: str | Path, page: int | None) -> np.ndarray:
    """Read a page as an image (H, W, C), uint8 or float32; see `read_image`."""
    layout, values = _read(path, page)
    picture = layout.picture(values)
    return picture if picture.dtype == np.uint8 else as_float32(picture, path, layout.missing(values))


def read_page_values(path: str | Path, page: int | None) -> np.ndarray:
    """Read a page as stored: (H, W), or (H, W, C) if it has several bands, 0 where transparent."""
    layout, values = _read(path, page)
    values = drawn(values[..., layout.kept], None if layout.alpha is None else values[..., layout.alpha])
    return values[..., 0] if values.shape[-1] == 1 else values


def page_palette(path: str | Path, page: int | None) -> np.ndarray | None:
    """Read the palette of a page, uint8 (N, 3); None where there is none."""
    stack = _stack(path, page)
    with stack.lock:
        return Layout.of(stack.header(page or 0), path).palette


def page_opacity(path: str | Path, page: int | None) -> np.ndarray | None:
    """Read the alpha band (H, W) of a page, where 0 is transparent; None where there is none."""
    stack = _stack(path, page)
    with stack.lock:
        alpha = Layout.of(stack.header(page or 0), path).alpha
    return None if alpha is None else _read(path, page)[1][..., alpha]


class _Stack:
    """An open TIFF file and the places of its pages, found once."""

    def __init__(self, path: str | Path):
        open_regular(path).close()
        if archive_of(path):
            raise UserError("TIFF files outside zip files", f"'{printable(path)}'", "Unpack the zip file.")
        self.path = path
        self.file = TiffFile(path)
        # Closes the file once nobody uses it, at the latest when the program ends.
        weakref.finalize(self, self.file.close)
        self.file.filehandle.set_lock(True)
        self.lock = self.file.filehandle.lock
        self._offsets = _chain(self.file, path)
        self._numbers = self._pictures()
        self._repeats = self._pictures_behind_one_header() if len(self._offsets) == 1 else 1
        self.count = len(self._numbers) * self._repeats

    def header(self, index: int) -> TiffPage:
        """Parse the tags of a page; the caller holds the lock."""
        return self._parsed(self._numbers[index // self._repeats])

    def values(self, index: int, page: TiffPage) -> np.ndarray:
        """Read (H, W, bands) as stored."""
        _require_whole(page, self.path)
        if self._repeats > 1:
            with self.lock:
                handle = page.parent.filehandle
                handle.seek(page.dataoffsets[0] + index * page.nbytes)
                values = handle.read_array(page.parent.byteorder + np.dtype(page.dtype).char, page.size)
            return _bands_last(values.reshape(page.shaped))
        return _bands_last(decoded(page, self.path))

    def _parsed(self, number: int) -> TiffPage:
        self.file.filehandle.seek(self._offsets[number])
        return TiffPage(self.file, index=number)

    def _ends_in_pixels(self, page: TiffPage) -> bool:
        """Return whether a page of pixels is begun behind the first one: nothing that the tags name lies there."""
        ends = [page.offset + self.file.tiff.tagnosize + len(page.tags) * self.file.tiff.tagsize]
        ends += [tag.valueoffset + tag.valuebytecount for tag in page.tags]
        begun = page.dataoffsets[0] + page.nbytes
        return max(ends) <= begun and self.file.filehandle.size - begun > _PADDING

    def _pictures(self) -> list[int]:
        """Return the pages that are neither thumbnail nor mask; all tags are parsed only if one of the first two is."""
        numbers = list(range(len(self._offsets)))
        if all(_is_picture(self._parsed(number)) for number in numbers[:2]):
            return numbers
        return [number for number in numbers if _is_picture(self._parsed(number))] or numbers

    def _pictures_behind_one_header(self) -> int:
        """Count the pictures of a volume that ImageJ or tifffile saved under one header."""
        page = self.file.pages.first
        if self.file.is_imagej:
            count = int((self.file.imagej_metadata or {}).get("images", 1))
        elif self.file.is_shaped and self.file.shaped_metadata and self.file.shaped_metadata[0].get("truncated"):
            count = math.prod(self.file.shaped_metadata[0]["shape"]) // max(1, page.size)
        else:
            return 1
        if count < 2 or not page.is_contiguous:
            return 1
        room = (self.file.filehandle.size - page.dataoffsets[0]) // max(1, page.nbytes)
        # Programs that extract one page of a stack may leave the text that announces all.
        if room < count and (room > 1 or self._ends_in_pixels(page)):
            raise _cut_off(f"{room} of {count} pages", self.path)
        return count if room >= count else 1


def _read(path: str | Path, page: int | None) -> tuple[Layout, np.ndarray]:
    stack = _stack(path, page)
    with stack.lock:
        layout = Layout.of(stack.header(page or 0), path)
    return layout, oriented(stack.values(page or 0, layout.page), layout.orientation)


def _stack(path: str | Path, page: int | None) -> _Stack:
    """Open the file; a stack is kept open, a file of one picture is not."""
    stack = _Stack(path) if page is None else _kept_open(path)
    if page is None and stack.count > 1:
        narrow = stack.file.pages.first.imagewidth <= _NARROW
        raise UserError(
            "a file of one picture",
            f"{stack.count} pages in '{printable(path)}'",
            "Save an array (H, W, N) with planarconfig='contig'."
            if narrow
            else "Give the path of the stack itself instead of a folder.",
        )
    if page is not None and not 0 <= page < stack.count:
        raise UserError(f"a page from 0 to {stack.count - 1}", f"{page} for '{printable(path)}'", "Correct the number.")
    return stack


def _kept_open(path: str | Path) -> _Stack:
    status = os.stat(archive_of(path) or path)
    # A replaced file is opened again, and so is every file in a forked process, which would share its position.
    return _open_stack(os.path.abspath(path), status.st_mtime_ns, status.st_size, os.getpid())


@functools.lru_cache(maxsize=OPEN_FILES)
def _open_stack(path: str, mtime_ns: int, size: int, process: int) -> _Stack:
    return _Stack(path)


def _chain(file: TiffFile, path: str | Path) -> list[int]:
    """Return the offset of every page header; unlike in the library's list, a chain that breaks off is an error."""
    handle, layout = file.filehandle, file.tiff
    offsets: dict[int, None] = {}
    offset = file.pages.first.offset
    while offset:
        if offset in offsets or len(offsets) >= MAX_PAGES:
            raise UserError(
                f"a chain of at most {MAX_PAGES} pages", f"a circle in '{printable(path)}'", "Replace the file."
            )
        offsets[offset] = None
        try:
            handle.seek(offset)
            count = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))[0]
            handle.seek(offset + layout.tagnosize + count * layout.tagsize)
            offset = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))[0]
        except (struct.error, OSError, OverflowError):
            raise _cut_off(f"page {len(offsets) - 1} without header", path) from None
    return list(offsets)


def _is_picture(page: TiffPage) -> bool:
    return not page.is_reduced and not page.is_mask


def _require_whole(page: TiffPage, path: str | Path) -> None:
    """Refuse missing data, which would be read as zeros, and packed data out of proportion to the picture."""
    size = page.parent.filehandle.size
    if not page.is_contiguous and len(page.dataoffsets) < math.prod(page.chunked):
        raise _cut_off(f"{len(page.dataoffsets)} of {math.prod(page.chunked)} strips or tiles", path)
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if not segments or any(offset + count > size for offset, count in segments):
        raise _cut_off("pixels beyond the end", path)
    if page.is_contiguous and sum(page.databytecounts) < page.nbytes:
        raise _cut_off(f"{sum(page.databytecounts)} of {page.nbytes} bytes", path)
    # Packed data is at worst a little longer than unpacked data; much longer data is there to fill the memory.
    if page.compression != COMPRESSION.NONE and max(page.databytecounts) > 2 * page.nbytes + 2**20:
        raise _cut_off("more packed data than pixels", path)


def _bands_last(values: np.ndarray) -> np.ndarray:
    """Reorder (planes, 1, H, W, samples), where planes or samples is 1, to (H, W, bands)."""
    planes, _, height, width, samples = values.shape
    values = values[:, 0].transpose(1, 2, 0, 3).reshape(height, width, planes * samples)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _cut_off(found: str, path: str | Path) -> UserError:
    return UserError("a whole TIFF file", f"{found} in '{printable(path)}'", "Copy or save it again.")
