"""Predictions and labels spread along the correlations of an image's own pixels: the propagations of CorrMatch."""

from typing import Any, NamedTuple

import keras
from keras import layers, ops

from rankmatch_keras.layers.base import ConfigFromArguments
from rankmatch_keras.layers.resize import resize_align_corners

EPSILON = 1e-12
MARGIN = 1e-4  # pixels halfway between the least and the largest are common, and rounding must not decide on them


class Propagated(NamedTuple):
    """What `CorrelationPropagation` gives."""

    logits: Any  # (B, H, W, K) float32
    correlation: Any  # (B, h w, h w) float32, each row sums to 1


@keras.saving.register_keras_serializable("rankmatch_keras")
class CorrelationPropagation(ConfigFromArguments, layers.Layer):
    """Spreads an image's logits over the pixels that look alike (Sun et al., CVPR 2024, Eq. 4-5).

    Two 1x1 convolutions of K channels turn the feature map into A and B; `C = softmax(A B^T / sqrt(K))` over the second
    pixel; the second output at pixel j is `sum_i C_ij z_i`, with the logits z at the grid of the features and without
    gradient. B has no bias, which the softmax would cancel.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.sender = layers.Conv2D(num_classes, 1, dtype=self.dtype_policy, name="sender")
        self.receiver = layers.Conv2D(num_classes, 1, use_bias=False, dtype=self.dtype_policy, name="receiver")

    def build(self, features_shape, logits_shape=None):
        """Builds both convolutions for the channels of the feature map."""
        self.sender.build(features_shape)
        self.receiver.build(features_shape)
        self.built = True

    def call(self, features, logits):
        """Propagates.

        Args:
            features: `(B, h, w, D)`, through which the gradient flows.
            logits: `(B, H, W, K)` float32.

        Returns:
            `Propagated`.
        """
        _, height, width, _ = ops.shape(features)
        flat = (-1, height * width, self.num_classes)
        sender, receiver = (
            ops.reshape(ops.cast(half(features), "float32"), flat) for half in (self.sender, self.receiver)
        )
        scores = ops.matmul(sender, ops.transpose(receiver, (0, 2, 1))) / self.num_classes**0.5
        correlation = ops.softmax(scores, axis=-1)  # (B, hw, hw)
        coarse = resize_align_corners(ops.stop_gradient(ops.cast(logits, "float32")), (height, width))
        spread = ops.matmul(ops.transpose(correlation, (0, 2, 1)), ops.reshape(coarse, flat))  # (B, hw, K)
        spread = ops.reshape(spread, (-1, height, width, self.num_classes))
        return Propagated(resize_align_corners(spread, ops.shape(logits)[1:3]), correlation)


def correlated_regions(correlation, grid, size):
    """Turns rows of a correlation into regions: where the row, between its least and largest, is above one half.

    Args:
        correlation: `(B, M, h w)` float, M rows.
        grid: `(h, w)`, ints.
        size: `(H, W)` of the regions, ints.

    Returns:
        `(B, M, H, W)` bool.
    """
    rows = ops.shape(correlation)[1]
    # As channels of one map, which is resized in one go.
    maps = ops.reshape(ops.transpose(ops.stop_gradient(correlation), (0, 2, 1)), (-1, *grid, rows))
    maps = resize_align_corners(maps, size)
    low, high = ops.min(maps, axis=(1, 2), keepdims=True), ops.max(maps, axis=(1, 2), keepdims=True)
    return ops.transpose((maps - low) > (0.5 + MARGIN) * ops.maximum(high - low, EPSILON), (0, 3, 1, 2))


def propagate_labels(label, sure, regions, threshold, num_classes: int):
    """Gives a whole region the class of its sure pixels where these are many and agree (Sun et al., Eq. 6-7).

    A region is taken if the share of its pixels that are sure reaches the threshold, and the share of the most frequent
    class among those exceeds it. All regions vote by the labels as they come in; where several are taken, the last one
    wins.

    Args:
        label: `(B, H, W)` int32.
        sure: `(B, H, W)` bool.
        regions: `(B, M, H, W)` bool.
        threshold: float scalar, 0 to 1.
        num_classes: K.

    Returns:
        The new `label` and `sure`, of the same shapes, without gradient.
    """
    _, count, height, width = ops.shape(regions)
    inside = ops.reshape(ops.cast(regions, "float32"), (-1, count, height * width))
    votes = ops.one_hot(label, num_classes, dtype="float32") * ops.cast(sure, "float32")[..., None]
    votes = ops.matmul(inside, ops.reshape(votes, (-1, height * width, num_classes)))  # (B, M, K)
    voters, most = ops.sum(votes, axis=-1), ops.max(votes, axis=-1)  # (B, M)
    size = ops.sum(inside, axis=-1)
    taken = ops.logical_and(voters >= threshold * size, most > threshold * voters)
    winners = ops.cast(ops.argmax(votes, axis=-1), "int32")  # (B, M)
    taken = ops.logical_and(regions, taken[..., None, None])
    order = ops.reshape(ops.arange(1, count + 1, dtype="int32"), (1, count, 1, 1))
    last = ops.max(ops.where(taken, order, 0), axis=1)  # (B, H, W), 0 where none is taken
    flat = ops.reshape(ops.maximum(last - 1, 0), (-1, height * width))
    new = ops.reshape(ops.take_along_axis(winners, flat, axis=1), ops.shape(label))
    return ops.where(last > 0, new, label), ops.logical_or(sure, last > 0)
