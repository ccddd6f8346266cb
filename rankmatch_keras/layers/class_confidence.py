"""A confidence threshold that follows the teacher: CorrMatch's."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import gather
from rankmatch_keras.layers.base import Float32Layer


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassConfidenceThreshold(Float32Layer):
    """The moving average of how sure the teacher is of the surest pixel of each class (Sun et al., CVPR 2024, Eq. 8).

    `tau <- momentum * tau + (1 - momentum) * mean_c max {confidence of a valid pixel labelled c}`, the mean over the
    classes that the batch shows; without any valid pixel it stays. Its state is saved with the method.

    Args:
        initial: the threshold before the first step, 0 to 1.
        momentum: 0 to 1.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, initial: float = 0.85, momentum: float = 0.999, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= initial <= 1.0 or not 0.0 <= momentum <= 1.0:
            raise ValueError(f"Expected values from 0 to 1. Received: initial={initial}, momentum={momentum}")
        self.initial = initial
        self.momentum = momentum
        self.threshold = self.add_state("threshold", initial=initial)

    def value(self):
        """The threshold, float32 scalar without gradient."""
        return ops.stop_gradient(ops.convert_to_tensor(self.threshold))

    def update(self, label, confidence, valid, num_classes: int):
        """Moves the threshold by one batch of all replicas.

        Args:
            label: `(B, H, W)` int32, the teacher's classes.
            confidence: `(B, H, W)` float32 above 0.
            valid: `(B, H, W)` bool.
            num_classes: K.
        """
        sure = ops.where(valid, confidence, 0.0)[..., None] * ops.one_hot(label, num_classes, dtype="float32")
        surest = ops.max(gather(ops.max(sure, axis=(0, 1, 2))[None]), axis=0)  # (K,), 0 for an absent class
        present = ops.cast(surest > 0, "float32")
        mean = ops.sum(surest) / ops.maximum(ops.sum(present), 1.0)
        now = self.value()
        moved = self.momentum * now + (1.0 - self.momentum) * mean
        self.threshold.assign(ops.stop_gradient(ops.where(ops.max(present) > 0, moved, now)))
