"""Duplicate and near-duplicate images, found by small fingerprints of their pixels."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

# Measured on street scenes and electron microscopy: JPEG at quality 30, half the size, 30 % brighter, gamma 0.7 and
# noise change at most 5 bits and keep a correlation of 0.97; no image of one recording came near both for another.
MAX_BITS = 8
MIN_CORRELATION = 0.95
ROWS, COLUMNS = 16, 18  # of a thumbnail: 2 x 2 of its pixels make one of the 8 x 9 pixels of the hash
BLOCK = 256  # images compared with all others at once; bounds the memory


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Summary of an image for comparison with others, about 1.3 KB.

    Attributes:
        digest: SHA-256 of shape, type and pixels; equal for equal decoded content, whatever the file.
        signs: float32 (64,), the difference hash: 1 where a pixel of the 8 x 9 reduction is brighter than its left
            neighbor, else -1.
        thumbnail: float32 (288,), 16 x 18 mean gray values, shifted to mean 0 and scaled to length 1, so that the
            product of two is their correlation; all 0 for a plain image, which resembles no other.
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
    gray = np.mean([_reduce(image[..., channel]) for channel in range(image.shape[-1])], axis=0)
    coarse = gray.reshape(8, ROWS // 8, 9, COLUMNS // 9).mean((1, 3))
    centered = gray - gray.mean()
    # Only rounding is left of a plain picture: half a step of 8-bit values, or of float32.
    rounding = 0.5 if image.dtype == np.uint8 else 1e-5 * np.abs(gray).max()
    length = np.linalg.norm(centered)
    plain = centered.std() <= rounding or not np.isfinite(length)
    thumbnail = np.zeros_like(centered) if plain else centered / length
    signs = np.where(coarse[:, 1:] > coarse[:, :-1], 1, -1)
    return Fingerprint(digest.digest(), signs.ravel().astype(np.float32), thumbnail.ravel().astype(np.float32))


def _reduce(channel: np.ndarray) -> np.ndarray:
    """Average rectangles: (H, W) to float64 (16, 18)."""
    if channel.dtype != np.uint8:
        channel = channel.astype(np.float32)
    return np.asarray(Image.fromarray(channel).resize((COLUMNS, ROWS), Image.Resampling.BOX), np.float64)


def identical(prints: Sequence[Fingerprint], others: Sequence[Fingerprint]) -> dict[int, int]:
    """Find equal content.

    Args:
        prints: the images in question.
        others: the images to search; the same object as `prints` to find repetitions within one list.

    Returns:
        Index in `prints` -> index of the first equal one in `others`, or, within one list, of the first equal one
        before it; images without a twin are left out.
    """
    first: dict[bytes, int] = {}
    for j, other in enumerate(others):
        first.setdefault(other.digest, j)
    twins = {i: first[one.digest] for i, one in enumerate(prints) if one.digest in first}
    return {i: j for i, j in twins.items() if i != j} if prints is others else twins


def near(
    prints: Sequence[Fingerprint], others: Sequence[Fingerprint], volumes: Sequence[Hashable | None] = ()
) -> dict[int, int]:
    """Find images that look alike but are not equal: close hashes, confirmed by correlated thumbnails.

    Other encodings, sizes and brightness of a picture are found, and consecutive frames; mirrored images are not, nor
    crops that leave out more than a few percent.

    Args:
        prints: the images in question.
        others: the images to search; the same object as `prints` to search within one list.
        volumes: within one list, the volume that each image is a slice of, None for any other: slices of one volume,
            which are alike by nature, are not compared. Empty: no image is a slice.

    Returns:
        Index in `prints` -> index of the most similar one in `others`, or, within one list, before it; images without
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
        # The product of two hashes is the number of equal bits minus that of unequal ones: 64 - 2 * distance.
        close = block @ signs.T >= 64 - 2 * MAX_BITS
        for i, row in enumerate(close, start):
            candidates = np.flatnonzero(row[:i] if prints is others else row)
            if volumes and volumes[i] is not None:
                candidates = np.array([j for j in candidates.tolist() if volumes[j] != volumes[i]], np.intp)
            if i in skip or not candidates.size:
                continue
            correlation = thumbnails[candidates] @ prints[i].thumbnail
            if correlation.max() >= MIN_CORRELATION:
                found[i] = int(candidates[correlation.argmax()])
    return found
