"""Draws of classes by their scores, and the boxes around a class (AEL)."""

from keras import ops

FAR_BELOW = -1e9


def draw_classes(scores, allowed, draws, count: int):
    """Draws different classes with the probabilities `softmax(scores)` over those that are allowed.

    The largest sums of scores and Gumbel numbers are such a draw.

    Args:
        scores: `(K,)` or `(B, K)` float.
        allowed: bool of a shape that broadcasts to `(B, K)`.
        draws: `(B, K)` float, uniform in 0..1.
        count: classes to draw; of fewer allowed ones all.

    Returns:
        `(B, K)` bool.
    """
    gumbel = -ops.log(-ops.log(ops.clip(draws, 1e-7, 1.0 - 1e-7)))
    keys = ops.where(allowed, scores + gumbel, FAR_BELOW)
    place = ops.argsort(ops.argsort(-keys, axis=-1), axis=-1)
    return ops.logical_and(ops.cast(place, "int32") < count, keys > FAR_BELOW)


def bounding_boxes(mask):
    """The smallest box around the marked pixels of each image.

    Args:
        mask: `(B, H, W)` bool.

    Returns:
        `(B, 4)` int32, `y0, x0, y1, x1`, ends excluded; zeros where nothing is marked.
    """
    starts, ends = [], []
    for axis in (2, 1):  # rows are found along the columns, and the reverse
        marked = ops.cast(ops.any(mask, axis=axis), "int32")  # (B, H) or (B, W)
        some = ops.max(marked, axis=-1)
        size = ops.shape(marked)[1]
        starts.append(some * ops.cast(ops.argmax(marked, axis=-1), "int32"))
        ends.append(some * (size - ops.cast(ops.argmax(ops.flip(marked, axis=-1), axis=-1), "int32")))
    return ops.stack([*starts, *ends], axis=-1)
