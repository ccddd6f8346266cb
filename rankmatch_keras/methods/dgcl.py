"""DGCL: contrast guided by the density of features, between the sparse and the dense pixels of a class."""

import keras
from keras import ops

from rankmatch_keras.layers import pseudo_labels
from rankmatch_keras.layers.pixels import on_grid, pixel_rows
from rankmatch_keras.layers.pseudo_labels import masked_quantiles, pixel_entropy
from rankmatch_keras.losses.density_contrast import DensityContrast
from rankmatch_keras.methods.represented import Represented, paste, share_of_valid, truth_of
from rankmatch_keras.models.segmenter import decoded_channels

DROPPED = 0.2  # share of the pixels that do not teach at the beginning; 0 at the end
APART = (0.8, 0.1)  # share of the unlabelled pixels that are not contrasted, at the beginning and at the end


@keras.saving.register_keras_serializable("rankmatch_keras")
class DGCL(Represented):
    """`L = L_sup + w_u L_u + w_c L_c` (Wang et al., CVPR 2023: density-guided contrastive learning, Section 3).

    L_u is the cross-entropy on box-mixed weak views against the averaged teacher's labels, without the pixels of
    highest entropy, 20 % at first and none at the end; it grows where few pixels are kept. L_c is
    `losses.density_contrast.DensityContrast` of labelled pixels and of the unlabelled ones of least entropy, 20 % at
    first and 90 % at the end. The teacher passes in training mode.

    What differs from the publication: a class is contrasted once its own memory is full, not once all are, as a rare
    class would keep all waiting; anchors come from `candidates` random pixels per class (there up to 10000, some 50
    billion multiplications per class and step); memory and negatives are the teacher's.

    Args:
        segmenter: the network that is trained.
        unsupervised_weight: w_u.
        contrast_weight: w_c.
        ema_decay: decay of the teacher.
        warm_up: share of the training with labelled images alone: 1/80 on Pascal VOC, 10/200 on Cityscapes.
        capacity: pixels kept per class; 21 classes take 431 MB with 10000.
        added: pixels stored per class and step, at most.
        candidates: pixels per class that anchors are chosen from.
        anchors: anchors per class and step.
        dense: densest pixels of the batch, and of the memory, that make the positive.
        negatives: negatives per class and step.
        first_class: classes before it are not contrasted: 1 leaves class 0 out, as published.
        **kwargs: see `Represented` and `Method`.
    """

    def __init__(
        self,
        segmenter,
        *,
        unsupervised_weight: float = 0.5,
        contrast_weight: float = 0.5,
        ema_decay: float = 0.999,
        warm_up: float = 0.0125,
        capacity: int = 10000,
        added: int = 1000,
        candidates: int = 2000,
        anchors: int = 200,
        dense: int = 50,
        negatives: int = 512,
        first_class: int = 1,
        **kwargs,
    ):
        super().__init__(segmenter, ema_decay=ema_decay, warm_up=warm_up, **kwargs)
        self.unsupervised_weight = unsupervised_weight
        self.contrast_weight = contrast_weight
        self.capacity = capacity
        self.added = added
        self.candidates = candidates
        self.anchors = anchors
        self.dense = dense
        self.negatives = negatives
        self.first_class = first_class
        self.contrast = DensityContrast(
            self.num_classes,
            decoded_channels(segmenter),
            self.channels,
            capacity=capacity,
            added=added,
            candidates=candidates,
            anchors=anchors,
            dense=dense,
            negatives=negatives,
            first_class=first_class,
            seed=self.seed,
        )
        self.term_weights = {"supervised": 1.0, "unsupervised": unsupervised_weight, "contrast": contrast_weight}

    def stages(self):
        """One stage."""
        return (self.joint_stage,)

    def joint_stage(self, batch, _):
        """All terms, from one pass of each network."""
        done = self.begin()
        num_labeled = ops.shape(batch["labeled_image"])[0]
        truth, known = truth_of(batch, self.ignore_index)
        known = ops.logical_and(known, done >= self.warm_up)
        valid = ops.logical_and(batch["valid"], done >= self.warm_up)
        teacher = self.teach(ops.concatenate([batch["labeled_image"], batch["weak_image"]]), training=True)
        label, _ = pseudo_labels(teacher["logits"][num_labeled:])
        entropy = pixel_entropy(teacher["logits"][num_labeled:])
        left_out = DROPPED * (1.0 - done), APART[0] + (APART[1] - APART[0]) * done
        limits = masked_quantiles(entropy, valid, *(1.0 - share for share in left_out))
        kept, compared = (ops.logical_and(valid, entropy <= limit) for limit in limits)

        boxes = self.boxes(batch)
        values = (batch["weak_image"], label, valid, kept, compared)
        image, mixed_label, valid, kept, mixed_compared = (paste(value, boxes) for value in values)
        student = self.learn(ops.concatenate([batch["labeled_image"], image]))
        grid = ops.shape(student["representation"])[1:3]
        labels = [ops.concatenate([truth, unlabeled]) for unlabeled in (mixed_label, label)]
        counted = [ops.concatenate([known, unlabeled]) for unlabeled in (mixed_compared, compared)]
        contrast = self.contrast(
            *(_rows(outputs) for outputs in (student, teacher)),
            *(pixel_rows(on_grid(values, grid)) for values in (*labels, *counted)),
            self.scores(student["representation"], num_labeled),
        )
        return {
            "supervised": self.supervised_loss(batch["labeled_mask"], student["logits"][:num_labeled]),
            "unsupervised": self.consistency_loss(mixed_label, kept, valid, student["logits"][num_labeled:]),
            "contrast": contrast,
            "mask_ratio": share_of_valid(kept, valid),
        }, None


def _rows(outputs):
    """Features and projections of the pixels that have a representation: `(N, F)` and `(N, D)` float32."""
    return tuple(ops.cast(pixel_rows(outputs[name]), "float32") for name in ("pixels", "representation"))
