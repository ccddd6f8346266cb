"""Finds images that are the same, or look the same, by small fingerprints of what was decoded."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

# Measured on street scenes and electron microscopy: JPEG at quality 30, half the size, 30 % brighter, gamma 0.7 and
# noise change at most 5 bits and keep a correlation of 0.97; no image of one recording came near both for another.
MAX_BITS = 8
MIN_CORRELATION = 0.95
ROWS, COLUMNS = 16, 18  # of a thumbnail: 2 x 2 of its pixels make one of the 8 x 9 of the hash
BLOCK = 256  # images compared with all others at once, which bounds the memory


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is kept of an image to compare it with others, about 1.3 KB.

    Attributes:
        digest: SHA-256 of shape, type and pixels; equal for equal decoded content, whatever the file looks like.
        signs: float32 (64,), the difference hash: 1 where a pixel of the 8 x 9 reduction is brighter than its left
            neighbour, else -1.
        thumbnail: float32 (288,), 16 x 18 mean grey values, shifted to mean 0 and scaled to length 1, so that a
            product of two is their correlation; all 0 for a plain image, which is like no other.
    """

    digest: bytes
    signs: np.ndarray
    thumbnail: np.ndarray


def fingerprint(image: np.ndarray) -> Fingerprint:
    """Make the fingerprint of an image.

    Args:
        image: uint8 or float32 (H, W, C).
    """
    digest = hashlib.sha256(f"{image.shape} {image.dtype}".encode())
    digest.update(np.ascontiguousarray(image).data)
    grey = np.mean([_reduce(image[..., channel]) for channel in range(image.shape[-1])], axis=0)
    coarse = grey.reshape(8, ROWS // 8, 9, COLUMNS // 9).mean((1, 3))
    centred = grey - grey.mean()
    # What is left of a plain picture is rounding: half a step of 8-bit values, or of float32.
    rounding = 0.5 if image.dtype == np.uint8 else 1e-5 * np.abs(grey).max()
    length = np.linalg.norm(centred)
    plain = centred.std() <= rounding or not np.isfinite(length)
    thumbnail = np.zeros_like(centred) if plain else centred / length
    signs = np.where(coarse[:, 1:] > coarse[:, :-1], 1, -1)
    return Fingerprint(digest.digest(), signs.ravel().astype(np.float32), thumbnail.ravel().astype(np.float32))


def _reduce(channel: np.ndarray) -> np.ndarray:
    """Mean values of rectangles: (H, W) -> float64 (16, 18)."""
    if channel.dtype != np.uint8:
        channel = channel.astype(np.float32)
    return np.asarray(Image.fromarray(channel).resize((COLUMNS, ROWS), Image.Resampling.BOX), np.float64)


def identical(prints: Sequence[Fingerprint], others: Sequence[Fingerprint]) -> dict[int, int]:
    """Find equal content.

    Args:
        prints: the images in question.
        others: the images to look among; the same object as `prints` to look for repetitions within one list.

    Returns:
        Index in `prints` -> index of the first equal one in `others`, or, within one list, of the first equal one
        before it; images without such a twin are left out.
    """
    first: dict[bytes, int] = {}
    for j, other in enumerate(others):
        first.setdefault(other.digest, j)
    twins = {i: first[one.digest] for i, one in enumerate(prints) if one.digest in first}
    return {i: j for i, j in twins.items() if i != j} if prints is others else twins


def near(prints: Sequence[Fingerprint], others: Sequence[Fingerprint]) -> dict[int, int]:
    """Find images that look alike but are not equal: close hashes, confirmed by correlated thumbnails.

    Other encodings, sizes and brightness of one picture are found, and frames that follow each other closely;
    mirrored images are not, nor crops that leave out more than a few per cent.

    Args:
        prints: the images in question.
        others: the images to look among; the same object as `prints` to look within one list.

    Returns:
        Index in `prints` -> index of the most alike one in `others`, or, within one list, before it; images without
        one, and images with an `identical` one, are left out.
    """
    if not prints or not others:
        return {}
    skip = identical(prints, others)
    signs = np.stack([other.signs for other in others])
    thumbnails = np.stack([other.thumbnail for other in others])
    found = {}
    for start in range(0, len(prints), BLOCK):
        block = np.stack([one.signs for one in prints[start : start + BLOCK]])
        # The product of two hashes is the number of equal bits less that of unequal ones: 64 - 2 * distance.
        close = block @ signs.T >= 64 - 2 * MAX_BITS
        for i, row in enumerate(close, start):
            candidates = np.flatnonzero(row[:i] if prints is others else row)
            if i in skip or not candidates.size:
                continue
            correlation = thumbnails[candidates] @ prints[i].thumbnail
            if correlation.max() >= MIN_CORRELATION:
                found[i] = int(candidates[correlation.argmax()])
    return found
