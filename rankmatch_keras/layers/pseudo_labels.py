"""Pseudo-labels: the teacher's hard decision per pixel and how sure it is (RankMatch, Eq. 2)."""

from keras import ops


def pseudo_labels(logits):
    """Turns teacher logits into hard labels and their confidence, without gradient.

    Args:
        logits: `(B, H, W, K)` float.

    Returns:
        label: `(B, H, W)` int32, the most probable class.
        confidence: `(B, H, W)` float32 in (0, 1], its softmax probability.
    """
    logits = ops.stop_gradient(ops.cast(logits, "float32"))
    # The largest probability alone: no (B, H, W, K) softmax is kept.
    confidence = ops.exp(ops.max(logits, axis=-1) - ops.logsumexp(logits, axis=-1))
    return ops.cast(ops.argmax(logits, axis=-1), "int32"), confidence
