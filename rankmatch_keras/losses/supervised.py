"""Supervised loss on labeled pixels (RankMatch, Eq. 1), with optional online hard example mining."""

import keras
from keras import ops

from rankmatch_keras.layers.pixels import masked_mean
from rankmatch_keras.losses.base import Loss, pixel_cross_entropy


@keras.saving.register_keras_serializable("rankmatch_keras")
class SupervisedLoss(Loss):
    """Mean cross-entropy over the labeled pixels, those not ignored (Mai et al., CVPR 2024, Eq. 1).

    With `ohem=(threshold, min_kept)` only hard pixels count: those whose probability of the true class is at most
    the larger of `threshold` and the `min_kept`-th smallest probability of the batch. With fewer than `min_kept`
    labeled pixels all count. With several replicas each one mines its own part of the batch.

    Args:
        ignore_index: mask value of pixels without a label.
        ohem: `None`, or `(threshold in (0, 1], min_kept >= 1)`; Cityscapes uses (0.7, 200000).
    """

    def __init__(self, ignore_index: int = 255, ohem: tuple[float, int] | None = None, **kwargs):
        super().__init__(**kwargs)
        if ohem is not None:
            threshold, min_kept = ohem
            if not 0.0 < threshold <= 1.0 or min_kept < 1:
                raise ValueError(f"Expected ohem=(threshold in (0, 1], min_kept >= 1). Received: ohem={ohem}")
            ohem = (float(threshold), int(min_kept))
        self.ignore_index = ignore_index
        self.ohem = ohem

    def call(self, mask, logits):
        """Compute the loss of a batch.

        Args:
            mask: `(B, H, W)` int, class ids or `ignore_index`.
            logits: `(B, H, W, K)` float.

        Returns:
            Scalar float32; 0 where every pixel is ignored.
        """
        mask = ops.cast(mask, "int32")
        labeled = mask != self.ignore_index
        cross_entropy = pixel_cross_entropy(ops.where(labeled, mask, 0), logits)
        kept = labeled if self.ohem is None else self.hard_pixels(cross_entropy, labeled, *self.ohem)
        return masked_mean(cross_entropy, kept)

    def hard_pixels(self, cross_entropy, labeled, threshold, min_kept):
        """Mark the pixels that hard example mining keeps: `(B, H, W)` bool."""
        # Large cross-entropy = small probability; unlabeled pixels sort last.
        flat = ops.reshape(ops.where(labeled, ops.stop_gradient(cross_entropy), -1.0), (-1,))
        if flat.shape[0] is not None and flat.shape[0] <= min_kept:
            return labeled
        kth_largest = ops.top_k(flat, min_kept)[0][-1]  # -1 where fewer than min_kept pixels are labeled
        limit = ops.minimum(kth_largest, -ops.log(threshold))
        return ops.logical_and(labeled, ops.stop_gradient(cross_entropy) >= limit)
