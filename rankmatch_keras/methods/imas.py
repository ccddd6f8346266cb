"""iMAS: strength of augmentation, mixing and weight of an image follow how far student and teacher agree on it."""

from typing import Any

import keras
from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.backend.replicas import ratio, replicas
from rankmatch_keras.layers import RandomBoxes, pseudo_labels
from rankmatch_keras.losses import WeightedConsistencyLoss
from rankmatch_keras.methods.teachers import MeanTeacherBase, View
from rankmatch_keras.models.segmenter import class_count


@keras.saving.register_keras_serializable("rankmatch_keras")
class IMAS(MeanTeacherBase):
    """`L = L_sup + w (L_strong + L_cutmix) / 2` (Zhao et al., Instance-specific ... Supervision, CVPR 2023, Section 3).

    Student and teacher both predict the weak view in inference mode. Their agreement on image i is `g = (s_t
    wIoU(student, teacher) + s wIoU(teacher, student)) / 2`, where s and s_t are the fractions of confident pixels and
    wIoU weights the classes by their fraction of the second map, background left out. The more they agree, the easier
    the image and the harder its training:

    - its strong view, two random intensity operations, is blended with the weak one: `g strong + (1 - g) weak`;
    - weak views receive a box (side 0.1 to 0.9 of the image's) of another one with probability `mean g` for the whole
      batch; the image of the largest g is paired with that of the smallest;
    - its term has weight g: both L are `mean_i g_i CE_i` over confident pixels, divided by the number of all pixels.

    Where no box is sampled, L_strong has twice the weight. Differences from the publication: padding is left out; an
    image without foreground is compared by its background; with several replicas each pairs its own images.

    Args:
        segmenter: the student.
        threshold: smallest confidence of a pseudo-label that is kept: 0.95 on Pascal VOC, 0.7 on Cityscapes.
        consistency_weight: w.
        background: class that wIoU leaves out; `None` where no class is background (Cityscapes, whose class 0 the
            publication's program leaves out too).
        ema_decay: decay of the teacher.
        seed: int or `None`, of the boxes.
        **kwargs: see `Method`.
    """

    required: tuple[str, ...] = (*MeanTeacherBase.required, "strong_image_1")
    diagnostics = ("agreement",)
    strong_policy = "two_intensities"

    def __init__(
        self,
        segmenter,
        *,
        threshold: float = 0.95,
        consistency_weight: float = 3.0,
        background: int | None = 0,
        ema_decay: float = 0.996,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(segmenter, ema_decay=ema_decay, **kwargs)
        self.threshold = threshold
        self.consistency_weight = consistency_weight
        self.background = background
        self.seed = seed
        self.num_classes = class_count(segmenter)
        self.boxes = RandomBoxes((0.01, 0.81), 1.0, law="side", seed=seed)
        self.applications = keras.random.SeedGenerator(None if seed is None else seed + 1)
        self.consistency_loss = WeightedConsistencyLoss("all")
        half = consistency_weight / 2
        self.term_weights = {"supervised": 1.0, "strong_1": half, "cutmix": half}

    def stages(self):
        """Return the only stage."""
        return (self.joint_stage,)

    def joint_stage(self, batch, carry):
        """Compute all terms from one pass; the weak views are part of it for the batch statistics."""
        weak, strong, valid = (ops.convert_to_tensor(batch[name]) for name in ("weak_image", "strong_image_1", "valid"))
        target = self.teacher_logits(weak=weak)
        label, confidence = pseudo_labels(target)
        ease = self.agreement(self.own_logits(weak), target, valid)
        each = ease[:, None, None, None]
        view = View(each * strong + (1.0 - each) * weak, label, confidence, valid)
        mean = replicas().sum(ops.sum(ease)) / replicas().sum(ops.sum(ops.ones_like(ease)))
        cut, applied = self.cut_view(View(weak, label, confidence, valid), ease, mean)
        labeled_images, strong_images = batch["labeled_image"], ops.concatenate([cut.image, view.image])
        logits = self.passes(self.segmenter, labeled=labeled_images, weak=weak, strong=strong_images)["logits"]
        labeled, count = ops.shape(labeled_images)[0], ops.shape(weak)[0]
        return {
            "supervised": self.supervised_loss(batch["labeled_mask"], logits[:labeled]),
            "strong_1": self.weighted_loss(view, ease, logits[labeled + 2 * count :]) * (2.0 - applied),
            "cutmix": self.weighted_loss(cut, ease, logits[labeled + count : labeled + 2 * count]) * applied,
            "agreement": ratio(ops.sum(ease), ops.sum(ops.ones_like(ease))),
        }, None

    def own_logits(self, images):
        """Return the student's logits in inference mode, without gradient."""
        with backend.step.no_gradient():
            return ops.stop_gradient(self.segmenter(images, training=False)["logits"])

    def agreement(self, student_logits, teacher_logits, valid):
        """Return the agreement g of each image, `(B,)` in 0..1."""
        (mine, sure_mine), (its, sure_its) = (
            self._labels(logits, valid) for logits in (student_logits, teacher_logits)
        )
        options = (valid, self.num_classes, self.background)
        return 0.5 * (
            sure_its * class_weighted_iou(mine, its, *options) + sure_mine * class_weighted_iou(its, mine, *options)
        )

    def _labels(self, logits, valid):
        label, confidence = pseudo_labels(logits)
        valid = ops.cast(valid, "float32")
        sure = ops.cast(confidence >= self.threshold, "float32") * valid
        return label, ops.sum(sure, axis=(1, 2)) / ops.maximum(ops.sum(valid, axis=(1, 2)), 1.0)

    def cut_view(self, weak: View, ease, probability) -> tuple[View, Any]:
        """Return the weak views, with boxes or without, and which of both: 1.0 or 0.0."""
        applied = keras.random.uniform((), seed=self.applications) < probability
        boxes = self.boxes(ops.shape(weak.image)[0], ops.shape(weak.image)[1:3])
        partner = opposite_ranks(ease)
        source = View(*(ops.take(value, partner, axis=0) for value in weak))
        return weak.pasted(source, ops.logical_and(boxes, applied)), ops.cast(applied, "float32")

    def weighted_loss(self, view: View, ease, logits):
        """Compute the mean of the images' cross-entropies on confident pixels, weighted by their agreement."""
        weight = ops.cast(view.confidence >= self.threshold, "float32") * ease[:, None, None]
        return self.consistency_loss(view.label, weight, view.valid, logits)


def class_weighted_iou(prediction, reference, valid, num_classes: int, background: int | None = 0):
    """Return each image's intersection over union of its classes, weighted by their fraction of the reference.

    Args:
        prediction: `(B, H, W)` int.
        reference: `(B, H, W)` int.
        valid: `(B, H, W)` bool, the pixels to use.
        num_classes: number of classes K.
        background: class that is left out unless the reference shows nothing else; `None`: none is left out.

    Returns:
        `(B,)` float32 in 0..1, without gradient; 0 where nothing is valid.
    """
    classes = ops.arange(num_classes, dtype="int32")
    valid = ops.cast(valid, "bool")[..., None]
    first, second = (
        ops.logical_and(ops.cast(label, "int32")[..., None] == classes, valid) for label in (prediction, reference)
    )  # (B, H, W, K)
    both, either, shown = (
        ops.sum(ops.cast(pixels, "float32"), axis=(1, 2))
        for pixels in (ops.logical_and(first, second), ops.logical_or(first, second), second)
    )  # (B, K)
    counted = ops.cast(classes != (-1 if background is None else background), "float32")
    foreground = shown * counted
    weight = ops.where(ops.sum(foreground, axis=-1, keepdims=True) > 0.0, foreground, shown)
    iou = both / ops.maximum(either, 1.0)
    return ops.sum(weight * iou, axis=-1) / ops.maximum(ops.sum(weight, axis=-1), 1.0)


def opposite_ranks(score):
    """Pair the largest score with the smallest, the second with the last but one, and so on.

    Args:
        score: `(B,)` float.

    Returns:
        `(B,)` int32, the index of each one's partner; of equal scores the first is taken as the smaller.
    """
    count = ops.shape(score)[0]
    index = ops.arange(count)
    before = ops.logical_or(
        score[None] < score[:, None], ops.logical_and(score[None] == score[:, None], index[None] < index[:, None])
    )  # [i, j]: j comes before i
    rank = ops.sum(ops.cast(before, "int32"), axis=1)
    opposite = ops.cast(rank[None] + rank[:, None] == count - 1, "int32")
    return ops.cast(ops.argmax(opposite, axis=1), "int32")
