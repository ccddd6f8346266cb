"""Supervised training on the labeled images alone, the baseline of every table."""

import keras

from rankmatch_keras.methods.base import Method


@keras.saving.register_keras_serializable("rankmatch_keras")
class SupervisedOnly(Method):
    """`L = L_sup`: cross-entropy on the labeled images (Mai et al., CVPR 2024, Eq. 1).

    Args:
        segmenter: the network to train.
        **kwargs: see `Method`.
    """

    def __init__(self, segmenter, **kwargs):
        super().__init__(segmenter, **kwargs)
        self.term_weights = {"supervised": 1.0}

    def stages(self):
        """Return the only stage."""
        return (self.labeled_stage,)

    def labeled_stage(self, batch, carry):
        """Compute the supervised loss."""
        logits = self.passes(self.segmenter, labeled=batch["labeled_image"])["logits"]
        return {"supervised": self.supervised_loss(batch["labeled_mask"], logits)}, carry
