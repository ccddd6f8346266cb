"""CSS: a pseudo-label is kept where the classifier and the class prototypes agree on it."""

import keras
from keras import ops

from rankmatch_keras.layers import pseudo_labels
from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.class_memory import ClassPrototypes, mean_vectors
from rankmatch_keras.layers.pixels import on_grid, pixel_rows
from rankmatch_keras.layers.resize import resize_align_corners
from rankmatch_keras.layers.sampling import choose, class_members, gather_chosen, sample_indices, sample_places
from rankmatch_keras.losses.consistency import kept_fraction
from rankmatch_keras.losses.contrast import ContrastiveLoss
from rankmatch_keras.methods.contrastive import ContrastiveBase, fraction_of_valid, mask_and_known, paste_partners

TEMPERATURE = 0.5
HARD = 0.8  # probability of its class by the prototypes that a hard pixel does not reach


@keras.saving.register_keras_serializable("rankmatch_keras")
class CSS(ContrastiveBase):
    """`L = L_sup + L_u + w exp(-5 t^2) L_c`, t the finished part of training (Wang et al., Space Engage, ICCV 2023).

    The EMA teacher labels twice: by its classifier, and by the prototype of a class nearest to its representation. L_u
    takes box-mixed strong views and the labels that both agree on, every image weighted by the fraction of its pixels
    whose confidence reaches `threshold`. Prototypes are moving averages of the teacher's representations, of labeled
    pixels and of those whose confidence reaches `representation_threshold`; these pixels are contrasted too, see
    `PrototypeContrast`.

    Differences from the publication: the head reads the classifier's input instead of the decoder's; t spans the whole
    training, there 200 epochs; negatives of a class are sampled for all its anchors together, from `pool` pixels per
    class. The variant whose labels come from the prototypes alone is left out.

    Args:
        segmenter: the network to train.
        contrast_weight: w.
        threshold: confidence of pixels that add to their image's weight.
        representation_threshold: confidence from which unlabeled pixels are contrasted and move prototypes.
        prototype_decay: decay of the prototypes.
        anchors: anchors per class and step.
        negatives: negatives per class and step.
        pool: pixels of each class that negatives are sampled from.
        **kwargs: see `ContrastiveBase` and `Method`.
    """

    diagnostics = ("mask_ratio", "agreement")
    required = (*ContrastiveBase.required, "strong_image_1")
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
        """Return the only stage."""
        return (self.joint_stage,)

    def joint_stage(self, batch, carry):
        """Compute all terms from one pass of each network."""
        done = self.advance()
        started = done >= self.warm_up
        num_labeled = ops.shape(batch["labeled_image"])[0]
        truth, known = mask_and_known(batch, self.ignore_index)
        teacher = self.teacher_outputs(True, labeled=batch["labeled_image"], weak=batch["weak_image"])
        label, confidence = pseudo_labels(teacher["logits"][num_labeled:])
        sure = ops.logical_and(batch["valid"], confidence >= self.representation_threshold)
        self.move_prototypes(teacher["representation"], ops.concatenate([truth, label]), ops.concatenate([known, sure]))
        agreed = label == self.nearest(teacher["representation"][num_labeled:], ops.shape(label)[1:3])

        boxes = self.boxes(batch)
        decided = label, confidence, batch["valid"], ops.logical_and(agreed, batch["valid"]), sure
        image = paste_partners(batch["strong_image_1"], boxes)
        label, confidence, valid, agreed, sure = (paste_partners(values, boxes) for values in decided)
        agreed = ops.logical_and(agreed, started)
        student = self.student_outputs(labeled=batch["labeled_image"], strong=image)
        logits = student["logits"]
        counted = ops.concatenate([ops.logical_and(known, started), ops.logical_and(agreed, sure)])
        contrast = self.contrast_of(student["representation"], ops.concatenate([truth, label]), counted, num_labeled)
        return {
            "supervised": self.supervised_loss(batch["labeled_mask"], logits[:num_labeled]),
            "unsupervised": self.consistency_loss(
                label, kept_fraction(confidence, self.threshold), agreed, logits[num_labeled:]
            ),
            "contrast": ops.exp(-5.0 * done * done) * contrast,
            "mask_ratio": fraction_of_valid(confidence >= self.threshold, valid),
            "agreement": fraction_of_valid(agreed, valid),
        }, None

    def move_prototypes(self, representation, label, counted):
        """Move the prototypes to representations `(B, h, w, D)` of the pixels marked at image size."""
        label, counted = (pixel_rows(on_grid(values, ops.shape(representation)[1:3])) for values in (label, counted))
        means = mean_vectors(pixel_rows(representation), class_members(label, self.num_classes, counted))
        self.prototypes.update(*means)

    def nearest(self, representation, size):
        """Return the class of the nearest prototype: `(B, H, W)` int32 from representations `(B, h, w, D)`."""
        similarity = self.prototypes.similarity(representation, TEMPERATURE)
        return ops.cast(ops.argmax(resize_align_corners(similarity, size), axis=-1), "int32")

    def contrast_of(self, representation, label, counted, num_labeled):
        """Compute the contrast of representations `(B, h, w, D)` of the pixels marked at image size."""
        label, counted = (pixel_rows(on_grid(values, ops.shape(representation)[1:3])) for values in (label, counted))
        return self.contrast(pixel_rows(representation), label, counted, self.scores(representation, num_labeled))


