"""Feature maps as pixels: as rows, on coarser grids, gathered, of unit length."""

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


def unit_length(vectors, least: float = 1e-6):
    """Divide `(..., D)` float vectors by their length, or by `least` where they are shorter: the gradient is finite."""
    return vectors * ops.rsqrt(ops.maximum(ops.sum(ops.square(vectors), axis=-1, keepdims=True), least**2))


def flatten_pixels(features):
    """Turns a feature map `(B, h, w, C)` into a list of pixels `(B, h*w, C)`."""
    shape = ops.shape(features)
    height, width = features.shape[1], features.shape[2]
    pixels = shape[1] * shape[2] if height is None or width is None else height * width
    return ops.reshape(features, (-1, pixels, features.shape[3]))


def gather_agents(features, indices):
    """Gathers the features of the agents; gradient flows into them.

    Args:
        features: `(B, h, w, C)` float.
        indices: `(B, N)` int32, flat pixel indices `y * w + x`.

    Returns:
        `(B, N, C)` float.
    """
    return ops.take_along_axis(flatten_pixels(features), indices[:, :, None], axis=1)
