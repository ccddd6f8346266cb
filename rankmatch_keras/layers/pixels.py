"""Feature maps as pixels: in rows, on coarser grids, gathered, of unit length, averaged."""

from keras import ops

from rankmatch_keras.backend.replicas import ratio


def flatten_pixels(features):
    """Turn a feature map `(B, h, w, C)` into a list of pixels `(B, h*w, C)`."""
    shape = ops.shape(features)
    height, width = features.shape[1], features.shape[2]
    pixels = shape[1] * shape[2] if height is None or width is None else height * width
    return ops.reshape(features, (-1, pixels, features.shape[3]))


def pixel_rows(maps):
    """Turn maps `(B, h, w)` or `(B, h, w, C)` into one row per pixel, `(B * h * w,)` or `(B * h * w, C)`."""
    return ops.reshape(maps, (-1,) if len(maps.shape) == 3 else (-1, maps.shape[-1]))


def gather_agents(features, indices):
    """Gather the features of the agents; gradient flows into them.

    Args:
        features: `(B, h, w, C)` float.
        indices: `(B, N)` int32, flat pixel indices `y * w + x`.

    Returns:
        `(B, N, C)` float.
    """
    return ops.take_along_axis(flatten_pixels(features), indices[:, :, None], axis=1)


def grid_positions(count, size):
    """Return the positions of `count` grid points along `size` pixels, `i * (size - 1) / (count - 1)` float32."""
    steps = ops.maximum(ops.cast(count, "float32") - 1.0, 1.0)
    return ops.arange(count, dtype="float32") * ((ops.cast(size, "float32") - 1.0) / steps)


def on_grid(values, grid):
    """Sample maps on a coarser grid: the nearest pixel to each position `i * (H - 1) / (h - 1)`.

    Args:
        values: `(B, H, W)` or `(B, H, W, C)` of any dtype.
        grid: `(h, w)`; its corners are those of the image.

    Returns:
        `(B, h, w)` or `(B, h, w, C)`.
    """
    for axis, count in zip((1, 2), grid, strict=True):
        positions = ops.round(grid_positions(count, ops.shape(values)[axis]))
        values = ops.take(values, ops.cast(positions, "int32"), axis=axis)
    return values


def sample_at(values, rows, columns):
    """Interpolate maps at the crossings of rows and columns, bilinearly; outside, the nearest pixel counts.

    Args:
        values: `(B, h, w, D)` float.
        rows: `(B, H)` float32, places along the height, in pixels.
        columns: `(B, W)` float32, places along the width.

    Returns:
        `(B, H, W, D)` float.
    """
    rows, columns = (
        _linear_weights(places, ops.shape(values)[axis], values.dtype) for axis, places in ((1, rows), (2, columns))
    )
    return ops.einsum("bjw,biwd->bijd", columns, ops.einsum("bih,bhwd->biwd", rows, values))


def places_on_grid(places, size, cells, count):
    """Return where the cells of one grid lie on another, both with their corners in those of what they cover.

    Args:
        places: `(B, n)` float32, where the n pixels that the first grid covers lie among those of the second.
        size: how many pixels the second grid covers.
        cells: how many cells it has.
        count: how many the first one has.

    Returns:
        `(B, count)` float32, in cells of the second grid.
    """
    pixels = ops.cast(ops.round(grid_positions(count, places.shape[1])), "int32")
    return ops.take(places, pixels, axis=1) * ((cells - 1.0) / max(size - 1.0, 1.0))


def _linear_weights(places, size, dtype):
    """Return the weights `(B, n, size)` of the pixels next to each place `(B, n)`; they sum to 1."""
    places = ops.clip(places, 0.0, ops.cast(size, "float32") - 1.0)
    distances = ops.abs(places[:, :, None] - ops.arange(size, dtype="float32"))
    return ops.cast(ops.maximum(1.0 - distances, 0.0), dtype)


def unit_length(vectors, least: float = 1e-6):
    """Divide `(..., D)` float vectors by their length, or by `least` where they are shorter: the gradient is finite."""
    return vectors * ops.rsqrt(ops.maximum(ops.sum(ops.square(vectors), axis=-1, keepdims=True), least**2))


def class_maps(label, num_classes: int, valid=None):
    """Mark the pixels of each class.

    Args:
        label: `(B, H, W)` int; values other than 0 to K - 1 belong to no class.
        num_classes: K.
        valid: `(B, H, W)` bool, False on pixels that belong to no class.

    Returns:
        `(B, H, W, K)` bool.
    """
    belongs = ops.cast(label, "int32")[..., None] == ops.arange(num_classes, dtype="int32")
    return belongs if valid is None else ops.logical_and(belongs, ops.cast(valid, "bool")[..., None])


def masked_mean(values, mask=None):
    """Average over the marked pixels of all replicas; the mean of the replicas' results is exact.

    Args:
        values: float tensor.
        mask: bool of the same shape, or float weights of at least 0; all pixels by default.

    Returns:
        Scalar float32; 0 where nothing is marked.
    """
    mask = ops.ones_like(values) if mask is None else ops.cast(mask, "float32")
    return ratio(ops.sum(ops.cast(values, "float32") * mask), ops.sum(mask))
