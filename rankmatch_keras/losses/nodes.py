"""Binary cross-entropy at every node of a tree of classes."""

from collections.abc import Sequence

import keras
from keras import ops

from rankmatch_keras.backend.replicas import ratio
from rankmatch_keras.layers.class_tree import ClassTree
from rankmatch_keras.losses.base import FOCUS, dice_of, weight_of_class
from rankmatch_keras.losses.supervised import LabeledLoss


@keras.saving.register_keras_serializable("rankmatch_keras")
class NodeLoss(LabeledLoss):
    """Mean over the labeled pixels of the binary cross-entropies at all nodes of a tree of classes, summed.

    The nodes on the path of a pixel's class are 1, all others 0. The sum gives the gradient of a node's logit,
    `sigmoid(z) - y`, the size that it has in a cross-entropy of classes; a mean would divide it by the number of nodes.

    Args:
        parents: the tree, see `ClassTree`.
        ignore_index: mask value of pixels without a label.
        ohem: as in `SupervisedLoss`; the probability of a class is the product along its path.
        kind: `"ce"` as above; `"focal"`: the cross-entropy of a node times `(1 - p_y)^2`; `"dice"`: Dice loss of the
            nodes that the labels show; `"ce+dice"`: the mean of both.
        class_weights: K numbers of at least 0 that weight each class's pixels; `None`: all equal.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        parents: Sequence[int],
        ignore_index: int = 255,
        ohem: tuple[float, int] | None = None,
        kind: str = "ce",
        class_weights: Sequence[float] | None = None,
        **kwargs,
    ):
        super().__init__(ignore_index, ohem, kind, class_weights, **kwargs)
        self.parents = tuple(parents)
        self.tree = ClassTree(self.parents)

    def truth(self, label):
        """Return which nodes lie on the path of each pixel's class: `(B, H, W)` int to `(B, H, W, N)` float32."""
        return ops.take(ops.convert_to_tensor(self.tree.paths), label, axis=0)

    def class_cross_entropy(self, label, logits):
        """Compute minus the logarithm of the product along the path of the true class, `(B, H, W)`."""
        return ops.sum(self.truth(label) * ops.softplus(-ops.cast(logits, "float32")), axis=-1)

    def weighted_loss(self, label, weight, count, logits, least):
        """Compute the loss of weighted pixels from the nodes' logits `(B, H, W, N)`."""
        truth, logits = self.truth(label), ops.cast(logits, "float32")
        if self.class_weights is not None:
            weight = weight * weight_of_class(label, self.class_weights)
        dice = dice_of(truth, ops.sigmoid(logits), weight) if "dice" in self.kind else 0.0
        if self.kind == "dice":
            return dice
        cross_entropy = ops.softplus(logits) - truth * logits  # (B, H, W, N)
        if self.kind == "focal":
            cross_entropy = cross_entropy * (1.0 - ops.exp(-cross_entropy)) ** FOCUS
        mean = ratio(ops.sum(ops.sum(cross_entropy, axis=-1) * weight), count, least)
        return 0.5 * (mean + dice) if self.kind == "ce+dice" else mean
