"""DAW: UniMatch with a threshold between right and wrong predictions, and distribution alignment."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import replicas
from rankmatch_keras.layers import pseudo_labels
from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.class_memory import ClassAverages
from rankmatch_keras.methods.unimatch import UniMatch
from rankmatch_keras.models.ema import EMATeacher
from rankmatch_keras.models.segmenter import class_count


@keras.saving.register_keras_serializable("rankmatch_keras")
class DAW(UniMatch):
    """UniMatch's loss with another threshold and aligned pseudo-labels (Sun et al., NeurIPS 2023, Section 3).

    The threshold is where the confidences of right and of wrong predictions on labeled pixels are equally likely, see
    `GaussianThreshold`; it follows the batch before it is applied. Before label and confidence are taken, probabilities
    on unlabeled images are multiplied by `a_c / b_c`, moving averages of the mean confidence of the pixels predicted as
    class c on labeled and on unlabeled images, and divided by their sum.

    The EMA of the student's weights is evaluated and used for nothing else; the publication reports the better one of
    it and the student. Differences from the publication: both averages begin with 1, which aligns nothing, and where
    boxes come from a second view b follows it and the weak view one after the other.

    Args:
        segmenter: the network to train.
        threshold: the threshold before the first step.
        momentum: weight of the old value in all moving averages of confidences.
        average_decay: decay of the evaluated EMA, unless `average` is given.
        **kwargs: see `UniMatch`.
    """

    diagnostics = (*UniMatch.diagnostics, "threshold")
    own_threshold = True

    def __init__(self, segmenter, *, momentum: float = 0.99, average_decay: float = 0.999, **kwargs):
        super().__init__(segmenter, **kwargs)
        self.momentum = momentum
        self.average_decay = average_decay
        classes = class_count(segmenter)
        self.adaptive_threshold = GaussianThreshold(classes, self.threshold, momentum)
        self.labeled_confidences = ClassAverages(classes, momentum)
        self.unlabeled_confidences = ClassAverages(classes, momentum)
        if self.averaged is None:
            self.averaged = EMATeacher(segmenter, average_decay)

    def weak_stream(self, batch):
        """Return UniMatch's; threshold and alignment learn from its labeled part."""
        stream = super().weak_stream(batch)
        mask = ops.cast(batch["labeled_mask"], "int32")
        label, confidence = pseudo_labels(stream.labeled_logits)
        has_truth = mask != self.ignore_index
        self.adaptive_threshold.update(confidence, label == mask, has_truth)
        self.labeled_confidences.update(confidence, label, has_truth)
        return stream

    def pseudo_label(self, outputs, valid):
        """Return the pseudo-labels of the aligned probabilities."""
        label, confidence = pseudo_labels(outputs["logits"])
        self.unlabeled_confidences.update(confidence, label, valid)
        factors = self.labeled_confidences.values() / ops.maximum(self.unlabeled_confidences.values(), 1e-6)
        aligned = ops.cast(outputs["logits"], "float32") + ops.log(ops.maximum(factors, 1e-6))
        return super().pseudo_label({**outputs, "logits": aligned}, valid)

    def consistency(self, target, logits):
        """Compute the pixel consistency where the confidence reaches the adaptive threshold."""
        sure = target.confidence >= self.adaptive_threshold.value()
        return super().consistency(target._replace(weight=sure), logits)

    def diagnose(self, weak, threshold=None):
        """Return UniMatch's values at the adaptive threshold, and the threshold itself."""
        threshold = self.adaptive_threshold.value() if threshold is None else threshold
        return {**super().diagnose(weak, threshold), "threshold": threshold}


