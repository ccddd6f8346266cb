"""Selection of pseudo-labels: which ones count, and how much; and their alignment with the labels' classes."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import replicas
from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.pixels import class_maps

SELECTIONS = ("threshold", "adaptive", "soft", "confidence")
SHARPNESS = 2.0  # n of the truncated normal, SoftMatch Section 3.2
STRONGEST = 10.0  # largest factor of an aligned class


def everywhere_mean(values, valid):
    """Average over the valid pixels of all replicas, without gradient: `(B, H, W, ...)` to `(...)` float32."""
    valid = ops.cast(valid, "float32")
    each = valid if len(values.shape) == 3 else valid[..., None]
    total = replicas().sum(ops.sum(ops.cast(values, "float32") * each, axis=(0, 1, 2)))
    return total / ops.maximum(replicas().sum(ops.sum(valid)), 1.0)


class MovingAverages(Float32Layer):
    """Base of layers that follow the batches by moving averages.

    Args:
        momentum: weight of the old value in moving averages, 0 to 1.
    """

    def __init__(self, momentum: float = 0.99, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= momentum <= 1.0:
            raise ValueError(f"Expected a momentum from 0 to 1. Received: momentum={momentum}")
        self.momentum = momentum

    def move(self, variable, value, valid):
        """Move an average towards a batch's value, unless nothing was valid there."""
        old = ops.convert_to_tensor(variable)
        moved = self.momentum * old + (1.0 - self.momentum) * value
        some = replicas().sum(ops.sum(ops.cast(valid, "float32"))) > 0.0
        variable.assign(ops.stop_gradient(ops.where(some, moved, old)))


