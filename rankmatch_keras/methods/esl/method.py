"""ESL: high-entropy pixels teach with soft labels of their few probable classes; parts of classes are contrasted."""

from typing import Any

import keras
from keras import ops

from rankmatch_keras.backend.replicas import ratio
from rankmatch_keras.layers import pseudo_labels
from rankmatch_keras.layers.pixels import on_grid, pixel_rows
from rankmatch_keras.layers.resize import resize_align_corners
from rankmatch_keras.losses.base import Loss
from rankmatch_keras.methods.contrastive import ContrastiveBase, fraction_of_valid, mask_and_known, paste_partners
from rankmatch_keras.methods.esl.parts import ClassParts, PartContrast


@keras.saving.register_keras_serializable("rankmatch_keras")
class ESL(ContrastiveBase):
    """`L = L_sup + w_s L_soft + w_c L_c` (Ma et al., ICCV 2023: Enhanced Soft Label, Section 3).

    L_soft is the cross-entropy of all pixels of box-mixed weak views against the EMA teacher's probabilities of the
    fewest classes that hold a `mass` of them, see `dynamic_soft_labels`. L_c is the `PartContrast` of labeled pixels
    and of those whose confidence exceeds `threshold`; a part is the cluster of the teacher's features nearest to a
    pixel among those of its class, see `ClassParts`.

    Differences from the publication, of which no program is available: the clusters begin with the first labeled pixels
    of each class in the training, not with a pass over all of them before it, and are clusters of the ASPP's features;
    up to `anchors` pixels per class are anchors, there a tenth of all; positives of a part and all negatives are
    sampled once per step; the size of the queues, which is not stated, is `capacity`; the head's three convolutions are
    1x1.

    Args:
        segmenter: the network to train.
        soft_weight: w_s.
        contrast_weight: w_c.
        channels: length of the representations.
        mass: probability that the classes of a soft label hold at least.
        threshold: confidence of contrasted unlabeled pixels.
        parts: parts per class.
        capacity: means kept per part; 21 classes of 5 parts take 55 MB with 256.
        anchors: anchors per class and step.
        negatives: negatives per step.
        **kwargs: see `ContrastiveBase` and `Method`.
    """

    head_layers = {"kernel_sizes": (1, 1, 1), "linear": False}
    teacher_trains = False

    def __init__(
        self,
        segmenter,
        *,
        soft_weight: float = 0.2,
        contrast_weight: float = 0.1,
        channels: int = 512,
        mass: float = 0.95,
        threshold: float = 0.95,
        parts: int = 5,
        capacity: int = 256,
        anchors: int = 256,
        negatives: int = 255,
        **kwargs,
    ):
        super().__init__(segmenter, channels=channels, **kwargs)
        if not 0.0 < mass <= 1.0:
            raise ValueError(f"Expected a mass above 0 up to 1. Received: mass={mass}")
        self.soft_weight = soft_weight
        self.contrast_weight = contrast_weight
        self.mass = mass
        self.threshold = threshold
        self.parts = parts
        self.capacity = capacity
        self.anchors = anchors
        self.negatives = negatives
        self.class_parts = ClassParts(self.num_classes, parts, segmenter.decoder.output["features"].shape[-1])
        self.contrast = PartContrast(self.num_classes, parts, channels, capacity, anchors, negatives, seed=self.seed)
        self.soft_loss = SoftConsistencyLoss()
        self.term_weights = {"supervised": 1.0, "soft": soft_weight, "contrast": contrast_weight}

    def stages(self):
        """Return the only stage."""
        return (self.joint_stage,)

    def joint_stage(self, batch, carry):
        """Compute all terms from one pass of each network."""
        started = self.advance() >= self.warm_up
        num_labeled = ops.shape(batch["labeled_image"])[0]
        teacher = self.teacher_outputs(False, labeled=batch["labeled_image"], weak=batch["weak_image"])
        logits = teacher["logits"][num_labeled:]
        label, confidence = pseudo_labels(logits)
        sure = ops.logical_and(batch["valid"], confidence > self.threshold)
        pixels = self.divide(batch, teacher, label, sure)

        boxes = self.boxes(batch)
        image, valid = paste_partners(batch["weak_image"], boxes), paste_partners(batch["valid"], boxes)
        soft_label = paste_partners(dynamic_soft_labels(logits, self.mass), boxes)
        student = self.student_outputs(labeled=batch["labeled_image"], strong=image)
        representation = student["representation"]
        coarse_boxes = on_grid(boxes, ops.shape(representation)[1:3])
        label, part, counted = (
            ops.concatenate([maps[:num_labeled], paste_partners(maps[num_labeled:], coarse_boxes)]) for maps in pixels
        )
        scores = self.scores(representation, num_labeled)
        contrast = self.contrast(
            pixel_rows(representation),
            pixel_rows(label),
            pixel_rows(part),
            pixel_rows(ops.logical_and(counted, started)),
            scores,
        )
        return {
            "supervised": self.supervised_loss(batch["labeled_mask"], student["logits"][:num_labeled]),
            "soft": self.soft_loss(soft_label, valid, student["logits"][num_labeled:]) * ops.cast(started, "float32"),
            "contrast": contrast,
            "mask_ratio": fraction_of_valid(sure, batch["valid"]),
        }, None

    def divide(self, batch, teacher, label, sure) -> tuple[Any, ...]:
        """Divide the teacher's pixels into parts, and update parts and queues.

        Returns:
            label, part and whether to use them, of each represented pixel `(B, h, w)`.
        """
        representation = teacher["representation"]
        images, *grid = ops.shape(representation)[:3]
        truth, known = mask_and_known(batch, self.ignore_index)
        num_labeled = ops.shape(truth)[0]
        maps = (ops.concatenate([truth, label]), ops.concatenate([known, sure]))
        label, counted = (on_grid(values, grid) for values in maps)
        labeled = ops.arange(images, dtype="int32")[:, None, None] < num_labeled
        features = pixel_rows(resize_align_corners(ops.cast(teacher["features"], "float32"), grid))
        scores = self.scores(representation, num_labeled)
        self.class_parts.begin(features, pixel_rows(label), pixel_rows(ops.logical_and(counted, labeled)), scores)
        part = self.class_parts.assign(features, pixel_rows(label))
        rows = ops.logical_and(pixel_rows(counted), self.class_parts.known(part))
        self.class_parts.update(features, part, rows)
        per_image = (images, grid[0] * grid[1])
        self.contrast.push(
            ops.reshape(representation, (*per_image, self.channels)),
            ops.reshape(part, per_image),
            ops.reshape(rows, per_image),
            order=ops.reshape(scores, per_image)[:, 0],
        )
        return label, ops.reshape(part, (images, *grid)), ops.reshape(rows, (images, *grid))


