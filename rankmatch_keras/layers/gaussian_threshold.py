"""A confidence threshold where correct predictions become likelier than wrong ones (DAW)."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import replicas
from rankmatch_keras.layers.base import Float32Layer


@keras.saving.register_keras_serializable("rankmatch_keras")
class GaussianThreshold(Float32Layer):
    """Follows the confidences of correct and of wrong predictions on labelled pixels as two normal distributions.

    Mean and variance of each move towards the batch's with a momentum, and stay where the batch has fewer than ten
    such pixels. The threshold is where the two densities are equal: the root `(-B + sqrt(B^2 - 4AC)) / 2A` of the
    quadratic with `A = s+^2 - s-^2`, `B = 2 (m+ s-^2 - m- s+^2)` and
    `C = (m- s+)^2 - (m+ s-)^2 + 2 (s+ s-)^2 ln(s- / s+)`, clipped to 1 / K up to 1. Without a real root it stays.

    Args:
        num_classes: number of classes K.
        initial: the threshold before the first batch.
        momentum: share of the old value, 0 to 1.

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
        """The threshold, a float32 scalar."""
        return ops.convert_to_tensor(self.threshold)

    def update(self, confidence, correct, valid):
        """Takes in one labelled batch.

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
    """Sum over the pixels of each group, of all replicas: `(2,)`."""
    return replicas().sum(ops.stack([_sum(group, value) for group in groups]))
