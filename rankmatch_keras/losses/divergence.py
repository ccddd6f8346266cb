"""Consistency with soft labels: the student's probabilities must come near the teacher's."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import ratio
from rankmatch_keras.losses.base import Loss


@keras.saving.register_keras_serializable("rankmatch_keras")
class DivergenceLoss(Loss):
    """Kullback-Leibler divergence of the student from the teacher, `L = sum w KL(p || q) [valid] / sum [valid]`."""

    def call(self, teacher_logits, weight, valid, logits):
        """Computes the loss of a batch.

        Args:
            teacher_logits: `(B, H, W, K)` float, of which p is the softmax, without gradient.
            weight: float or bool that broadcasts to `(B, H, W)`, w, without gradient.
            valid: `(B, H, W)` bool, False on padding.
            logits: `(B, H, W, K)` float, the student's, of which q is the softmax.

        Returns:
            Scalar float32; 0 where nothing is valid.
        """
        teacher = ops.log_softmax(ops.stop_gradient(ops.cast(teacher_logits, "float32")), axis=-1)
        student = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        divergence = ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)  # (B, H, W)
        valid = ops.cast(valid, "float32")
        return ratio(ops.sum(divergence * ops.cast(weight, "float32") * valid), ops.sum(valid))
