"""FixMatch for segmentation: one strong view learns from confident pseudo-labels of the weak view."""

import keras
from keras import ops

from rankmatch_keras.methods.weak_to_strong import Teacher, WeakToStrong


@keras.saving.register_keras_serializable("rankmatch_keras")
class FixMatch(WeakToStrong):
    """`L = (L_sup + L_s) / 2` with one strong view (Sohn et al., NeurIPS 2020, as in UniMatch, CVPR 2023, Section 3.1).

    Args:
        segmenter: the network that is trained.
        threshold: smallest confidence of a pseudo-label that counts.
        **kwargs: see `Method`.
    """

    def __init__(self, segmenter, **kwargs):
        super().__init__(segmenter, **kwargs)
        self.term_weights = {"supervised": 0.5, "strong_1": 0.5}

    def weak_stage(self, batch, carry):
        """The supervised term, and pseudo-labels from the same pass."""
        self.follow()
        source = self.box_source(batch)
        num_labeled = ops.shape(batch["labeled_image"])[0]
        images = ops.concatenate([batch["labeled_image"], batch["weak_image"]])
        outputs = self.segmenter(images, training=True)
        weak = self.weak_decision(batch, {name: value[num_labeled:] for name, value in outputs.items()})
        supervised = self.supervised_loss(batch["labeled_mask"], outputs["logits"][:num_labeled])
        return {"supervised": supervised, **self.diagnose(weak)}, Teacher(weak, source)

    def strong_stage(self, batch, teacher):
        """The consistency term of the strong view."""
        view = self.strong_view(batch, 1, teacher)
        logits = self.segmenter(view.image, training=True)["logits"]
        return {"strong_1": self.consistency(view.target, logits)}, None
