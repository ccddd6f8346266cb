"""Diverse Co-training: two networks of different architecture label for each other where they are confident."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import ratio
from rankmatch_keras.layers import box_mask, mix, pseudo_labels
from rankmatch_keras.losses import PixelConsistencyLoss
from rankmatch_keras.methods.base import LABELED
from rankmatch_keras.methods.cps import TwoNetworks, agreement
from rankmatch_keras.methods.teachers import partners


@keras.saving.register_keras_serializable("rankmatch_keras")
class CoTraining(TwoNetworks):
    """`L = 1/2 sum_i (L_sup_i + w L_i)` over two networks (Li et al., ICCV 2023: Diverse Cotraining, Section 4).

    L_i is the cross-entropy of network i on a strong view of its own against the hard labels of the other network on
    the weak view, where that network's confidence reaches the threshold. Both strong views have the same box, from the
    image at the other end of the batch.

    Differences from the publication: both networks see colors. There the second one may see frequencies (DCT), and a
    third network may join.

    Args:
        segmenter: the first network, which predicts after the training.
        second: a network of another architecture.
        threshold: smallest confidence of a pseudo-label that is kept.
        weight: w.
        **kwargs: see `Method`.
    """

    diagnostics = ("mask_ratio", "agreement")
    required: tuple[str, ...] = (
        *LABELED,
        "weak_image",
        "strong_image_1",
        "strong_image_2",
        "valid",
        "cutmix_box_1",
    )

    def __init__(self, segmenter, second, *, threshold: float = 0.95, weight: float = 1.0, **kwargs):
        super().__init__(segmenter, second, **kwargs)
        self.threshold = threshold
        self.weight = weight
        self.consistency_loss = PixelConsistencyLoss(threshold)
        halves = {"supervised_1": 0.5, "supervised_2": 0.5}
        self.term_weights = {**halves, "cross_1": weight / 2, "cross_2": weight / 2}

    def network_stages(self):
        """Return the stages: the weak view of each network, then the strong view of each."""
        return (self.first_weak_stage, self.second_weak_stage, self.first_strong_stage, self.second_strong_stage)

    def first_weak_stage(self, batch, carry):
        """Compute the supervised term and the pseudo-labels of the first network."""
        return self.weak_terms(1, batch)

    def second_weak_stage(self, batch, first):
        """Compute the supervised term and the pseudo-labels of the second network, and keep the first one's."""
        terms, second = self.weak_terms(2, batch)
        valid = ops.cast(batch["valid"], "float32")
        sure = sum(ops.cast(confidence >= self.threshold, "float32") for _, confidence in (first, second)) / 2.0
        terms["mask_ratio"] = ratio(ops.sum(sure * valid), ops.sum(valid))
        terms["agreement"] = agreement(first[0], second[0], valid)
        return terms, (first, second)

    def first_strong_stage(self, batch, decisions):
        """Compute the term by which the first network learns from the second."""
        return {"cross_1": self.cross(1, batch, decisions[1])}, decisions

    def second_strong_stage(self, batch, decisions):
        """Compute the term by which the second network learns from the first."""
        return {"cross_2": self.cross(2, batch, decisions[0])}, None

    def weak_terms(self, number, batch):
        """Compute a network's supervised term, and its labels and confidences `(B, H, W)` on the weak view."""
        num_labeled = ops.shape(batch["labeled_image"])[0]
        network = self.students[number - 1]
        logits = self.passes(network, labeled=batch["labeled_image"], weak=batch["weak_image"])["logits"]
        supervised = self.supervised_loss(batch["labeled_mask"], logits[:num_labeled])
        return {f"supervised_{number}": supervised}, pseudo_labels(logits[num_labeled:])

    def cross(self, number, batch, decision):
        """Compute the consistency of a network's own strong view with the other network's pseudo-labels."""
        image = batch[f"strong_image_{number}"]
        boxes = box_mask(batch["cutmix_box_1"], ops.shape(image)[1:3])
        values = (image, *decision, batch["valid"])
        image, label, confidence, valid = (mix(value, partners(value), boxes) for value in values)
        logits = self.passes(self.students[number - 1], strong=image)["logits"]
        return self.consistency_loss(label, confidence, valid, logits)
