"""Means over the pixels of each class, and the moving averages of them that some methods keep."""

import keras
from keras import ops

from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.replicas import replicas


def class_means(value, label, valid, num_classes: int):
    """The mean over the pixels of each class, of all replicas together, without gradient.

    Args:
        value: `(B, H, W)` float.
        label: `(B, H, W)` int; other values than 0 up to K - 1 belong to no class.
        valid: `(B, H, W)` bool: other pixels do not count.
        num_classes: K.

    Returns:
        means: `(K,)` float32, 0 where the class is absent.
        counts: `(K,)` float32, its pixels.
    """
    value = ops.stop_gradient(ops.cast(value, "float32"))
    belongs = ops.cast(label, "int32")[..., None] == ops.arange(num_classes, dtype="int32")
    belongs = ops.logical_and(belongs, ops.cast(valid, "bool")[..., None])  # (B, H, W, K)
    counts = replicas().sum(ops.sum(ops.cast(belongs, "float32"), axis=(0, 1, 2)))
    sums = replicas().sum(ops.sum(ops.where(belongs, value[..., None], 0.0), axis=(0, 1, 2)))
    return sums / ops.maximum(counts, 1.0), counts


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassAverages(Float32Layer):
    """A moving average for each class, saved with the method.

    Args:
        num_classes: number of classes K.
        momentum: share of the old average, 0 to 1.
        initial: the averages before the first batch.
        absent: what a batch without a class says of it: `"keep"` leaves its average, `"zero"` counts as a mean of 0.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, num_classes: int, momentum: float = 0.99, initial: float = 1.0, absent: str = "keep", **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= momentum <= 1.0 or absent not in ("keep", "zero"):
            raise ValueError(
                "Expected a momentum from 0 to 1 and absent 'keep' or 'zero'. "
                f"Received: momentum={momentum}, absent={absent!r}"
            )
        self.num_classes = num_classes
        self.momentum = momentum
        self.initial = initial
        self.absent = absent
        self.averages = self.add_state("averages", (num_classes,), initial)

    def values(self):
        """The averages `(K,)` float32."""
        return ops.convert_to_tensor(self.averages)

    def update(self, value, label, valid):
        """Takes in one batch; arguments as of `class_means`."""
        means, counts = class_means(value, label, valid, self.num_classes)
        moved = self.momentum * self.values() + (1.0 - self.momentum) * means
        if self.absent == "keep":
            moved = ops.where(counts > 0, moved, self.values())
        self.averages.assign(ops.stop_gradient(moved))
