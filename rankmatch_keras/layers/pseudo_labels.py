"""Pseudo-labels, their confidence and their entropy."""

from keras import ops

from rankmatch_keras.backend.replicas import gather, replicas


def pseudo_labels(logits):
    """Turn teacher logits into hard labels and their confidence, without gradient (RankMatch, Eq. 2).

    Args:
        logits: `(B, H, W, K)` float.

    Returns:
        label: `(B, H, W)` int32, the most probable class.
        confidence: `(B, H, W)` float32 in (0, 1], its softmax probability.
    """
    logits = ops.stop_gradient(ops.cast(logits, "float32"))
    # Only the largest probability: no (B, H, W, K) softmax is held.
    confidence = ops.exp(ops.max(logits, axis=-1) - ops.logsumexp(logits, axis=-1))
    return ops.cast(ops.argmax(logits, axis=-1), "int32"), confidence


BEYOND = 1e30  # larger than any value compared


def pixel_entropy(logits):
    """Compute the entropy of each pixel in nats: logits `(B, H, W, K)` to `(B, H, W)` float32, without gradient."""
    log_probabilities = ops.log_softmax(ops.stop_gradient(ops.cast(logits, "float32")), axis=-1)
    return -ops.sum(ops.exp(log_probabilities) * log_probabilities, axis=-1)


def masked_quantiles(values, mask, *fractions):
    """Compute quantiles of the marked values of all replicas, interpolated linearly as NumPy does.

    Args:
        values: float tensor of any shape, below 1e30.
        mask: bool of the same shape.
        *fractions: numbers or scalar tensors, 0 to 1.

    Returns:
        A scalar float32 for each fraction; 1e30 where nothing is marked.
    """
    marked = ops.where(mask, ops.cast(values, "float32"), BEYOND)
    ordered = ops.sort(gather(ops.reshape(marked, (-1,))))
    last = ops.maximum(replicas().sum(ops.sum(ops.cast(mask, "float32"))) - 1.0, 0.0)

    def at(fraction):
        position = fraction * last
        low, high = ops.floor(position), ops.ceil(position)
        lower, upper = (ops.take(ordered, ops.cast(place, "int32")) for place in (low, high))
        return lower + (upper - lower) * (position - low)

    return tuple(at(fraction) for fraction in fractions)
