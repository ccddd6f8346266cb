"""Base of the loss terms, and the cross-entropy per pixel that most of them start from."""

from keras import ops

from rankmatch_keras.layers.base import Float32Layer


class Loss(Float32Layer):
    """Base of the loss terms: layers without weights that return a float32 scalar."""

    def compute_output_shape(self, *args, **kwargs):
        """Return the shape of a scalar."""
        return ()


def pixel_cross_entropy(label, logits):
    """Compute the cross-entropy of every pixel.

    Args:
        label: `(B, H, W)` int32, 0 <= label < K (callers replace ignored pixels by any class and mask the result).
        logits: `(B, H, W, K)` float.

    Returns:
        `(B, H, W)` float32, `logsumexp(z) - z[label]`.
    """
    log_probabilities = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    return -ops.take_along_axis(log_probabilities, label[..., None], axis=-1)[..., 0]
