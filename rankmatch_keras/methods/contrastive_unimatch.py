"""UniMatch with U2PL's contrast, the baseline that RankMatch's article compares its correlations with."""

import keras
from keras import ops

from rankmatch_keras.layers.clock import Clock
from rankmatch_keras.layers.pseudo_labels import pixel_entropy
from rankmatch_keras.methods.base import joined_when_replicated
from rankmatch_keras.methods.contrastive import mask_and_known
from rankmatch_keras.methods.u2pl import DROPPED, U2PL, UnreliableContrast
from rankmatch_keras.methods.unimatch import UniMatch
from rankmatch_keras.models.deeplab_v3_plus import representation_head
from rankmatch_keras.models.segmenter import class_count, decoded_channels


@keras.saving.register_keras_serializable("rankmatch_keras")
class ContrastiveUniMatch(UniMatch):
    """`L = L_UniMatch + w L_c` with U2PL's contrast L_c (Mai et al., CVPR 2024, Table 4, "Contrastive").

    As in UniMatch the student labels itself: labeled images and the weak view are contrasted by its own predictions,
    see `u2pl.UnreliableContrast`. The article does not give w; here L_c weighs as much as the supervised term, as in
    U2PL.

    Args:
        segmenter: the network to train.
        total_steps: batches of the whole run.
        contrast_weight: w.
        channels: length of the representations.
        stride: every `stride`-th pixel of the decoder's map has a representation.
        capacity: negatives kept per class; 21 classes take 645 MB with 30000.
        added: negatives stored per class and step, at most.
        anchors: anchors per class and step.
        negatives: negatives per class and step.
        **kwargs: see `UniMatch`.
    """

    def __init__(
        self,
        segmenter,
        *,
        total_steps: int,
        contrast_weight: float = 0.5,
        channels: int = 256,
        stride: int = 2,
        capacity: int = 30000,
        added: int = 512,
        anchors: int = 256,
        negatives: int = 50,
        **kwargs,
    ):
        super().__init__(segmenter, total_steps=total_steps, **kwargs)
        self.contrast_weight = contrast_weight
        self.channels = channels
        self.stride = stride
        self.capacity = capacity
        self.added = added
        self.anchors = anchors
        self.negatives = negatives
        self.clock = Clock(total_steps)
        self.head = representation_head(decoded_channels(segmenter), channels, **U2PL.head_layers)
        self.contrast = UnreliableContrast(
            class_count(segmenter), channels, capacity, added, anchors, negatives, seed=self.seed
        )
        self.term_weights = {**self.term_weights, "contrast": contrast_weight}

    @property
    def heads(self):
        """Representation head."""
        return (self.head,)

    def stages(self):
        """Return UniMatch's stages; the first one uses the head."""
        return joined_when_replicated(super().stages())

    def weak_kinds(self, batch, dropped=False):
        """Return labeled images and weak view: the contrast reads the student's pass of both."""
        return super().weak_kinds(batch, dropped=True)

    def weak_terms(self, batch, stream):
        """Compute the contrast."""
        share = DROPPED * (1.0 - self.clock.progress())
        self.clock.tick()
        pixels = stream.clean["decoded"][:, :: self.stride, :: self.stride]
        representation = ops.cast(self.head(pixels, training=True), "float32")
        logits = ops.stop_gradient(stream.clean["logits"])
        truth, known = mask_and_known(batch, self.ignore_index)
        contrast = self.contrast(
            representation,
            ops.stop_gradient(representation),
            logits,
            ops.concatenate([truth, stream.weak.label]),
            ops.concatenate([known, ops.cast(stream.weak.valid, "bool")]),
            pixel_entropy(logits),
            share=share,
            num_labeled=ops.shape(truth)[0],
        )
        return {"contrast": contrast}
