"""Consistency with soft labels: all pixels teach, the unsure ones several classes at once."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import ratio
from rankmatch_keras.losses.base import Loss


@keras.saving.register_keras_serializable("rankmatch_keras")
class SoftConsistencyLoss(Loss):
    """Cross-entropy against soft labels, `L = -sum_valid sum_c y_c log p_c / sum [valid]` (Ma et al., ICCV 2023)."""

    def call(self, soft_label, valid, logits):
        """Computes the loss of a batch.

        Args:
            soft_label: `(B, H, W, K)` float that sums to 1; no gradient flows into it.
            valid: `(B, H, W)` bool, False on padding.
            logits: `(B, H, W, K)` float, the student's.

        Returns:
            Scalar float32; 0 where nothing is valid.
        """
        valid = ops.cast(valid, "float32")
        log_probabilities = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        cross_entropy = -ops.sum(ops.stop_gradient(soft_label) * log_probabilities, axis=-1)
        return ratio(ops.sum(cross_entropy * valid), ops.sum(valid))
