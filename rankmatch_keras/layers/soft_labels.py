"""Soft labels that leave out the improbable classes (ESL)."""

from keras import ops


def dynamic_soft_labels(logits, mass: float):
    """Keeps the fewest most probable classes of each pixel that hold a mass of probability, and weighs them anew.

    Args:
        logits: `(B, H, W, K)` float.
        mass: 0 to 1.

    Returns:
        `(B, H, W, K)` float32 that sums to 1, without gradient. Equally probable classes stay or go together.

    Example:
        >>> import numpy as np
        >>> logits = np.log(np.float32([[[[0.6, 0.3, 0.1]]]]))
        >>> np.round(keras.ops.convert_to_numpy(dynamic_soft_labels(logits, 0.8)), 3).tolist()
        [[[[0.667, 0.333, 0.0]]]]
    """
    probabilities = ops.softmax(ops.stop_gradient(ops.cast(logits, "float32")), axis=-1)
    ordered = ops.top_k(probabilities, probabilities.shape[-1])[0]
    before = ops.cumsum(ordered, axis=-1) - ordered  # what the classes above each hold
    least = ops.min(ops.where(before < mass, ordered, 1.0), axis=-1, keepdims=True)
    kept = ops.where(probabilities >= least, probabilities, 0.0)
    return kept / ops.sum(kept, axis=-1, keepdims=True)
