"""Class probabilities of an image from the top down: rows are dropped as soon as no further window touches them."""

from itertools import groupby

import numpy as np

from rankmatch_keras.evaluation.resampling import Taps
from rankmatch_keras.evaluation.windows import window_spans


class Sweep:
    """Summed window probabilities of some columns of a picture, row by row.

    Only rows between the first one still asked for and the last one touched by a window are held.

    Args:
        predict: (B, h, w, C) -> float32 (B, h, w, K).
        picture: `Picture`.
        columns: (first, last + 1) of the picture's columns that are wanted; windows elsewhere are not predicted.
        side: side of the windows; None: one window, the whole picture.
        border: "clip" or "shift", see `window_spans`.
        flip: whether the windows of the mirrored picture are added.
        window_batch: how many windows of one size are predicted at once.
    """

    def __init__(self, predict, picture, columns, side=None, border="clip", flip=False, window_batch=4):
        self.predict = predict
        self.picture = picture
        self.columns = columns
        height, width = picture.size
        self._pending = window_spans(height, side, border)
        spans = [(a, b, False) for a, b in window_spans(width, side, border)]
        if flip:
            # A window of the mirrored picture, by the columns that it covers in the picture itself.
            spans += [(width - b, width - a, True) for a, b, _ in spans]
        wanted = [(a, b, mirrored) for a, b, mirrored in spans if a < columns[1] and b > columns[0]]
        self._batches = list(_alike(wanted, window_batch))
        self._lines = []  # float32 (columns, K) per row, from row `_top` on
        self._top = 0
        self._spare = []  # lines to use again: thousands of new ones would leave holes in the heap

    def rows(self, first, last):
        """The sums of the rows first..last - 1; `first` must not decrease from call to call.

        Returns:
            float32 (last - first, columns, K).
        """
        self._drop_before(first)
        while self._pending and self._pending[0][0] < last:
            self._add_windows(self._pending.pop(0))
            self._drop_before(first)
        return np.stack(self._lines[: last - first])

    def _drop_before(self, first):
        # Where rows are skipped, a window to come may still begin before the first one asked for.
        first = min([first, *(start for start, _ in self._pending[:1])])
        done = max(0, first - self._top)
        self._spare += self._lines[:done]
        del self._lines[:done]
        self._top = max(first, self._top)

    def _add_windows(self, rows):
        for batch in self._batches:
            images = [self.picture.window(rows, (a, b))[:, :: _step(mirrored)] for a, b, mirrored in batch]
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
    """What `Sweep` does where a single window shows the whole picture, without a second copy of the probabilities.

    Args:
        predict: (B, h, w, C) -> float32 (B, h, w, K).
        picture: `Picture`.
        columns: (first, last + 1) of the picture's columns that are wanted.
    """

    def __init__(self, predict, picture, columns):
        height, width = picture.size
        window = picture.window((0, height), (0, width))
        self._probabilities = predict(window[None])[0][:, slice(*columns)]

    def rows(self, first, last):
        """As `Sweep.rows`, but a view."""
        return self._probabilities[first:last]


class Resized:
    """The rows of a sweep over a scaled picture, resized back bilinearly to the picture's own size.

    Args:
        make_sweep: columns of the scaled picture -> `Sweep` or `OneWindow`.
        size: own height and width.
        scaled: height and width of the scaled picture.
        columns: (first, last + 1) of the own columns that are wanted.
    """

    def __init__(self, make_sweep, size, scaled, columns):
        self._rows = Taps.half_pixel(size[0], scaled[0])
        self._columns = Taps.half_pixel(size[1], scaled[1]).part(*columns)
        self._sweep = make_sweep(self._columns.span)

    def rows(self, first, last):
        """As `Sweep.rows`."""
        taps = self._rows.part(first, last)
        return self._columns.blend(taps.blend(self._sweep.rows(*taps.span), 0), 1)


def _alike(spans, most):
    """The spans in lists of equal width, at most so many in each."""

    def width(span):
        return span[1] - span[0]

    for _, group in groupby(sorted(spans, key=width, reverse=True), key=width):
        same = list(group)
        for i in range(0, len(same), most):
            yield same[i : i + most]


def _step(mirrored):
    return -1 if mirrored else 1
