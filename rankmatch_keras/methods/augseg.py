"""AugSeg: random intensities, and CutMix that pastes labeled boxes into images with uncertain pseudo-labels."""

import math

import keras
from keras import ops

from rankmatch_keras.backend.replicas import ratio
from rankmatch_keras.layers import RandomBoxes, pseudo_labels
from rankmatch_keras.layers.base import uniform
from rankmatch_keras.layers.pseudo_labels import pixel_entropy
from rankmatch_keras.losses import WeightedConsistencyLoss
from rankmatch_keras.methods.teachers import MeanTeacherBase, View


@keras.saving.register_keras_serializable("rankmatch_keras")
class AugSeg(MeanTeacherBase):
    """`L = L_sup + w L_u` on strong views with pasted boxes (Zhao et al., CVPR 2023, Section 3).

    The teacher labels the weak view in inference mode. Its confidence in an image is `r = mean (1 - H(p) / ln K) max
    p`. A copy of the image receives a box of a labeled image with probability 1 - r (its area is 1 - lambda, lambda of
    Beta(8, 2); labels have confidence 1). Then every image receives a box of another one's copy (lambda of Beta(4, 4));
    labels and confidences follow. L_u is the cross-entropy of the pixels whose confidence reaches the threshold,
    divided by the number of all pixels. The strong views have one to three random intensity operations.

    Differences from the publication: padding is left out of both L_u and r; a pasted box lies wholly in the image and
    comes from the batch in reverse order instead of a random one; the EMA begins with the first step, where the
    publication copies the student during the first epoch.

    Args:
        segmenter: the student.
        threshold: smallest confidence of a pseudo-label that is kept: 0.95 on Pascal VOC, 0 on Cityscapes.
        consistency_weight: w: 1; 2 with ResNet-50 on Cityscapes.
        ema_decay: decay of the teacher: 0.999 on Pascal VOC, 0.996 on Cityscapes.
        seed: int or `None`, of boxes and injections.
        **kwargs: see `Method`.
    """

    required: tuple[str, ...] = (*MeanTeacherBase.required, "strong_image_1")
    diagnostics = ("mask_ratio", "confidence")
    strong_policy = "intensity"

    def __init__(
        self,
        segmenter,
        *,
        threshold: float = 0.95,
        consistency_weight: float = 1.0,
        ema_decay: float = 0.999,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(segmenter, ema_decay=ema_decay, **kwargs)
        self.threshold = threshold
        self.consistency_weight = consistency_weight
        self.seed = seed
        self.labeled_boxes = RandomBoxes((0.0, 1.0), 1.0, law=(2, 8), seed=seed)
        self.boxes = RandomBoxes((0.0, 1.0), 1.0, law=(4, 4), seed=None if seed is None else seed + 1)
        self.injections = keras.random.SeedGenerator(None if seed is None else seed + 2)
        self.consistency_loss = WeightedConsistencyLoss("all")
        self.term_weights = {"supervised": 1.0, "consistency": consistency_weight}

    def stages(self):
        """Return the only stage."""
        return (self.joint_stage,)

    def joint_stage(self, batch, carry):
        """Compute both terms from one pass of labeled images and mixed views."""
        logits = self.teacher_logits(weak=batch["weak_image"])
        image_certainty = self.image_certainty(logits, batch["valid"])
        label, confidence = pseudo_labels(logits)
        own = View(batch["strong_image_1"], label, confidence, batch["valid"])
        view = self.mixed(own, self.labeled_view(batch), image_certainty)
        num_labeled = ops.shape(batch["labeled_image"])[0]
        outputs = self.passes(self.segmenter, labeled=batch["labeled_image"], strong=view.image)
        logits = outputs["logits"]
        kept = ops.logical_and(own.confidence >= self.threshold, own.valid)
        valid_pixels = ops.sum(ops.cast(own.valid, "float32"))
        return {
            "supervised": self.supervised_loss(batch["labeled_mask"], logits[:num_labeled]),
            "consistency": self.consistency_loss(
                view.label, view.confidence >= self.threshold, view.valid, logits[num_labeled:]
            ),
            "mask_ratio": ratio(ops.sum(ops.cast(kept, "float32")), valid_pixels),
            "confidence": ratio(ops.sum(image_certainty), ops.sum(ops.ones_like(image_certainty))),
            **self.further_terms(batch, view, outputs),
        }, None

    def further_terms(self, batch, view: View, outputs) -> dict:
        """Return the terms that a subclass adds."""
        return {}

    def image_certainty(self, logits, valid):
        """Return the teacher's confidence r in each image, `(B,)` in 0..1."""
        certainty = 1.0 - pixel_entropy(logits) / math.log(logits.shape[-1])
        valid = ops.cast(valid, "float32")
        score = certainty * pseudo_labels(logits)[1] * valid
        return ops.sum(score, axis=(1, 2)) / ops.maximum(ops.sum(valid, axis=(1, 2)), 1.0)

    def labeled_view(self, batch) -> View:
        """Return a labeled image for each unlabeled one, in turn; its ignored pixels are not valid."""
        count, labeled = ops.shape(batch["weak_image"])[0], ops.shape(batch["labeled_image"])[0]
        index = ops.arange(count) % labeled
        image, mask = (ops.take(batch[name], index, axis=0) for name in ("labeled_image", "labeled_mask"))
        has_truth = mask != self.ignore_index
        return View(image, ops.where(has_truth, mask, 0), ops.ones(ops.shape(mask)), has_truth)

    def mixed(self, own: View, labeled: View, image_certainty) -> View:
        """Return the strong views with a box of their partners' copies, which may hold a labeled box."""
        count, size = ops.shape(own.image)[0], ops.shape(own.image)[1:3]
        draws = uniform((count,), self.injections)
        injected = (draws >= image_certainty)[:, None, None]
        copies = own.pasted(labeled, ops.logical_and(self.labeled_boxes(count, size), injected))
        return own.pasted(copies.partners(), self.boxes(count, size))
