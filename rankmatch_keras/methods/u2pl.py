"""U2PL: unreliable pseudo-labels are not lost, they tell which classes a pixel does not belong to."""

import keras
from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.layers import pseudo_labels
from rankmatch_keras.layers.pseudo_labels import masked_quantiles, pixel_entropy
from rankmatch_keras.losses.unreliable import UnreliableContrast
from rankmatch_keras.methods.represented import Represented, paste, share_of_valid, truth_of

DROPPED = 0.2  # share of the pixels that are unreliable at the beginning; 0 at the end


@keras.saving.register_keras_serializable("rankmatch_keras")
class U2PL(Represented):
    """`L = L_sup + L_u + w L_c` (Wang et al., CVPR 2022, Section 3).

    L_u is the cross-entropy on box-mixed weak views against the averaged teacher's labels, without the
    `20 % * (1 - t)` of the pixels whose entropy is highest, t being the share of the training that is done; it grows by
    the share of pixels that are kept. L_c is `losses.unreliable.UnreliableContrast`. The teacher labels in inference
    mode; a second pass in training mode, of what the student sees, gives its entropies, its representations and its
    statistics.

    What differs from the publication: the bank keeps the same number for every class (there 50000 for class 0) and
    takes a limited number per step; anchors are drawn without replacement, and the negatives of a class for all its
    anchors together; the head has no dropout. The published program stores a negative under a class only if it has
    that very label, and mispairs late classes; here both follow the article.

    Args:
        segmenter: the network that is trained.
        contrast_weight: w.
        warm_up: share of the training with labelled images alone; 1 of 80 epochs on Pascal VOC, 0 on Cityscapes.
        capacity: negatives kept per class; 21 classes take 645 MB with 30000.
        added: negatives stored per class and step, at most.
        anchors: anchors per class and step.
        negatives: negatives per class and step.
        **kwargs: see `Represented` and `Method`.
    """

    head_layers = {"kernel_sizes": (3, 3)}

    def __init__(
        self,
        segmenter,
        *,
        contrast_weight: float = 1.0,
        warm_up: float = 0.0125,
        capacity: int = 30000,
        added: int = 512,
        anchors: int = 256,
        negatives: int = 50,
        **kwargs,
    ):
        super().__init__(segmenter, warm_up=warm_up, **kwargs)
        self.contrast_weight = contrast_weight
        self.capacity = capacity
        self.added = added
        self.anchors = anchors
        self.negatives = negatives
        self.contrast = UnreliableContrast(
            self.num_classes, self.channels, capacity, added, anchors, negatives, seed=self.seed
        )
        self.term_weights = {"supervised": 1.0, "unsupervised": 1.0, "contrast": contrast_weight}

    def stages(self):
        """One stage."""
        return (self.joint_stage,)

    def joint_stage(self, batch, _):
        """All terms, from one pass of the student and two of the teacher."""
        done = self.begin()
        share = DROPPED * (1.0 - done)
        with backend.step.no_gradient():
            label, _ = pseudo_labels(self.teacher(batch["weak_image"])["logits"])
        boxes = self.boxes(batch)
        image, label, valid = (paste(values, boxes) for values in (batch["weak_image"], label, batch["valid"]))
        valid = ops.logical_and(valid, done >= self.warm_up)
        images = ops.concatenate([batch["labeled_image"], image])
        student, teacher = self.learn(images), self.teach(images, training=True)
        entropy = pixel_entropy(teacher["logits"])

        num_labeled = ops.shape(batch["labeled_image"])[0]
        (highest,) = masked_quantiles(entropy[num_labeled:], valid, 1.0 - share)
        kept = entropy[num_labeled:] <= highest
        truth, known = truth_of(batch, self.ignore_index)
        contrast = self.contrast(
            student["representation"],
            teacher["representation"],
            teacher["logits"],
            ops.concatenate([truth, label]),
            ops.concatenate([ops.logical_and(known, done >= self.warm_up), valid]),
            entropy,
            share=share,
            num_labeled=num_labeled,
        )
        return {
            "supervised": self.supervised_loss(batch["labeled_mask"], student["logits"][:num_labeled]),
            "unsupervised": self.consistency_loss(label, kept, valid, student["logits"][num_labeled:]),
            "contrast": contrast,
            "mask_ratio": share_of_valid(kept, valid),
        }, None
