"""AEL: paste, sample and weight the classes most on which the student does badly."""

import keras
from keras import ops

from rankmatch_keras.layers import RandomBoxes, box_mask, mix, pseudo_labels
from rankmatch_keras.layers.base import uniform
from rankmatch_keras.layers.class_memory import ClassAverages
from rankmatch_keras.layers.mixing import class_fractions, mark_classes
from rankmatch_keras.losses import WeightedConsistencyLoss
from rankmatch_keras.losses.base import pixel_cross_entropy
from rankmatch_keras.methods.teachers import MeanTeacherBase, View, partners
from rankmatch_keras.models.segmenter import class_count

FAR_BELOW = -1e9


@keras.saving.register_keras_serializable("rankmatch_keras")
class AEL(MeanTeacherBase):
    """`L = L_sup + L_labeled + L_unlabeled` (Hu et al., Adaptive Equalization Learning, NeurIPS 2021, Section 3).

    s_c is the moving average of the student's mean probability of class c on the labeled pixels of c; a batch without
    such pixels adds 0. The smaller s_c, the more the class is used:

    - copy-paste: with probability 1/2 a labeled image receives the pixels of a few classes of another one, sampled with
      `softmax sqrt(1 - s)`;
    - CutMix: an unlabeled image receives the box around one class of another one, sampled with `softmax(1 - s)` among
      the classes that cover at least `min_area` of it; a random box of half the area where there is none;
    - sampling: a pixel that the teacher labels c is kept with probability `(1 - s_c) / max (1 - s)`. L_labeled and
      L_unlabeled are cross-entropies with the teacher's labels, weighted by its confidence squared; the weights sum to
      1.

    The teacher labels in training mode, with batch statistics. Differences from the publication, because nothing is
    sampled from the whole data set: the other image is the partner in the batch in reverse order, unscaled, where the
    publication keeps a bank of the classes that every image shows, samples the class first and then an image of it; the
    box is around all pixels of the class, not one connected part; s begins with 0 instead of random numbers. No
    auxiliary head; ignored pixels are left out of L_labeled; no class is taken as frequent unless it is named.

    Args:
        segmenter: the student.
        threshold: smallest confidence of a label that is kept: 0.7 on Pascal VOC, 0 on Cityscapes.
        pasted_classes: classes that copy-paste samples: 1 on Pascal VOC, 3 on Cityscapes.
        paste_probability: how often an image receives them.
        frequent_classes: classes that copy-paste leaves out.
        min_area: smallest fraction of an image that makes a class present in it.
        momentum: weight of the old s.
        seed: int or `None`, of all samples.
        **kwargs: see `MeanTeacherBase`.
    """

    teacher_trains = True

    def __init__(
        self,
        segmenter,
        *,
        threshold: float = 0.7,
        pasted_classes: int = 1,
        paste_probability: float = 0.5,
        frequent_classes: tuple[int, ...] = (),
        min_area: float = 0.03,
        momentum: float = 0.999,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(segmenter, **kwargs)
        self.threshold = threshold
        self.pasted_classes = pasted_classes
        self.paste_probability = paste_probability
        self.frequent_classes = tuple(frequent_classes)
        self.min_area = min_area
        self.momentum = momentum
        self.seed = seed
        self.num_classes = class_count(segmenter)
        self.confidences = ClassAverages(self.num_classes, momentum, initial=0.0, absent="zero")
        self.boxes = RandomBoxes(area=(0.5, 0.5), seed=seed)
        self.draws = keras.random.SeedGenerator(None if seed is None else seed + 1)
        self.consistency_loss = WeightedConsistencyLoss("weight")
        self.term_weights = {"supervised": 1.0, "labeled_consistency": 1.0, "consistency": 1.0}

    def stages(self):
        """Return a stage of the labeled images and one of the mixed ones."""
        return (self.pasted_stage, self.mixed_stage)

    def pasted_stage(self, batch, carry):
        """Compute both terms of the labeled images, with copy-paste."""
        images, mask = self.pasted(batch["labeled_image"], ops.cast(batch["labeled_mask"], "int32"))
        label, confidence = pseudo_labels(self.teacher_logits(labeled=images))
        logits = self.passes(self.segmenter, labeled=images)["logits"]
        has_truth = mask != self.ignore_index
        truth = ops.where(has_truth, mask, 0)
        terms = {
            "supervised": self.supervised_loss(mask, logits),
            "labeled_consistency": self.equalized(label, confidence, has_truth, logits),
        }
        probability = ops.exp(-pixel_cross_entropy(truth, ops.stop_gradient(logits)))
        self.confidences.update(probability, truth, has_truth)
        return terms, None

    def mixed_stage(self, batch, carry):
        """Compute the term of the unlabeled images, with boxes around a class."""
        label, confidence = pseudo_labels(self.teacher_logits(weak=batch["weak_image"]))
        view = View(batch["weak_image"], label, confidence, batch["valid"])
        view = view.pasted(view.partners(), self.class_boxes(view.partners()))
        logits = self.passes(self.segmenter, strong=view.image)["logits"]
        return {"consistency": self.equalized(view.label, view.confidence, view.valid, logits)}, None

    def uniform(self, images, *shape):
        """Return uniform numbers `(images, *shape)`, sampled for the images of all replicas."""
        return uniform((images, *shape), self.draws)

    def pasted(self, images, mask):
        """Return labeled images and masks with the pixels of the sampled classes of their partners."""
        count = ops.shape(images)[0]
        rare = ops.arange(self.num_classes)
        rare = ops.all(rare[:, None] != ops.convert_to_tensor([-1, *self.frequent_classes], dtype="int32"), axis=1)
        chosen = draw_classes(
            ops.sqrt(1.0 - self.confidences.values()), rare, self.uniform(count, self.num_classes), self.pasted_classes
        )
        other = partners(mask)
        drawn = self.uniform(count, 1, 1) < self.paste_probability
        there = ops.logical_and(mark_classes(other, chosen), ops.logical_and(other != self.ignore_index, drawn))
        return mix(images, partners(images), there), mix(mask, other, there)

    def class_boxes(self, source: View):
        """Return masks of the box around one sampled class of each image, or of a random box: `(B, H, W)` bool."""
        count, size = ops.shape(source.label)[0], ops.shape(source.label)[1:3]
        present = class_fractions(source.label, self.num_classes, source.valid) >= self.min_area
        chosen = draw_classes(1.0 - self.confidences.values(), present, self.uniform(count, self.num_classes), 1)
        pixels = ops.logical_and(mark_classes(source.label, chosen), source.valid)
        around = box_mask(bounding_boxes(pixels), size)
        return ops.where(ops.any(present, axis=-1)[:, None, None], around, self.boxes(count, size))

    def equalized(self, label, confidence, valid, logits):
        """Compute the cross-entropy with the teacher's labels on the pixels that sampling keeps."""
        rarity = 1.0 - self.confidences.values()
        keep = ops.take(rarity / ops.maximum(ops.max(rarity), 1e-6), label, axis=0)  # (B, H, W)
        kept = ops.logical_and(self.uniform(*ops.shape(label)) < keep, confidence >= self.threshold)
        return self.consistency_loss(label, ops.square(confidence) * ops.cast(kept, "float32"), valid, logits)


def draw_classes(scores, allowed, draws, count: int):
    """Sample different classes with probabilities `softmax(scores)` over the allowed ones.

    The largest sums of scores and Gumbel noise are such a sample.

    Args:
        scores: `(K,)` or `(B, K)` float.
        allowed: bool of a shape that broadcasts to `(B, K)`.
        draws: `(B, K)` float, uniform in 0..1.
        count: classes to sample; all, where fewer are allowed.

    Returns:
        `(B, K)` bool.
    """
    gumbel = -ops.log(-ops.log(ops.clip(draws, 1e-7, 1.0 - 1e-7)))
    keys = ops.where(allowed, scores + gumbel, FAR_BELOW)
    place = ops.argsort(ops.argsort(-keys, axis=-1), axis=-1)
    return ops.logical_and(ops.cast(place, "int32") < count, keys > FAR_BELOW)


def bounding_boxes(mask):
    """Return the smallest box around the marked pixels of each image.

    Args:
        mask: `(B, H, W)` bool.

    Returns:
        `(B, 4)` int32, `y0, x0, y1, x1`, ends excluded; zeros where nothing is marked.
    """
    starts, ends = [], []
    for axis in (2, 1):  # rows are found along the columns, and the reverse
        marked = ops.cast(ops.any(mask, axis=axis), "int32")  # (B, H) or (B, W)
        some = ops.max(marked, axis=-1)
        size = ops.shape(marked)[1]
        starts.append(some * ops.cast(ops.argmax(marked, axis=-1), "int32"))
        ends.append(some * (size - ops.cast(ops.argmax(ops.flip(marked, axis=-1), axis=-1), "int32")))
    return ops.stack([*starts, *ends], axis=-1)
