"""Cross-entropy per pixel, the part that all pixel losses share."""

from keras import ops


def pixel_cross_entropy(label, logits):
    """Cross-entropy of every pixel, in float32.

    Args:
        label: `(B, H, W)` int32, 0 <= label < K (callers replace ignored pixels by any class and mask the result).
        logits: `(B, H, W, K)` float.

    Returns:
        `(B, H, W)` float32, `logsumexp(z) - z[label]`.
    """
    log_probabilities = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    return -ops.take_along_axis(log_probabilities, label[..., None], axis=-1)[..., 0]
