"""How far two predictions of the same image agree, and which images it pairs (iMAS)."""

from keras import ops


def class_weighted_iou(prediction, reference, valid, num_classes: int, background: int | None = 0):
    """Intersection over union of each image's classes, weighted by their share of the reference.

    Args:
        prediction: `(B, H, W)` int.
        reference: `(B, H, W)` int.
        valid: `(B, H, W)` bool: other pixels do not count.
        num_classes: number of classes K.
        background: class that is left out; it counts where the reference shows nothing else. `None`: none is left out.

    Returns:
        `(B,)` float32 in 0..1, without gradient; 0 where nothing is valid.
    """
    classes = ops.arange(num_classes, dtype="int32")
    valid = ops.cast(valid, "bool")[..., None]
    first, second = (
        ops.logical_and(ops.cast(label, "int32")[..., None] == classes, valid) for label in (prediction, reference)
    )  # (B, H, W, K)
    both, either, shown = (
        ops.sum(ops.cast(pixels, "float32"), axis=(1, 2))
        for pixels in (ops.logical_and(first, second), ops.logical_or(first, second), second)
    )  # (B, K)
    counted = ops.cast(classes != (-1 if background is None else background), "float32")
    foreground = shown * counted
    weight = ops.where(ops.sum(foreground, axis=-1, keepdims=True) > 0.0, foreground, shown)
    iou = both / ops.maximum(either, 1.0)
    return ops.sum(weight * iou, axis=-1) / ops.maximum(ops.sum(weight, axis=-1), 1.0)


def opposite_ranks(score):
    """Pairs the largest score with the smallest, the second with the last but one, and so on.

    Args:
        score: `(B,)` float.

    Returns:
        `(B,)` int32, the index of each one's partner; of equal scores the first counts as the smaller.
    """
    count = ops.shape(score)[0]
    index = ops.arange(count)
    before = ops.logical_or(
        score[None] < score[:, None], ops.logical_and(score[None] == score[:, None], index[None] < index[:, None])
    )  # [i, j]: j comes before i
    rank = ops.sum(ops.cast(before, "int32"), axis=1)
    opposite = ops.cast(rank[None] + rank[:, None] == count - 1, "int32")
    return ops.cast(ops.argmax(opposite, axis=1), "int32")
