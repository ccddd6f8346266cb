"""Pixel consistency: strong views must agree with confident pseudo-labels of the weak view."""

import keras
from keras import ops

from rankmatch_keras.layers.replicas import ratio
from rankmatch_keras.losses.base import Loss, pixel_cross_entropy


@keras.saving.register_keras_serializable("rankmatch_keras")
class PixelConsistencyLoss(Loss):
    """Cross-entropy against hard pseudo-labels where the teacher is sure.

    `L = sum CE(label, z) [confidence >= threshold] [valid] / sum [valid]` (Mai et al., CVPR 2024, Eq. 2-3, with
    padding left out of sum and normaliser). Few confident pixels make the loss small.

    Args:
        threshold: smallest confidence that counts, 0 (all pixels) to 1.
    """

    def __init__(self, threshold: float = 0.95, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"Expected a threshold from 0 to 1. Received: threshold={threshold}")
        self.threshold = threshold

    def call(self, pseudo_label, confidence, valid, logits):
        """Computes the loss of a batch.

        Args:
            pseudo_label: `(B, H, W)` int, the teacher's class per pixel.
            confidence: `(B, H, W)` float in 0..1, its probability.
            valid: `(B, H, W)` bool, False on padding.
            logits: `(B, H, W, K)` float, the student's.

        Returns:
            Scalar float32; 0 where nothing is valid.
        """
        valid = ops.cast(valid, "float32")
        counted = valid * ops.cast(confidence >= self.threshold, "float32")
        cross_entropy = pixel_cross_entropy(ops.cast(pseudo_label, "int32"), logits)
        return ratio(ops.sum(cross_entropy * counted), ops.sum(valid))
