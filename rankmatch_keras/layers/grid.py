"""Maps at image size, read at the pixels of a coarser grid."""

from keras import ops


def grid_positions(count, size):
    """Positions in an image side of `size` pixels of `count` grid points: `i * (size - 1) / (count - 1)`, float32."""
    steps = ops.maximum(ops.cast(count, "float32") - 1.0, 1.0)
    return ops.arange(count, dtype="float32") * ((ops.cast(size, "float32") - 1.0) / steps)


def on_grid(values, grid):
    """Takes the values at the positions `i * (H - 1) / (h - 1)` of a coarser grid, the nearest pixel each.

    Args:
        values: `(B, H, W)` or `(B, H, W, C)` of any dtype.
        grid: `(h, w)`, whose corners are those of the image.

    Returns:
        `(B, h, w)` or `(B, h, w, C)`.
    """
    for axis, count in zip((1, 2), grid, strict=True):
        positions = ops.round(grid_positions(count, ops.shape(values)[axis]))
        values = ops.take(values, ops.cast(positions, "int32"), axis=axis)
    return values


def pixel_rows(maps):
    """Maps `(B, h, w)` or `(B, h, w, C)` as one row per pixel, `(B * h * w,)` or `(B * h * w, C)`."""
    return ops.reshape(maps, (-1,) if len(maps.shape) == 3 else (-1, maps.shape[-1]))