@keras.saving.register_keras_serializable("rankmatch_keras")
class GaussianThreshold(Float32Layer):
    """Threshold where correct predictions become likelier than wrong ones, by normal distributions of confidences.

    Mean and variance of each, on labeled pixels, move towards the batch's with a momentum, and stay where the batch has
    fewer than ten such pixels. The threshold is where the two densities are equal: the root `(-B + sqrt(B^2 - 4AC)) /
    2A` of the quadratic with `A = s+^2 - s-^2`, `B = 2 (m+ s-^2 - m- s+^2)` and `C = (m- s+)^2 - (m+ s-)^2 + 2 (s+
    s-)^2 ln(s- / s+)`, clipped to 1 / K up to 1. Without a real root it stays.

    Args:
        num_classes: number of classes K.
        initial: the threshold before the first batch.
        momentum: weight of the old value, 0 to 1.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, num_classes: int, initial: float = 0.95, momentum: float = 0.99, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= initial <= 1.0 or not 0.0 <= momentum <= 1.0:
            raise ValueError(
                f"Expected threshold and momentum from 0 to 1. Received: initial={initial}, momentum={momentum}"
            )
        self.num_classes = num_classes
        self.initial = initial
        self.momentum = momentum
        # Of correct and of wrong predictions.
        self.means = self.add_state("means", (2,), 1.0 / num_classes)
        self.variances = self.add_state("variances", (2,), 0.5)
        self.threshold = self.add_state("threshold", (), initial)

    def value(self):
        """Return the threshold, a float32 scalar."""
        return ops.convert_to_tensor(self.threshold)

    def update(self, confidence, correct, valid):
        """Move the distributions and the threshold by one labeled batch.

        Args:
            confidence: `(B, H, W)` float, of the predicted class.
            correct: `(B, H, W)` bool.
            valid: `(B, H, W)` bool, False where there is no truth.
        """
        confidence = ops.stop_gradient(ops.cast(confidence, "float32"))
        groups = [ops.logical_and(valid, correct), ops.logical_and(valid, ops.logical_not(correct))]
        counts = _sums(groups, ops.ones_like(confidence))
        means = _sums(groups, confidence) / ops.maximum(counts, 1.0)
        # Around the mean: as a difference of squares it would lose the digits of a small variance.
        spread = [ops.square(confidence - means[number]) for number in range(2)]
        variances = ops.stack([_sum(group, value) for group, value in zip(groups, spread, strict=True)])
        variances = replicas().sum(variances) / ops.maximum(counts, 1.0)
        enough = counts >= 10.0
        for state, found in ((self.means, means), (self.variances, variances)):
            old = ops.convert_to_tensor(state)
            moved = self.momentum * old + (1.0 - self.momentum) * found
            state.assign(ops.stop_gradient(ops.where(enough, moved, old)))
        self.threshold.assign(ops.stop_gradient(self._crossing()))

    def _crossing(self):
        right, wrong = (ops.convert_to_tensor(self.means)[number] for number in range(2))
        right_spread, wrong_spread = (ops.convert_to_tensor(self.variances)[number] + 1e-12 for number in range(2))
        a = right_spread - wrong_spread
        b = 2.0 * (right * wrong_spread - wrong * right_spread)
        c = ops.square(wrong) * right_spread - ops.square(right) * wrong_spread
        c = c + right_spread * wrong_spread * ops.log(wrong_spread / right_spread)  # ln s is half of ln s^2
        discriminant = ops.square(b) - 4.0 * a * c
        root = ops.sqrt(ops.maximum(discriminant, 0.0))
        # The same root in two forms: each is exact where the other takes the difference of nearly equal numbers.
        top, bottom = ops.where(b > 0.0, 2.0 * c, root - b), ops.where(b > 0.0, -b - root, 2.0 * a)
        is_real = ops.logical_and(discriminant >= 0.0, bottom != 0.0)
        crossing = ops.clip(top / ops.where(is_real, bottom, 1.0), 1.0 / self.num_classes, 1.0)
        return ops.where(is_real, crossing, self.value())


def _sum(group, value):
    return ops.sum(ops.where(group, value, 0.0))


def _sums(groups, value):
    """Return the sum over the pixels of each group, of all replicas: `(2,)`."""
    return replicas().sum(ops.stack([_sum(group, value) for group in groups]))
