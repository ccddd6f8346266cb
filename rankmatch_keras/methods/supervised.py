"""Supervised only: what the labelled images alone can teach; the baseline of every table."""

import keras

from rankmatch_keras.methods.base import Method


@keras.saving.register_keras_serializable("rankmatch_keras")
class SupervisedOnly(Method):
    """`L = L_sup`: cross-entropy on the labelled images (Mai et al., CVPR 2024, Eq. 1).

    Args:
        segmenter: the network that is trained.
        **kwargs: see `Method`.
    """

    def __init__(self, segmenter, **kwargs):
        super().__init__(segmenter, **kwargs)
        self.term_weights = {"supervised": 1.0}

    def stages(self):
        """One stage."""
        return (self.labeled_stage,)

    def labeled_stage(self, batch, carry):
        """The supervised loss alone."""
        logits = self.segmenter(batch["labeled_image"], training=True)["logits"]
        return {"supervised": self.supervised_loss(batch["labeled_mask"], logits)}, carry
