"""CSS: a label counts where classifier and prototypes agree on it, in logit space and in representation space."""

import keras
from keras import ops

from rankmatch_keras.layers import pseudo_labels
from rankmatch_keras.layers.class_memory import ClassPrototypes, mean_vectors
from rankmatch_keras.layers.pixels import on_grid, pixel_rows
from rankmatch_keras.layers.resize import resize_align_corners
from rankmatch_keras.layers.sampling import class_members
from rankmatch_keras.losses.consistency import kept_fraction
from rankmatch_keras.losses.prototype_contrast import TEMPERATURE, PrototypeContrast
from rankmatch_keras.methods.represented import Represented, paste, share_of_valid, truth_of


@keras.saving.register_keras_serializable("rankmatch_keras")
class CSS(Represented):
    """`L = L_sup + L_u + w exp(-5 t^2) L_c`, t the share that is done (Wang et al., ICCV 2023, Space Engage).

    The averaged teacher labels twice: by its classifier, and by the prototype of a class nearest to its representation.
    L_u takes box-mixed strong views and the labels that both agree on, every image weighed by the share of its pixels
    whose confidence reaches `threshold`. Prototypes are moving averages of the teacher's representations, of labelled
    pixels and of those whose confidence reaches `representation_threshold`; these pixels are contrasted too, see
    `losses.prototype_contrast.PrototypeContrast`.

    What differs from the publication: the head reads the map that the classifier reads instead of that before the
    decoder; t counts the whole training, there 200 epochs; negatives of a class are drawn for all its anchors together,
    from `pool` pixels per class. The variant whose labels come from the prototypes alone is left out.

    Args:
        segmenter: the network that is trained.
        contrast_weight: w.
        threshold: confidence of pixels that count for their image's weight.
        representation_threshold: confidence of unlabelled pixels that are represented.
        prototype_decay: decay of the prototypes.
        anchors: anchors per class and step.
        negatives: negatives per class and step.
        pool: pixels of each class that negatives are drawn from.
        **kwargs: see `Represented` and `Method`.
    """

    diagnostics = ("mask_ratio", "agreement")
    required = (*Represented.required, "strong_image_1")
    head_layers = {"kernel_sizes": (3,)}
    normalizer = "kept"
    strong_policy = "soft_jitter"

    def __init__(
        self,
        segmenter,
        *,
        contrast_weight: float = 1.0,
        threshold: float = 0.97,
        representation_threshold: float = 0.7,
        prototype_decay: float = 0.99,
        anchors: int = 256,
        negatives: int = 512,
        pool: int = 256,
        **kwargs,
    ):
        super().__init__(segmenter, **kwargs)
        self.contrast_weight = contrast_weight
        self.threshold = threshold
        self.representation_threshold = representation_threshold
        self.prototype_decay = prototype_decay
        self.anchors = anchors
        self.negatives = negatives
        self.pool = pool
        self.prototypes = ClassPrototypes(self.num_classes, self.channels, prototype_decay)
        self.contrast = PrototypeContrast(self.prototypes, self.num_classes, anchors, negatives, pool, seed=self.seed)
        self.term_weights = {"supervised": 1.0, "unsupervised": 1.0, "contrast": contrast_weight}

    def stages(self):
        """One stage."""
        return (self.joint_stage,)

    def joint_stage(self, batch, _):
        """All terms, from one pass of each network."""
        done = self.begin()
        started = done >= self.warm_up
        num_labeled = ops.shape(batch["labeled_image"])[0]
        truth, known = truth_of(batch, self.ignore_index)
        teacher = self.teach(ops.concatenate([batch["labeled_image"], batch["weak_image"]]), training=True)
        label, confidence = pseudo_labels(teacher["logits"][num_labeled:])
        sure = ops.logical_and(batch["valid"], confidence >= self.representation_threshold)
        self.move_prototypes(teacher["representation"], ops.concatenate([truth, label]), ops.concatenate([known, sure]))
        agreed = label == self.nearest(teacher["representation"][num_labeled:], ops.shape(label)[1:3])

        boxes = self.boxes(batch)
        decided = label, confidence, batch["valid"], ops.logical_and(agreed, batch["valid"]), sure
        image = paste(batch["strong_image_1"], boxes)
        label, confidence, valid, agreed, sure = (paste(values, boxes) for values in decided)
        agreed = ops.logical_and(agreed, started)
        student = self.learn(ops.concatenate([batch["labeled_image"], image]))
        logits = student["logits"]
        counted = ops.concatenate([ops.logical_and(known, started), ops.logical_and(agreed, sure)])
        contrast = self.contrast_of(student["representation"], ops.concatenate([truth, label]), counted, num_labeled)
        return {
            "supervised": self.supervised_loss(batch["labeled_mask"], logits[:num_labeled]),
            "unsupervised": self.consistency_loss(
                label, kept_fraction(confidence, self.threshold), agreed, logits[num_labeled:]
            ),
            "contrast": ops.exp(-5.0 * done * done) * contrast,
            "mask_ratio": share_of_valid(confidence >= self.threshold, valid),
            "agreement": share_of_valid(agreed, valid),
        }, None

    def move_prototypes(self, representation, label, counted):
        """Moves the prototypes to representations `(B, h, w, D)` of the pixels that count at image size."""
        label, counted = (pixel_rows(on_grid(values, ops.shape(representation)[1:3])) for values in (label, counted))
        means = mean_vectors(pixel_rows(representation), class_members(label, self.num_classes, counted))
        self.prototypes.update(*means)

    def nearest(self, representation, size):
        """The class of the nearest prototype: `(B, H, W)` int32 from representations `(B, h, w, D)`."""
        similarity = self.prototypes.similarity(representation, TEMPERATURE)
        return ops.cast(ops.argmax(resize_align_corners(similarity, size), axis=-1), "int32")

    def contrast_of(self, representation, label, counted, num_labeled):
        """The contrast of representations `(B, h, w, D)` of the pixels that count at image size."""
        label, counted = (pixel_rows(on_grid(values, ops.shape(representation)[1:3])) for values in (label, counted))
        return self.contrast(pixel_rows(representation), label, counted, self.scores(representation, num_labeled))