@keras.saving.register_keras_serializable("rankmatch_keras")
class PrototypeContrast(Float32Layer):
    """Contrast of hard pixels with the prototype of their class (Wang et al., ICCV 2023, Section 3; after ReCo).

    For each class: anchors are pixels whose probability of the class, by the softmax of their similarities to all
    prototypes, is below 0.8; the positive is the prototype; negatives are pixels of the batch, of other classes that
    are sampled by the softmax of the prototypes' similarities.

    Args:
        prototypes: `ClassPrototypes`, which the method keeps.
        num_classes: number of classes C.
        anchors: anchors per class and step.
        negatives: negatives per class and step, sampled for all its anchors together.
        pool: pixels of each class that negatives are sampled from.
        seed: int or `None`.
    """

    def __init__(
        self,
        prototypes: ClassPrototypes,
        num_classes: int,
        anchors: int = 256,
        negatives: int = 512,
        pool: int = 256,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.prototypes = prototypes
        self.num_classes = num_classes
        self.anchors = anchors
        self.negatives = negatives
        self.pool = pool
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.loss = ContrastiveLoss(TEMPERATURE)

    def call(self, student, label, counted, scores):
        """Compute the loss.

        Args:
            student: `(N, D)` float32, representations with gradient.
            label: `(N,)` int.
            counted: `(N,)` bool, the pixels to use.
            scores: `(N,)` float32, random.

        Returns:
            Scalar float32.
        """
        members = class_members(label, self.num_classes, counted)  # (C, N)
        similarity = self.prototypes.similarity(ops.stop_gradient(student), TEMPERATURE)  # (N, C)
        hard = ops.transpose(ops.softmax(similarity, axis=-1)) < HARD
        known = self.prototypes.known()[:, None]
        choice = choose(ops.logical_and(ops.logical_and(members, hard), known), scores, self.anchors)
        pool, filled = gather_chosen(student, choose(members, scores, self.pool))  # (C, P, D), (C, P)
        negatives, counted = self.draw_negatives(pool, ops.sum(ops.cast(filled, "int32"), axis=1))
        positives = ops.convert_to_tensor(self.prototypes.vectors)[:, None]
        return self.loss(ops.take(student, choice.indices, axis=0), choice.exist, positives, negatives, counted)

    def draw_negatives(self, pool, count):
        """Sample negatives of each class from the pools `(C, P, D)` of the others, of `count` `(C,)` vectors.

        Returns:
            `(C, M, D)` float32 and `(C, 1, M)` bool.
        """
        between = self.prototypes.similarity(ops.convert_to_tensor(self.prototypes.vectors), TEMPERATURE)  # (C, C)
        possible = ops.logical_and(count[None] > 0, ~ops.eye(self.num_classes, dtype="bool"))
        weights = ops.where(possible, ops.exp(between - ops.max(between, axis=-1, keepdims=True)), 0.0)
        draws = keras.random.uniform((2, self.num_classes, self.negatives), seed=self.seed_generator)
        other = sample_indices(weights, draws[0])  # (C, M)
        place = sample_places(ops.take(count, other), draws[1])
        rows = ops.reshape(pool, (-1, pool.shape[-1]))
        vectors = ops.take(rows, other * self.pool + place, axis=0)
        exists = ops.sum(weights, axis=-1, keepdims=True) > 0.0  # (C, 1)
        return vectors, ops.logical_and(exists, draws[0] >= 0.0)[:, None]
