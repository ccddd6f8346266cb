"""Half-pixel bilinear resizing that can be done piece by piece, for images too large to be resized at once."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Taps:
    """Which two input pixels each output pixel of one axis is made of.

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
        """Output pixel i lies at ``(i + 0.5) in / out - 0.5`` of the input, held inside it at the borders.

        The same positions as `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.
        """
        positions = (np.arange(out_size) + 0.5) * in_size / out_size - 0.5
        positions = np.clip(positions, 0, in_size - 1)
        lower = np.floor(positions).astype(np.intp)
        upper = np.minimum(lower + 1, in_size - 1)
        return cls(lower, upper, (positions - lower).astype(np.float32))

    def part(self, first, last):
        """The taps of the output pixels first..last - 1."""
        return Taps(self.lower[first:last], self.upper[first:last], self.weight[first:last])

    @property
    def span(self):
        """The input pixels that are needed, as (first, last + 1)."""
        return int(self.lower[0]), int(self.upper[-1]) + 1

    def blend(self, values, axis):
        """Output pixels along an axis of float or uint8 values that hold the input pixels of `span` there."""
        first = self.span[0]
        weight = self.weight.reshape(-1, *(1,) * (values.ndim - axis - 1))
        blended = np.take(values, self.lower - first, axis) * (1 - weight)
        blended += np.take(values, self.upper - first, axis) * weight
        return blended


@dataclass(frozen=True)
class Picture:
    """An image at a multiple of its size, of which windows are made when they are asked for.

    Args:
        image: (H, W, C).
        scale: multiple, > 0.
    """

    image: np.ndarray
    scale: float = 1.0

    @property
    def size(self):
        """Height and width in pixels: whole pixels of scale x size, at least one."""
        return tuple(max(1, int(self.scale * side)) for side in self.image.shape[:2])

    def window(self, rows, columns):
        """One window: a view of the image at its own size, else float32 (h, w, C), bilinear.

        Args:
            rows: (first, last + 1) of the scaled image.
            columns: the same for its columns.
        """
        sides = self.image.shape[:2]
        if self.size == sides:
            return self.image[slice(*rows), slice(*columns)]
        y, x = (
            Taps.half_pixel(out, side).part(*span)
            for out, side, span in zip(self.size, sides, (rows, columns), strict=True)
        )
        return x.blend(y.blend(self.image[slice(*y.span), slice(*x.span)], 0), 1)
