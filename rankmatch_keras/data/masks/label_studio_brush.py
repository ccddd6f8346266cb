"""Label Studio's run lengths of brush strokes (its `rle`): bits, not the run lengths of COCO."""

import numpy as np

# Each is a step in Python: seconds of work.
MAX_RUNS = 1_000_000
_WORD_BITS = 8


def brushed(rle: bytes, height: int, width: int) -> tuple[np.ndarray, int]:
    """Decode run lengths to the pixels that were painted.

    The bits say how many values there are (32 bits), how long a value is (5), four lengths of counters (4 each), and
    then runs: whether the value repeats (1), which counter follows (2), the counter, less one, and the value, or as
    many values as it counts. The values are the four channels of each pixel, of which the last says what was painted.

    Args:
        rle: the bytes.
        height: rows of the image.
        width: columns of the image.

    Returns:
        bool (H, W), and the number of runs.

    Raises:
        ValueError: the bytes are cut off, or of another image.
    """
    bits = np.unpackbits(np.frombuffer(rle, np.uint8))
    header = _numbers(bits, 0, [32, 5, 4, 4, 4, 4])
    total, word, *sizes = header[0], header[1] + 1, *(size + 1 for size in header[2:])
    if total != 4 * height * width or word != _WORD_BITS:
        raise ValueError(f"run lengths of {total} values of {word} bits for {width} x {height} pixels")
    values = np.empty(total, np.uint8)
    at, filled = 32 + 5 + 16, 0
    for runs in range(MAX_RUNS):
        if filled >= total:
            return values.reshape(height, width, 4)[..., 3] > 0, runs
        repeats, which = _numbers(bits, at, [1, 2])
        (count,) = _numbers(bits, at + 3, [sizes[which]])
        at += 3 + sizes[which]
        end = filled + count + 1
        words = 1 if repeats else count + 1
        packed = bits[at : at + words * _WORD_BITS]
        if end > total or len(packed) < words * _WORD_BITS:
            raise ValueError("run lengths that are cut off or too long")
        values[filled:end] = np.packbits(packed)
        at, filled = at + words * _WORD_BITS, end
    raise ValueError(f"more than {MAX_RUNS} runs")


def _numbers(bits: np.ndarray, at: int, lengths: list[int]) -> list[int]:
    """Read numbers of some bits each, one behind the other."""
    found = []
    for length in lengths:
        part = bits[at : at + length]
        if len(part) < length:
            raise ValueError("run lengths that are cut off")
        found.append(int.from_bytes(np.packbits(part).tobytes(), "big") >> (-length % 8))
        at += length
    return found
