"""Supervised loss on labeled pixels (RankMatch, Eq. 1); also Dice or focal loss, class weights, hard examples."""

from collections.abc import Sequence

import keras
from keras import ops

from rankmatch_keras.losses.base import Loss, check_pixel_loss, pixel_cross_entropy, pixel_loss, weight_of_class


class LabeledLoss(Loss):
    """Base of the losses of labeled pixels: which of them count, see `SupervisedLoss`."""

    def __init__(
        self,
        ignore_index: int = 255,
        ohem: tuple[float, int] | None = None,
        kind: str = "ce",
        class_weights: Sequence[float] | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kind = kind
        self.class_weights = check_pixel_loss(kind, class_weights)
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
        label, kept = ops.where(labeled, mask, 0), labeled
        if self.ohem is not None:
            kept = self.hard_pixels(self.class_cross_entropy(label, logits), labeled, *self.ohem)
        weight = ops.cast(kept, "float32")
        count, least = ops.sum(weight), 1.0
        if self.class_weights is not None:  # the mean of a weighted cross-entropy divides by the weights
            count, least = ops.sum(weight * weight_of_class(label, self.class_weights)), 1e-6
        return self.weighted_loss(label, weight, count, logits, least)

    def class_cross_entropy(self, label, logits):
        """Compute minus the logarithm of the probability of each pixel's class, `(B, H, W)`."""
        raise NotImplementedError

    def weighted_loss(self, label, weight, count, logits, least):
        """Compute the loss of weighted pixels; the arguments are those of `losses.base.pixel_loss`."""
        raise NotImplementedError

    def hard_pixels(self, cross_entropy, labeled, threshold, min_kept):
        """Mark the pixels that hard example mining keeps: `(B, H, W)` bool."""
        # Large cross-entropy = small probability; unlabeled pixels sort last.
        flat = ops.reshape(ops.where(labeled, ops.stop_gradient(cross_entropy), -1.0), (-1,))
        if flat.shape[0] is not None and flat.shape[0] <= min_kept:
            return labeled
        kth_largest = ops.top_k(flat, min_kept)[0][-1]  # -1 where fewer than min_kept pixels are labeled
        limit = ops.minimum(kth_largest, -ops.log(threshold))
        return ops.logical_and(labeled, ops.stop_gradient(cross_entropy) >= limit)


@keras.saving.register_keras_serializable("rankmatch_keras")
class SupervisedLoss(LabeledLoss):
    """Mean cross-entropy over the labeled pixels, those not ignored (Mai et al., CVPR 2024, Eq. 1).

    With `ohem=(threshold, min_kept)` only hard pixels count: those whose probability of the true class is at most
    the larger of `threshold` and the `min_kept`-th smallest probability of the batch. With fewer than `min_kept`
    labeled pixels all count. With several replicas each one mines its own part of the batch.

    Args:
        ignore_index: mask value of pixels without a label.
        ohem: `None`, or `(threshold in (0, 1], min_kept >= 1)`; Cityscapes uses (0.7, 200000).
        kind: `"ce"`, the published loss, `"dice"`, `"ce+dice"` or `"focal"`; see `losses.base.pixel_loss`.
        class_weights: K numbers of at least 0 that multiply the loss of each class's pixels; `None`: all equal.

    Raises:
        ValueError: an argument is out of range.
    """

    def class_cross_entropy(self, label, logits):
        """Compute minus the logarithm of the probability of each pixel's class, `(B, H, W)`."""
        return pixel_cross_entropy(label, logits)

    def weighted_loss(self, label, weight, count, logits, least):
        """Compute the loss of weighted pixels, see `losses.base.pixel_loss`."""
        return pixel_loss(self.kind, label, weight, count, logits, self.class_weights, least)
