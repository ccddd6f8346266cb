"""CutMix with Mean Teacher: the teacher's probabilities of two images, mixed like the images (French et al.)."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import replicas
from rankmatch_keras.layers import RandomBoxes, mix, pseudo_labels
from rankmatch_keras.losses import ProbabilityConsistencyLoss
from rankmatch_keras.methods.teachers import MeanTeacherBase, partners


@keras.saving.register_keras_serializable("rankmatch_keras")
class CutMixMeanTeacher(MeanTeacherBase):
    """`L = L_sup + w r mean |softmax z - softmax z_t|^2` on mixed images (French et al., BMVC 2020, Sections 3, 4).

    The teacher sees the weak views, the student strong ones, with a box of half the area from another image; the
    teacher's logits are mixed alike. r is the fraction of all pixels of the batch where the teacher's confidence
    reaches the threshold: it weights the term as a whole, not the single pixel. Padding has weight 0.

    Differences from the publication: an image's partner is that of the batch in reverse order, where the publication
    samples two batches; normalization is not frozen, but the teacher's follows the student's; SGD of the recipes
    instead of Adam.

    Args:
        segmenter: the student.
        threshold: smallest confidence of a pixel that adds to r.
        consistency_weight: w.
        ema_decay: decay of the teacher, which is evaluated.
        seed: int or `None`, of the boxes.
        **kwargs: see `Method`.
    """

    required: tuple[str, ...] = (*MeanTeacherBase.required, "strong_image_1")
    diagnostics = ("mask_ratio",)
    strong_policy = "light_jitter"

    def __init__(
        self,
        segmenter,
        *,
        threshold: float = 0.97,
        consistency_weight: float = 1.0,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(segmenter, **kwargs)
        self.threshold = threshold
        self.consistency_weight = consistency_weight
        self.seed = seed
        self.boxes = RandomBoxes(area=(0.5, 0.5), seed=seed)
        self.consistency_loss = ProbabilityConsistencyLoss("sum")
        self.term_weights = {"supervised": 1.0, "consistency": consistency_weight}

    @property
    def evaluated(self):
        """EMA teacher, unless there is another EMA."""
        return self.teacher.network if self.averaged is None else self.averaged.network

    def stages(self):
        """Return a stage of the labeled images and one of the mixed ones."""
        return (self.labeled_stage, self.mixed_stage)

    def mixed_stage(self, batch, carry):
        """Compute the consistency of student and teacher on mixed images."""
        images, valid = batch["strong_image_1"], batch["valid"]
        boxes = self.boxes(ops.shape(images)[0], ops.shape(images)[1:3])
        target = self.teacher_logits(weak=batch["weak_image"])
        target = mix(target, partners(target), boxes)
        valid = mix(valid, partners(valid), boxes)
        rate = self.confident_fraction(pseudo_labels(target)[1])
        logits = self.passes(self.segmenter, strong=mix(images, partners(images), boxes))["logits"]
        weight = rate * ops.cast(valid, "float32")
        return {"consistency": self.consistency_loss(target, weight, logits), "mask_ratio": rate}, None

    def confident_fraction(self, confidence):
        """Return the fraction of the pixels of all replicas whose confidence reaches the threshold."""
        sure = ops.cast(confidence >= self.threshold, "float32")
        return replicas().sum(ops.sum(sure)) / replicas().sum(ops.sum(ops.ones_like(sure)))
