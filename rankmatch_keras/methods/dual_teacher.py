"""Dual Teacher: two temporary teachers take turns, one with CutMix, one with ClassMix."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import replicas
from rankmatch_keras.layers import ClassMix, RandomBoxes, pseudo_labels
from rankmatch_keras.layers.clock import Turns
from rankmatch_keras.losses import PixelConsistencyLoss, WeightedConsistencyLoss, kept_fraction
from rankmatch_keras.methods.teachers import MeanTeacherBase, View
from rankmatch_keras.models.segmenter import class_count


@keras.saving.register_keras_serializable("rankmatch_keras")
class DualTeacher(MeanTeacherBase):
    """`L = L_sup + L_mix + 0.2 L_ic` (Na et al., Switching Temporary Teachers, NeurIPS 2023; "Switch").

    In even periods the first teacher labels the weak views and images are mixed by CutMix (lambda of Beta(4, 4)), in
    odd ones the second, with ClassMix. Only the teacher whose turn it is follows the student, and it begins its turn as
    a copy of it. As a resting teacher is never used again, one set of weights serves both, at the cost of one teacher.
    L_mix is the cross-entropy of all pixels, weighted in CutMix periods by the fraction of confident pixels of their
    image and in ClassMix periods by that of the batch; L_ic is the consistency of a strong view without mixing.

    Differences from the publication: the mixed view is made of strong views, each with its own colors and without
    another flip; an image's partner is that of the batch in reverse order; the padding's mask is that of the unlabeled
    images, where the published program takes the labeled masks; no stochastic depth, which our networks lack.

    Args:
        segmenter: the student.
        switch_every: batches of a period; the publication switches after each pass over the labeled images.
        threshold: confidence from which a pixel is confident.
        implicit_weight: weight of L_ic.
        ema_decay: decay of the teachers.
        seed: int or `None`, of the masks.
        **kwargs: see `Method`.
    """

    required: tuple[str, ...] = (*MeanTeacherBase.required, "strong_image_1", "strong_image_2")
    diagnostics = ("mask_ratio",)
    strong_policy = "soft_jitter"

    def __init__(
        self,
        segmenter,
        *,
        switch_every: int = 200,
        threshold: float = 0.95,
        implicit_weight: float = 0.2,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(segmenter, **kwargs)
        self.switch_every = switch_every
        self.threshold = threshold
        self.implicit_weight = implicit_weight
        self.seed = seed
        self.turns = Turns(switch_every)
        self.boxes = RandomBoxes((0.0, 1.0), 1.0, law=(4, 4), seed=seed)
        self.classes = ClassMix(class_count(segmenter), seed=None if seed is None else seed + 1)
        self.mixed_loss = WeightedConsistencyLoss("kept")
        self.consistency_loss = PixelConsistencyLoss(threshold)
        self.term_weights = {"supervised": 1.0, "mixed": 1.0, "strong_2": implicit_weight}

    def update_teacher(self):
        """Move the active teacher towards the student, or copy the student where its turn begins."""
        _, begins = self.turns.now()
        self.teacher.update(self.segmenter, self.batches_per_step, restart=begins)

    def stages(self):
        """Return a stage of the labeled images and one of the strong views."""
        return (self.labeled_stage, self.strong_stage)

    def strong_stage(self, batch, carry):
        """Compute the terms of the mixed and of the plain strong view from one pass."""
        turn, _ = self.turns.now()
        self.turns.tick()
        label, confidence = pseudo_labels(self.teacher_logits(weak=batch["weak_image"]))
        view = self.mixed(View(batch["strong_image_1"], label, confidence, batch["valid"]), turn % 2 == 0)
        count = ops.shape(view.image)[0]
        images = ops.concatenate([view.image, batch["strong_image_2"]])
        logits = self.passes(self.segmenter, strong=images)["logits"]
        rates = kept_fraction(view.confidence, self.threshold)
        everywhere = replicas().sum(ops.sum(rates)) / replicas().sum(ops.sum(ops.ones_like(rates)))
        weight = ops.where(turn % 2 == 0, rates, everywhere)
        return {
            "mixed": self.mixed_loss(view.label, weight, view.valid, logits[:count]),
            "strong_2": self.consistency_loss(label, confidence, batch["valid"], logits[count:]),
            "mask_ratio": everywhere,
        }, None

    def mixed(self, view: View, by_boxes) -> View:
        """Return the strong views with a box, or half of the classes, of their partners."""
        source = view.partners()
        boxes = self.boxes(ops.shape(view.image)[0], ops.shape(view.image)[1:3])
        return view.pasted(source, ops.where(by_boxes, boxes, self.classes(source.label, valid=source.valid)))
