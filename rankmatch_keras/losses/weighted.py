"""Consistency with weighted pixels: the normalisations of the published methods beside UniMatch's."""

import keras
from keras import ops

from rankmatch_keras.layers.replicas import ratio
from rankmatch_keras.losses.base import Loss, pixel_cross_entropy

NORMALIZERS = ("all", "valid", "kept", "weight", "boosted")


def image_rate(confidence, threshold: float):
    """Share of each image's pixels whose confidence reaches the threshold, the weight of the whole image.

    Args:
        confidence: `(B, H, W)` float.
        threshold: smallest confidence that counts.

    Returns:
        `(B, 1, 1)` float32, without gradient.
    """
    sure = ops.cast(ops.convert_to_tensor(confidence) >= threshold, "float32")
    return ops.mean(sure, axis=(1, 2), keepdims=True)


@keras.saving.register_keras_serializable("rankmatch_keras")
class WeightedConsistencyLoss(Loss):
    """Cross-entropy against hard pseudo-labels, `L = sum w CE(label, z) [valid] / N`, with a weight w for each pixel.

    Args:
        normalizer: what N is:

            - "all": the number of pixels, padding included (AugSeg, iMAS: with w = [confidence >= threshold]);
            - "valid": that of the valid pixels (UniMatch);
            - "kept": that of the valid pixels with w > 0 (with `image_rate` as w: CSS, Dual Teacher);
            - "weight": the sum of w over the valid pixels, a weighted mean (AEL);
            - "boosted": as "kept", and the loss grows by the number of all pixels / N where few are kept (U2PL, DGCL).

    Raises:
        ValueError: the normaliser is none of these.
    """

    def __init__(self, normalizer: str = "all", **kwargs):
        super().__init__(**kwargs)
        if normalizer not in NORMALIZERS:
            raise ValueError(f"Expected a normalizer of {NORMALIZERS}. Received: normalizer={normalizer!r}")
        self.normalizer = normalizer

    def call(self, pseudo_label, weight, valid, logits):
        """Computes the loss of a batch.

        Args:
            pseudo_label: `(B, H, W)` int, 0 up to K - 1.
            weight: float or bool that broadcasts to `(B, H, W)`, not negative; no gradient flows into it.
            valid: `(B, H, W)` bool, False on padding.
            logits: `(B, H, W, K)` float, the student's.

        Returns:
            Scalar float32; 0 where nothing counts.
        """
        valid = ops.cast(valid, "float32")
        weight = ops.stop_gradient(ops.cast(weight, "float32")) * valid
        total = ops.sum(pixel_cross_entropy(ops.cast(pseudo_label, "int32"), logits) * weight)
        if self.normalizer == "weight":
            return ratio(total, ops.sum(weight), least=1e-6)
        if self.normalizer == "valid":
            return ratio(total, ops.sum(valid))
        pixels = ops.sum(ops.ones_like(valid))
        if self.normalizer == "all":
            return ratio(total, pixels)
        kept = ops.sum(ops.cast(weight > 0, "float32"))
        loss = ratio(total, kept)
        return loss * ratio(pixels, kept) if self.normalizer == "boosted" else loss
