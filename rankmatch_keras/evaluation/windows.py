"""Row-streaming sliding-window inference: windows, half-pixel resizing, sums of class probabilities."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np


def stride_of(side):
    """Return the distance between neighboring windows: floor(2/3 side), at least 1."""
    return max(1, 2 * side // 3)


def window_spans(size, side, border="clip"):
    """Place windows along one axis of an image, `stride_of` apart; an axis that fits into a window is one window.

    Args:
        size: length of the axis in pixels, >= 1.
        side: side of the window, >= 1; None: the whole axis.
        border: "clip": starts at 0, stride, ... below the size, the last windows cut off at the border (as UniMatch);
            "shift": the last window is moved back to end at the border (as U2PL).

    Returns:
        list of (first, last + 1), from the start of the axis to its end.

    Example:
        >>> window_spans(8, 3), window_spans(8, 3, "shift")
        ([(0, 3), (2, 5), (4, 7), (6, 8)], [(0, 3), (2, 5), (4, 7), (5, 8)])
    """
    if side is None or size <= side:
        return [(0, size)]
    stride = stride_of(side)
    if border == "clip":
        starts = list(range(0, size, stride))
    else:
        starts = [*range(0, size - side, stride), size - side]
    return [(start, min(start + side, size)) for start in starts]


def scored_part(array, protocol):
    """Return the part of an image or mask that the protocol scores: the center for "center_crop", else all of it.

    Args:
        array: (H, W) or (H, W, C).
        protocol: `data.Protocol`.

    Returns:
        A view, (min(H, crop), min(W, crop)) for "center_crop".
    """
    if protocol.mode != "center_crop":
        return array
    height, width = array.shape[:2]
    top, left = max(0, (height - protocol.crop) // 2), max(0, (width - protocol.crop) // 2)
    return array[top : top + protocol.crop, left : left + protocol.crop]


def row_blocks(height, bytes_per_row, block_bytes=1 << 23):
    """Yield slices of rows of about `block_bytes` each, to process large arrays in little memory."""
    step = max(1, block_bytes // max(1, bytes_per_row))
    for first in range(0, height, step):
        yield slice(first, min(first + step, height))


@dataclass(frozen=True)
class Taps:
    """The two input pixels that each output pixel along one axis is interpolated from.

    Args:
        lower: int (n,), the pixel before the position; never decreasing.
        upper: int (n,), the pixel after it, or the same one at the border.
        weight: float32 (n,), weight of `upper` in 0..1.
    """

    lower: np.ndarray
    upper: np.ndarray
    weight: np.ndarray

    @classmethod
    def half_pixel(cls, out_size, in_size):
        """Make the taps of a bilinear resize: output pixel i lies at `(i + 0.5) in / out - 0.5`, clamped to the input.

        These are the positions of `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.
        """
        positions = (np.arange(out_size) + 0.5) * in_size / out_size - 0.5
        positions = np.clip(positions, 0, in_size - 1)
        lower = np.floor(positions).astype(np.intp)
        upper = np.minimum(lower + 1, in_size - 1)
        return cls(lower, upper, (positions - lower).astype(np.float32))

    def part(self, first, last):
        """Return the taps of output pixels first..last - 1."""
        return Taps(self.lower[first:last], self.upper[first:last], self.weight[first:last])

    @property
    def span(self):
        """The input pixels needed, as (first, last + 1)."""
        return int(self.lower[0]), int(self.upper[-1]) + 1

    def blend(self, values, axis):
        """Interpolate along an axis of float or uint8 values that holds the input pixels of `span`."""
        first = self.span[0]
        weight = self.weight.reshape(-1, *(1,) * (values.ndim - axis - 1))
        blended = np.take(values, self.lower - first, axis) * (1 - weight)
        blended += np.take(values, self.upper - first, axis) * weight
        return blended


@dataclass(frozen=True)
class ScaledImage:
    """A scaled image whose windows are made on demand.

    Args:
        image: (H, W, C).
        scale: factor, > 0.
    """

    image: np.ndarray
    scale: float = 1.0

    @property
    def size(self):
        """Height and width in pixels: scale x size rounded down, at least 1."""
        return tuple(max(1, int(self.scale * side)) for side in self.image.shape[:2])

    def window(self, rows, columns):
        """Return one window: a view of the image at its own size, else float32 (h, w, C), bilinear.

        Args:
            rows: (first, last + 1) in the scaled image.
            columns: likewise.
        """
        sides = self.image.shape[:2]
        if self.size == sides:
            return self.image[slice(*rows), slice(*columns)]
        y, x = (
            Taps.half_pixel(out, side).part(*span)
            for out, side, span in zip(self.size, sides, (rows, columns), strict=True)
        )
        return x.blend(y.blend(self.image[slice(*y.span), slice(*x.span)], 0), 1)


class Sweep:
    """Summed window probabilities over some columns of an image, row by row from the top.

    Only the rows between the first one still needed and the last one that a window has touched are held.

    Args:
        predict: (B, h, w, C) -> float32 (B, h, w, K).
        image: `ScaledImage`.
        columns: (first, last + 1) of the scaled image's columns to compute; windows elsewhere are not predicted.
        side: side of the windows; None: one window, the whole image.
        border: "clip" or "shift", see `window_spans`.
        flip: whether to add the windows of the mirrored image.
        window_batch: number of windows of equal size predicted at once.
    """

    def __init__(self, predict, image, columns, side=None, border="clip", flip=False, window_batch=4):
        self.predict = predict
        self.image = image
        self.columns = columns
        height, width = image.size
        self._pending = window_spans(height, side, border)
        spans = [(a, b, False) for a, b in window_spans(width, side, border)]
        if flip:
            # Windows of the mirrored image, in the columns of the image itself.
            spans += [(width - b, width - a, True) for a, b, _ in spans]
        wanted = [(a, b, mirrored) for a, b, mirrored in spans if a < columns[1] and b > columns[0]]
        self._batches = list(_batches_of_equal_width(wanted, window_batch))
        self._lines = []  # float32 (columns, K) per row, from row `_top` on
        self._top = 0
        self._spare = []  # lines to reuse: allocating thousands of new ones would fragment the heap

    def rows(self, first, last):
        """Return the sums of rows first..last - 1; `first` must not decrease from call to call.

        Returns:
            float32 (last - first, columns, K).
        """
        self._drop_before(first)
        while self._pending and self._pending[0][0] < last:
            self._add_windows(self._pending.pop(0))
            self._drop_before(first)
        return np.stack(self._lines[: last - first])

    def _drop_before(self, first):
        # If rows are skipped, a pending window may still begin above the first row asked for.
        first = min([first, *(start for start, _ in self._pending[:1])])
        done = max(0, first - self._top)
        self._spare += self._lines[:done]
        del self._lines[:done]
        self._top = max(first, self._top)

    def _add_windows(self, rows):
        for batch in self._batches:
            images = [self.image.window(rows, (a, b))[:, :: _step(mirrored)] for a, b, mirrored in batch]
            self._add(rows, batch, self.predict(np.stack(images)))

    def _add(self, rows, batch, probabilities):
        first, stop = self.columns
        missing = rows[1] - self._top - len(self._lines)
        shape = (stop - first, probabilities.shape[-1])
        self._lines += [self._empty_line(shape) for _ in range(missing)]
        lines = self._lines[rows[0] - self._top : rows[1] - self._top]
        for (a, b, mirrored), values in zip(batch, probabilities, strict=True):
            inside = slice(max(a, first), min(b, stop))
            values = values[:, :: _step(mirrored)][:, inside.start - a : inside.stop - a]
            for line, row in zip(lines, values, strict=True):
                line[inside.start - first : inside.stop - first] += row

    def _empty_line(self, shape):
        if not self._spare:
            return np.zeros(shape, np.float32)
        line = self._spare.pop()
        line[:] = 0
        return line


class OneWindow:
    """A `Sweep` of one window that covers the whole image, without a second copy of the probabilities.

    Args:
        predict: (B, h, w, C) -> float32 (B, h, w, K).
        image: `ScaledImage`.
        columns: (first, last + 1) of the scaled image's columns to compute.
    """

    def __init__(self, predict, image, columns):
        height, width = image.size
        window = image.window((0, height), (0, width))
        self._probabilities = predict(window[None])[0][:, slice(*columns)]

    def rows(self, first, last):
        """Return what `Sweep.rows` returns, but as a view."""
        return self._probabilities[first:last]


class Resized:
    """The rows of a sweep over a scaled image, resized bilinearly back to the original size.

    Args:
        make_sweep: columns of the scaled image -> `Sweep` or `OneWindow`.
        size: original height and width.
        scaled: height and width of the scaled image.
        columns: (first, last + 1) of the original columns to compute.
    """

    def __init__(self, make_sweep, size, scaled, columns):
        self._rows = Taps.half_pixel(size[0], scaled[0])
        self._columns = Taps.half_pixel(size[1], scaled[1]).part(*columns)
        self._sweep = make_sweep(self._columns.span)

    def rows(self, first, last):
        """Return what `Sweep.rows` returns."""
        taps = self._rows.part(first, last)
        return self._columns.blend(taps.blend(self._sweep.rows(*taps.span), 0), 1)


def _batches_of_equal_width(spans, most):
    def width(span):
        return span[1] - span[0]

    for _, group in groupby(sorted(spans, key=width, reverse=True), key=width):
        same = list(group)
        for i in range(0, len(same), most):
            yield same[i : i + most]


def _step(mirrored):
    return -1 if mirrored else 1
