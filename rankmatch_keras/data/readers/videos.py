"""Frames of videos, decoded one after the other by ffmpeg: one of them is in memory, however long the video is."""

import functools
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankmatch_keras.data.readers.guards import MAX_PIXELS, open_regular, printable, reading
from rankmatch_keras.data.readers.images import with_channels
from rankmatch_keras.environment import require_extra
from rankmatch_keras.errors import UserError

VIDEO_ENDINGS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")
MAX_FRAMES = 1_000_000
# Offset, bytes there, and ffmpeg's name of the container. It is named to ffmpeg, which would follow playlists and other
# texts to files and hosts that they name.
_CONTAINERS = ((4, b"ftyp", "mov"), (8, b"AVI ", "avi"), (0, b"\x1a\x45\xdf\xa3", "matroska"))
_SAFE = ["-protocol_whitelist", "file"]
_ALL_FRAMES = ["-fps_mode", "passthrough"]  # neither doubled nor dropped for an even rate

# It warns of frames that are counted at another size.
logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Frame:
    """A frame of a video; frames are fast to read in their order alone.

    Attributes:
        path: the video.
        page: number of the frame, from 0.
        channels: channels asked for, see `ImageFile`.
    """

    path: Path
    page: int
    channels: int | None = 3

    def read(self) -> np.ndarray:
        """Read the frame: uint8 (H, W, C).

        Raises:
            UserError: it cannot be decoded, or has other channels.
        """
        with reading(self.path, "a readable video"):
            status = os.stat(self.path)
            picture = _video(os.path.abspath(self.path), status.st_mtime_ns, status.st_size).frame(self.page)
        return with_channels(picture, self.channels, self.path)

    def __str__(self) -> str:
        return f"{printable(self.path)}, frame {self.page}"


def count_frames(path: str | Path) -> int:
    """Count the frames of a video by decoding it.

    Raises:
        UserError: it is no video that is read, has no frame or more than a million, or the extra is not installed.
    """
    with reading(path, "a readable video"):
        tiny = _decoded(path, "gray", 1, ["-vf", "scale=16:16"])
        next(tiny)
        count = 0
        for _ in tiny:
            count += 1
            if count > MAX_FRAMES:
                raise UserError(f"a video of at most {MAX_FRAMES} frames", f"more in '{printable(path)}'", "Cut it.")
    if not count:
        raise UserError("a video with frames", f"none in '{printable(path)}'", "Check or replace the file.")
    return count


def frames_per_second(path: str | Path) -> float:
    """Return the rate of a video; 25 where it tells none."""
    with reading(path, "a readable video"):
        facts = next(_decoded(path))
    return float(facts["fps"]) or 25.0


class _Video:
    """A video that is being decoded."""

    def __init__(self, path: str):
        self.path = path
        self._begin()

    def frame(self, number: int) -> np.ndarray:
        """Return a frame; an earlier one than the last begins again."""
        if number < self.next:
            self._begin()
        data = None
        while self.next <= number:
            data = next(self.frames, None)
            if data is None:
                raise UserError(
                    "a whole video", f"{self.next} frames in '{printable(self.path)}'", "Copy or save it again."
                )
            self.next += 1
        return np.frombuffer(data or b"", np.uint8).reshape(self.height, self.width, 3)

    def _begin(self) -> None:
        self.frames = _decoded(self.path)
        self.width, self.height = next(self.frames)["size"]
        self.next = 0


@functools.lru_cache(maxsize=1)
def _video(path: str, mtime_ns: int, size: int) -> _Video:
    return _Video(path)


def _decoded(path: str | Path, pixels: str = "rgb24", bytes_each: int = 3, more: list[str] | None = None) -> Iterator:
    """Yield facts about a video, then its frames as bytes."""
    with open_regular(path) as file:
        head = file.read(16)
    container = next((name for at, magic, name in _CONTAINERS if head.startswith(magic, at)), None)
    if container is None:
        raise UserError("a video (MP4, MOV, AVI, MKV or WebM)", f"'{printable(path)}'", "Convert it.")
    require_extra("imageio_ffmpeg", "video", "videos")
    import imageio_ffmpeg

    known: Iterator[Any] = imageio_ffmpeg.read_frames(
        os.path.abspath(path),
        pixels,
        bits_per_pixel=8 * bytes_each,
        input_params=["-f", container, *_SAFE],
        output_params=[*_ALL_FRAMES, *(more or [])],
    )
    try:
        facts = next(known)
    except OSError as error:  # with all that ffmpeg says of itself
        found = f"'{printable(path)}', which ffmpeg cannot decode"
        raise UserError("a readable video", found, "Check or replace the file.") from error
    width, height = facts["source_size"]
    if not 0 < width * height <= MAX_PIXELS:
        raise UserError(
            f"frames of at most {MAX_PIXELS // 10**6} megapixels",
            f"{width} x {height} in '{printable(path)}'",
            "Scale it.",
        )
    yield facts
    yield from known
