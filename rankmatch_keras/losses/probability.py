"""Squared distance of two networks' class probabilities, the consistency of Mean Teacher and its descendants."""

import keras
from keras import ops

from rankmatch_keras.layers.replicas import ratio
from rankmatch_keras.losses.base import Loss


@keras.saving.register_keras_serializable("rankmatch_keras")
class ProbabilityConsistencyLoss(Loss):
    """`L = sum w |softmax(z) - p|^2 / N` over the N pixels of the batch, with a weight w for each.

    Args:
        classes: `"mean"`: of the squares of a pixel's K classes (Tarvainen and Valpola, NeurIPS 2017), or their
            `"sum"` (French et al., BMVC 2020).

    Raises:
        ValueError: neither.
    """

    def __init__(self, classes: str = "mean", **kwargs):
        super().__init__(**kwargs)
        if classes not in ("mean", "sum"):
            raise ValueError(f"Expected classes 'mean' or 'sum'. Received: classes={classes!r}")
        self.classes = classes

    def call(self, target, weight, logits):
        """Computes the loss of a batch.

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
        return ratio(ops.sum(squares * weight), ops.sum(ops.ones_like(squares)))
