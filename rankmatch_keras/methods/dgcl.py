"""DGCL: contrast guided by the density of features, between the sparse and the dense pixels of a class."""

import keras
from keras import ops

from rankmatch_keras.layers import pseudo_labels
from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.class_memory import ClassBank
from rankmatch_keras.layers.pixels import on_grid, pixel_rows, unit_length
from rankmatch_keras.layers.pseudo_labels import masked_quantiles, pixel_entropy
from rankmatch_keras.layers.sampling import choose, class_members, gather_chosen, top_vectors
from rankmatch_keras.losses.contrast import ContrastiveLoss
from rankmatch_keras.methods.contrastive import ContrastiveBase, fraction_of_valid, mask_and_known, paste_partners
from rankmatch_keras.models.segmenter import decoded_channels

DROPPED = 0.2  # fraction of the pixels without L_u at the beginning; 0 at the end
APART = (0.8, 0.1)  # fraction of the unlabeled pixels that are not contrasted, at the beginning and at the end
TEMPERATURE = 0.5
ABOVE = 2.0  # makes scores of densities positive
NEIGHBOURS = (8, 16, 32)


@keras.saving.register_keras_serializable("rankmatch_keras")
class DGCL(ContrastiveBase):
    """`L = L_sup + w_u L_u + w_c L_c` (Wang et al., CVPR 2023: density-guided contrastive learning, Section 3).

    L_u is the cross-entropy on box-mixed weak views against the EMA teacher's labels, without the pixels of highest
    entropy, 20 % at first and none at the end; it grows where few pixels are kept. L_c is the `DensityContrast` of
    labeled pixels and of the unlabeled ones of lowest entropy, 20 % at first and 90 % at the end. The teacher runs in
    training mode.

    Differences from the publication: a class is contrasted once its own memory is full, not once all are, as a rare
    class would keep all waiting; anchors come from `candidates` random pixels per class (there up to 10000, some 50
    billion multiplications per class and step); memory and negatives are the teacher's.

    Args:
        segmenter: the network to train.
        unsupervised_weight: w_u.
        contrast_weight: w_c.
        ema_decay: decay of the teacher.
        warm_up: fraction of the training with labeled images alone: 1/80 on Pascal VOC, 10/200 on Cityscapes.
        capacity: pixels kept per class; 21 classes take 431 MB with 10000.
        added: pixels stored per class and step, at most.
        candidates: pixels per class that anchors are chosen from.
        anchors: anchors per class and step.
        dense: densest pixels of the batch, and of the memory, that make the positive.
        negatives: negatives per class and step.
        first_class: classes before it are not contrasted: 1 leaves class 0 out, as published.
        **kwargs: see `ContrastiveBase` and `Method`.
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
        """Return the only stage."""
        return (self.joint_stage,)

    def joint_stage(self, batch, carry):
        """Compute all terms from one pass of each network."""
        done = self.advance()
        num_labeled = ops.shape(batch["labeled_image"])[0]
        truth, known = mask_and_known(batch, self.ignore_index)
        known = ops.logical_and(known, done >= self.warm_up)
        valid = ops.logical_and(batch["valid"], done >= self.warm_up)
        teacher = self.teacher_outputs(True, labeled=batch["labeled_image"], weak=batch["weak_image"])
        label, _ = pseudo_labels(teacher["logits"][num_labeled:])
        entropy = pixel_entropy(teacher["logits"][num_labeled:])
        left_out = DROPPED * (1.0 - done), APART[0] + (APART[1] - APART[0]) * done
        limits = masked_quantiles(entropy, valid, *(1.0 - share for share in left_out))
        kept, compared = (ops.logical_and(valid, entropy <= limit) for limit in limits)

        boxes = self.boxes(batch)
        values = (batch["weak_image"], label, valid, kept, compared)
        image, mixed_label, valid, kept, mixed_compared = (paste_partners(value, boxes) for value in values)
        student = self.student_outputs(labeled=batch["labeled_image"], strong=image)
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
            "mask_ratio": fraction_of_valid(kept, valid),
        }, None


def _rows(outputs):
    """Return features `(N, F)` and projections `(N, D)` of the pixels that have a representation, float32."""
    return tuple(ops.cast(pixel_rows(outputs[name]), "float32") for name in ("pixels", "representation"))


@keras.saving.register_keras_serializable("rankmatch_keras")
class DensityContrast(Float32Layer):
    """Contrast of the sparsest pixels of a class with its densest ones (Wang et al., CVPR 2023, Section 3).

    Density is measured among the features of the class in a memory, see `density`. For each class: anchors are the
    student's projections of the pixels of least density; the positive is the mean of the teacher's projections of the
    densest pixels of batch and memory, half of each; negatives are the teacher's projections of random pixels of other
    classes. A class is contrasted once its memory is full.

    Args:
        num_classes: number of classes C.
        feature_channels: length F of a feature.
        channels: length D of a projection.
        capacity: pixels that the memory keeps per class: feature, projection and density.
        added: how many of them are new in each step, at most.
        candidates: random pixels per class that anchors are chosen from.
        anchors: anchors per class and step.
        dense: densest pixels of the batch, and of the memory, that make the positive.
        negatives: negatives per class and step.
        first_class: classes before it are left out.
        seed: int or `None`.
    """

    def __init__(
        self,
        num_classes: int,
        feature_channels: int,
        channels: int,
        *,
        capacity: int = 10000,
        added: int = 1000,
        candidates: int = 2000,
        anchors: int = 200,
        dense: int = 50,
        negatives: int = 512,
        first_class: int = 1,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.feature_channels = feature_channels
        self.channels = channels
        self.capacity = capacity
        self.added = min(added, capacity)
        self.candidates = candidates
        self.anchors = min(anchors, candidates)
        self.dense = min(dense, self.added)
        self.negatives = negatives
        self.first_class = first_class
        self.seed = seed
        # The density of an entry is its last channel.
        self.memory = ClassBank(num_classes, capacity, feature_channels + channels + 1, seed=seed)
        self.loss = ContrastiveLoss(TEMPERATURE)

    def call(self, student, teacher, student_label, teacher_label, student_counted, teacher_counted, scores):
        """Update the memory and compute the loss.

        Args:
            student: pair of features `(N, F)` and projections `(N, D)`, float32, the latter with gradient.
            teacher: the same of the teacher.
            student_label: `(N,)` int, the classes of the student's pixels.
            teacher_label: `(N,)` int, those of the teacher's.
            student_counted: `(N,)` bool, the student's pixels to use.
            teacher_counted: `(N,)` bool, those of the teacher.
            scores: `(N,)` float32, random.

        Returns:
            Scalar float32.
        """
        members = class_members(teacher_label, self.num_classes, teacher_counted)  # (C, N)
        stored = ops.convert_to_tensor(self.memory.vectors)
        filled = self.memory.filled()
        batch, present = gather_chosen(ops.concatenate(teacher, axis=-1), choose(members, scores, self.added))
        densities = density(batch[..., : self.feature_channels], stored[..., : self.feature_channels], filled)
        batch = ops.concatenate([batch, densities[..., None]], axis=-1)  # (C, added, F + D + 1)
        positives = self.densest([batch, stored], [present, filled])
        self.memory.push(batch, present)

        counted = ops.arange(self.num_classes, dtype="int32") >= self.first_class
        counted = ops.logical_and(counted, ops.all(self.memory.filled(), axis=1))[:, None]  # (C, 1)
        anchors, chosen = self.sparsest(
            student, class_members(student_label, self.num_classes, student_counted), scores
        )
        others = ops.logical_and(~members, teacher_counted[None])
        negatives, exist = gather_chosen(teacher[1], choose(others, scores, self.negatives))
        return self.loss(anchors, ops.logical_and(chosen, counted), positives, negatives, exist[:, None])

    def densest(self, entries, counted):
        """Return the mean projection of the densest entries: `(C, 1, D)` from `(C, P, F + D + 1)`, `(C, P)`."""
        total, number = 0.0, 0.0
        for vectors, marks in zip(entries, counted, strict=True):
            scores = ops.where(marks, vectors[..., -1] + ABOVE, -1.0)
            found, exist = top_vectors(vectors[..., self.feature_channels : -1], scores, self.dense)
            weights = ops.cast(exist, "float32")[..., None]
            total = total + ops.sum(found * weights, axis=1, keepdims=True)
            number = number + ops.sum(weights, axis=1, keepdims=True)
        return total / ops.maximum(number, 1.0)

    def sparsest(self, student, members, scores):
        """Return the projections of least density among random pixels of each class: `(C, A, D)`, and which exist."""
        features, projections = student
        random = choose(members, scores, self.candidates)  # (C, P)
        stored = ops.convert_to_tensor(self.memory.vectors)[..., : self.feature_channels]
        densities = density(ops.take(features, random.indices, axis=0), stored, self.memory.filled())
        choice = choose(random.exist, ABOVE - densities, self.anchors)
        indices = ops.take_along_axis(random.indices, choice.indices, axis=1)
        return ops.take(projections, indices, axis=0), choice.exist


def density(features, memory, filled):
    """Compute the mean over k = 8, 16, 32 of the mean cosine to the k nearest stored features of the same class.

    One class after the other, so that no more than `P * M` similarities are held at once. A memory of fewer than k
    features gives all of them.

    Args:
        features: `(C, P, F)` float32.
        memory: `(C, M, F)` float32.
        filled: `(C, M)` bool, which places of the memory hold a feature.

    Returns:
        `(C, P)` float32 of -1 to 1, without gradient; 0 for classes without memory.
    """
    count = min(max(NEIGHBOURS), memory.shape[1])
    order = ops.arange(count, dtype="int32")

    def of_class(parts):
        features, memory, filled = parts
        similarity = ops.matmul(unit_length(features), ops.transpose(unit_length(memory)))  # (P, M)
        nearest = ops.top_k(ops.where(filled[None], similarity, -2.0), count)[0]  # (P, count)
        stored = ops.sum(ops.cast(filled, "int32"))
        means = []
        for k in NEIGHBOURS:
            number = ops.minimum(stored, min(k, count))
            total = ops.sum(ops.where(order < number, nearest, 0.0), axis=-1)
            means.append(total / ops.cast(ops.maximum(number, 1), "float32"))
        return sum(means) / float(len(means))

    return ops.stop_gradient(ops.map(of_class, tuple(ops.stop_gradient(x) for x in (features, memory)) + (filled,)))