class Selection(MovingAverages):
    """Base of the ways to weight pseudo-labels by their confidence.

    Args:
        **kwargs: see `MovingAverages`.
    """

    def update(self, probabilities, confidence, valid):
        """Learn from the pseudo-labels of a batch.

        Args:
            probabilities: `(B, H, W, K)` float32, the teacher's.
            confidence: `(B, H, W)` float32, the largest of each pixel.
            valid: `(B, H, W)` bool, False on padding.
        """

    def call(self, label, confidence):
        """Return the weight of each pseudo-label.

        Args:
            label: `(B, H, W)` int32.
            confidence: `(B, H, W)` float32.

        Returns:
            `(B, H, W)` float32, 0 to 1, without gradient.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable("rankmatch_keras")
class FixedThreshold(Selection):
    """Weight 1 where the confidence reaches a fixed threshold, 0 elsewhere (FixMatch); 0 keeps all.

    Args:
        threshold: 0 to 1.
    """

    def __init__(self, threshold: float, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"Expected a threshold from 0 to 1. Received: threshold={threshold}")
        self.threshold = threshold

    def call(self, label, confidence):
        """See `Selection`."""
        return ops.cast(confidence >= self.threshold, "float32")


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassThreshold(Selection):
    """Weight 1 where the confidence reaches its class's threshold, 0 elsewhere (Wang et al., FreeMatch, ICLR 2023).

    With moving averages of the mean confidence, tau, and of the mean probability of each class, p_c, both beginning at
    1 / K, the threshold of class c is `tau p_c / max p` (Eq. 6-9). Classes that the teacher finds less often need less
    confidence.

    Args:
        num_classes: K.
        **kwargs: see `MovingAverages`.
    """

    def __init__(self, num_classes: int, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.confidence = self.add_state("confidence", (), 1.0 / num_classes)
        self.probabilities = self.add_state("probabilities", (num_classes,), 1.0 / num_classes)

    def update(self, probabilities, confidence, valid):
        """See `Selection`."""
        self.move(self.confidence, everywhere_mean(confidence, valid), valid)
        self.move(self.probabilities, everywhere_mean(probabilities, valid), valid)

    def thresholds(self):
        """Return the threshold of each class, `(K,)` float32."""
        probabilities = ops.convert_to_tensor(self.probabilities)
        return ops.convert_to_tensor(self.confidence) * probabilities / ops.max(probabilities)

    def call(self, label, confidence):
        """See `Selection`."""
        return ops.cast(confidence >= ops.take(self.thresholds(), label), "float32")


@keras.saving.register_keras_serializable("rankmatch_keras")
class SquaredConfidence(Selection):
    """Weight of the squared confidence, `c^2` (Hu et al., AEL, NeurIPS 2021, Section 3.4): no threshold to choose.

    While the teacher is unsure of everything, all weights are small, and labels lead.
    """

    def call(self, label, confidence):
        """See `Selection`."""
        return ops.square(ops.cast(confidence, "float32"))


@keras.saving.register_keras_serializable("rankmatch_keras")
class ConfidenceWeight(Selection):
    """Weight that falls off below the mean confidence (Chen et al., SoftMatch, ICLR 2023, Eq. 5-7).

    `exp(-min(c - mu, 0)^2 / (2 v / n^2))`, with moving averages of mean mu and variance v of the confidences, which
    begin at 1 / K and 1, and n = 2. No pseudo-label is left out, and none counts more than 1.

    Args:
        num_classes: K.
        **kwargs: see `MovingAverages`.
    """

    def __init__(self, num_classes: int, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.mean = self.add_state("mean", (), 1.0 / num_classes)
        self.variance = self.add_state("variance", (), 1.0)

    def update(self, probabilities, confidence, valid):
        """See `Selection`."""
        mean = everywhere_mean(confidence, valid)
        self.move(self.variance, everywhere_mean(ops.square(confidence - mean), valid), valid)
        self.move(self.mean, mean, valid)

    def call(self, label, confidence):
        """See `Selection`."""
        below = ops.minimum(ops.stop_gradient(confidence) - ops.convert_to_tensor(self.mean), 0.0)
        width = ops.maximum(ops.convert_to_tensor(self.variance), 1e-8) / SHARPNESS**2
        return ops.exp(-ops.square(below) / (2.0 * width))


@keras.saving.register_keras_serializable("rankmatch_keras")
class DistributionAlignment(MovingAverages):
    """Probabilities aligned with how often the labels show each class (Berthelot et al., ReMixMatch, ICLR 2020).

    `p'_c` is proportional to `p_c (l_c / u_c)^a` (Section 3.1, there with a = 1), with moving averages of the
    fraction of labeled pixels of class c, l, and of the mean probability on unlabeled pixels, u; both begin at 1 / K.
    Factors are limited to 1/10 and 10.

    Args:
        num_classes: K.
        strength: a, 0 (none) to 1.
        **kwargs: see `MovingAverages`.
    """

    def __init__(self, num_classes: int, strength: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= strength <= 1.0:
            raise ValueError(f"Expected a strength from 0 to 1. Received: strength={strength}")
        self.num_classes = num_classes
        self.strength = strength
        self.labeled = self.add_state("labeled", (num_classes,), 1.0 / num_classes)
        self.unlabeled = self.add_state("unlabeled", (num_classes,), 1.0 / num_classes)

    def update_labeled(self, mask, known):
        """Learn from labels: `(B, H, W)` int, and which of them are known, bool."""
        self.move(self.labeled, everywhere_mean(class_maps(mask, self.num_classes), known), known)

    def update(self, probabilities, confidence, valid):
        """See `Selection`; the probabilities are those before the alignment."""
        self.move(self.unlabeled, everywhere_mean(probabilities, valid), valid)

    def call(self, logits):
        """Return aligned logits `(B, H, W, K)` float32."""
        labeled, unlabeled = (ops.convert_to_tensor(average) for average in (self.labeled, self.unlabeled))
        factors = ops.clip(labeled / ops.maximum(unlabeled, 1e-6), 1.0 / STRONGEST, STRONGEST)
        return ops.cast(logits, "float32") + self.strength * ops.log(factors)