@keras.saving.register_keras_serializable("rankmatch_keras")
class SoftConsistencyLoss(Loss):
    """Cross-entropy against soft labels, `L = -sum_valid sum_c y_c log p_c / sum [valid]` (Ma et al., ICCV 2023)."""

    def call(self, soft_label, valid, logits):
        """Compute the loss of a batch.

        Args:
            soft_label: `(B, H, W, K)` float that sums to 1; no gradient flows into it.
            valid: `(B, H, W)` bool, False on padding.
            logits: `(B, H, W, K)` float, the student's.

        Returns:
            Scalar float32; 0 where nothing is valid.
        """
        valid = ops.cast(valid, "float32")
        log_probabilities = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        cross_entropy = -ops.sum(ops.stop_gradient(soft_label) * log_probabilities, axis=-1)
        return ratio(ops.sum(cross_entropy * valid), ops.sum(valid))


def dynamic_soft_labels(logits, mass: float):
    """Keep the fewest most probable classes of each pixel that hold a mass of probability, and renormalize them.

    Args:
        logits: `(B, H, W, K)` float.
        mass: 0 to 1.

    Returns:
        `(B, H, W, K)` float32 that sums to 1, without gradient. Equally probable classes stay or go together.

    Example:
        >>> import numpy as np
        >>> logits = np.log(np.float32([[[[0.6, 0.3, 0.1]]]]))
        >>> np.round(keras.ops.convert_to_numpy(dynamic_soft_labels(logits, 0.8)), 3).tolist()
        [[[[0.667, 0.333, 0.0]]]]
    """
    probabilities = ops.softmax(ops.stop_gradient(ops.cast(logits, "float32")), axis=-1)
    ordered = ops.top_k(probabilities, probabilities.shape[-1])[0]
    before = ops.cumsum(ordered, axis=-1) - ordered  # what the classes above each hold
    least = ops.min(ops.where(before < mass, ordered, 1.0), axis=-1, keepdims=True)
    kept = ops.where(probabilities >= least, probabilities, 0.0)
    return kept / ops.sum(kept, axis=-1, keepdims=True)
