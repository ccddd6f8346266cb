"""Pixel contrast: representations move towards those of their class and away from those of others."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import ratio, replicas
from rankmatch_keras.layers.pixels import unit_length
from rankmatch_keras.losses.base import Loss

LEFT_OUT = -1e4  # a similarity whose exponential is 0


def info_nce(anchors, positives, negatives, counted, temperature: float):
    """Compute `-log(exp(a.p / T) / (exp(a.p / T) + sum_n exp(a.n / T)))` of each anchor, with cosines for dot products.

    Args:
        anchors: `(C, A, D)` float.
        positives: `(C, A, D)` float, or `(C, 1, D)` for all anchors of a class.
        negatives: `(C, M, D)` float.
        counted: `(C, A, M)` or `(C, 1, M)` bool, the negatives to use.
        temperature: T, above 0.

    Returns:
        `(C, A)` float; 0 without negatives.
    """
    anchors = unit_length(anchors)
    own = ops.sum(anchors * unit_length(positives), axis=-1, keepdims=True) / temperature  # (C, A, 1)
    others = ops.matmul(anchors, ops.transpose(unit_length(negatives), (0, 2, 1))) / temperature  # (C, A, M)
    others = ops.where(counted, others, LEFT_OUT)
    return ops.logsumexp(ops.concatenate([own, others], axis=-1), axis=-1) - own[..., 0]


@keras.saving.register_keras_serializable("rankmatch_keras")
class ContrastiveLoss(Loss):
    """Mean InfoNCE (van den Oord et al., 2018) of the anchors of each class, averaged over the classes with any.

    An anchor counts where it is chosen and has a negative. With several replicas the means are those of all anchors.

    Args:
        temperature: above 0.

    Raises:
        ValueError: the temperature is out of range.
    """

    def __init__(self, temperature: float = 0.5, **kwargs):
        super().__init__(**kwargs)
        if temperature <= 0.0:
            raise ValueError(f"Expected a temperature above 0. Received: temperature={temperature}")
        self.temperature = temperature

    def call(self, anchors, chosen, positives, negatives, counted):
        """Compute the loss.

        Args:
            anchors: `(C, A, D)` float, with gradient.
            chosen: `(C, A)` bool, the anchors to use.
            positives: `(C, A, D)` float, or `(C, 1, D)` for all anchors of a class; without gradient.
            negatives: `(C, M, D)` float; without gradient.
            counted: `(C, A, M)` or `(C, 1, M)` bool, the negatives to use.

        Returns:
            Scalar float32; 0 where no anchor counts.
        """
        positives, negatives = ops.stop_gradient(positives), ops.stop_gradient(negatives)
        per_anchor = info_nce(anchors, positives, negatives, counted, self.temperature)
        weight = ops.cast(ops.logical_and(chosen, ops.any(counted, axis=-1)), "float32")  # (C, A)
        count = ops.sum(weight, axis=1)
        per_class = ratio(ops.sum(per_anchor * weight, axis=1), count)
        present = ops.cast(replicas().sum(count) > 0.0, "float32")
        return ops.sum(per_class) / ops.maximum(ops.sum(present), 1.0)
