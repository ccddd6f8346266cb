"""Pixel consistency: the student's prediction of one view against the teacher's of another."""

from collections.abc import Sequence

import keras
from keras import ops

from rankmatch_keras.backend.replicas import ratio
from rankmatch_keras.layers.pixels import masked_mean
from rankmatch_keras.losses.base import Loss, check_pixel_loss, pixel_cross_entropy, pixel_loss

NORMALIZERS = ("all", "valid", "kept", "weight", "boosted")


@keras.saving.register_keras_serializable("rankmatch_keras")
class PixelConsistencyLoss(Loss):
    """Cross-entropy against hard pseudo-labels where the teacher is confident.

    `L = sum CE(label, z) [confidence >= threshold] [valid] / sum [valid]` (Mai et al., CVPR 2024, Eq. 2-3, with
    padding left out of both sums). Few confident pixels make the loss small.

    Args:
        threshold: confidence from which a pseudo-label is kept, 0 (all) to 1.
    """

    def __init__(self, threshold: float = 0.95, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"Expected a threshold from 0 to 1. Received: threshold={threshold}")
        self.threshold = threshold

    def call(self, pseudo_label, confidence, valid, logits):
        """Compute the loss of a batch.

        Args:
            pseudo_label: `(B, H, W)` int, the teacher's class per pixel.
            confidence: `(B, H, W)` float in 0..1, its probability.
            valid: `(B, H, W)` bool, False on padding.
            logits: `(B, H, W, K)` float, the student's.

        Returns:
            Scalar float32; 0 where nothing is valid.
        """
        kept = ops.cast(confidence >= self.threshold, "float32")
        return masked_mean(pixel_cross_entropy(ops.cast(pseudo_label, "int32"), logits) * kept, valid)


def kept_fraction(confidence, threshold: float):
    """Compute the fraction of each image's pixels whose pseudo-label is kept, as a weight of the whole image.

    Args:
        confidence: `(B, H, W)` float.
        threshold: confidence from which a pseudo-label is kept.

    Returns:
        `(B, 1, 1)` float32, without gradient.
    """
    sure = ops.cast(ops.convert_to_tensor(confidence) >= threshold, "float32")
    return ops.mean(sure, axis=(1, 2), keepdims=True)


@keras.saving.register_keras_serializable("rankmatch_keras")
class WeightedConsistencyLoss(Loss):
    """Weighted cross-entropy against hard pseudo-labels, `L = sum w CE(label, z) [valid] / N`.

    Args:
        normalizer: the meaning of N:

            - `"all"`: the number of pixels, padding included (AugSeg, iMAS: with w = [confidence >= threshold]);
            - `"valid"`: the number of valid pixels (UniMatch);
            - `"kept"`: the number of valid pixels with w > 0 (with `kept_fraction` as w: CSS, Dual Teacher);
            - `"weight"`: the sum of w over the valid pixels, a weighted mean (AEL);
            - `"boosted"`: as `"kept"`, with the loss multiplied by the number of all pixels / N (U2PL, DGCL).
        kind: `"ce"` as above, `"dice"`, `"ce+dice"` or `"focal"`; see `losses.base.pixel_loss`.
        class_weights: K numbers of at least 0 that multiply the loss of each class's pixels; `None`: all equal.

    Raises:
        ValueError: the normalizer is none of these, or another argument is out of range.
    """

    def __init__(
        self,
        normalizer: str = "all",
        kind: str = "ce",
        class_weights: Sequence[float] | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kind = kind
        self.class_weights = check_pixel_loss(kind, class_weights)
        if normalizer not in NORMALIZERS:
            raise ValueError(f"Expected a normalizer of {NORMALIZERS}. Received: normalizer={normalizer!r}")
        self.normalizer = normalizer

    def call(self, pseudo_label, weight, valid, logits):
        """Compute the loss of a batch.

        Args:
            pseudo_label: `(B, H, W)` int, 0 to K - 1, or `(B, H, W, K)` float32, the probabilities of a soft label.
            weight: float or bool that broadcasts to `(B, H, W)`, not negative; no gradient flows into it.
            valid: `(B, H, W)` bool, False on padding.
            logits: `(B, H, W, K)` float, the student's.

        Returns:
            Scalar float32; 0 where nothing counts.
        """
        valid = ops.cast(valid, "float32")
        weight = ops.stop_gradient(ops.cast(weight, "float32")) * valid
        pixels, kept = ops.sum(ops.ones_like(valid)), ops.sum(ops.cast(weight > 0, "float32"))
        counts = {"all": pixels, "valid": ops.sum(valid), "weight": ops.sum(weight)}
        count, least = counts.get(self.normalizer, kept), 1e-6 if self.normalizer == "weight" else 1.0
        label = pseudo_label if len(pseudo_label.shape) == 4 else ops.cast(pseudo_label, "int32")
        loss = pixel_loss(self.kind, label, weight, count, logits, self.class_weights, least)
        return loss * ratio(pixels, kept) if self.normalizer == "boosted" else loss


@keras.saving.register_keras_serializable("rankmatch_keras")
class ProbabilityConsistencyLoss(Loss):
    """Weighted squared distance of class probabilities, `L = sum w |softmax(z) - p|^2 / N` over all N pixels.

    Args:
        classes: `"mean"` (Tarvainen and Valpola, NeurIPS 2017) or `"sum"` (French et al., BMVC 2020) of the squares of
            a pixel's K classes.

    Raises:
        ValueError: neither.
    """

    def __init__(self, classes: str = "mean", **kwargs):
        super().__init__(**kwargs)
        if classes not in ("mean", "sum"):
            raise ValueError(f"Expected classes 'mean' or 'sum'. Received: classes={classes!r}")
        self.classes = classes

    def call(self, target, weight, logits):
        """Compute the loss of a batch.

        Args:
            target: `(B, H, W, K)` float, the teacher's logits; no gradient flows into them.
            weight: float or bool that broadcasts to `(B, H, W)`, not negative.
            logits: `(B, H, W, K)` float, the student's.

        Returns:
            Scalar float32.
        """
        wanted = ops.softmax(ops.stop_gradient(ops.cast(target, "float32")), axis=-1)
        found = ops.softmax(ops.cast(logits, "float32"), axis=-1)
        reduce = ops.mean if self.classes == "mean" else ops.sum
        squares = reduce(ops.square(found - wanted), axis=-1)  # (B, H, W)
        weight = ops.stop_gradient(ops.cast(weight, "float32"))
        return masked_mean(squares * weight)
