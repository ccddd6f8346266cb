"""DGCL's contrast: pixels in sparse regions of their class are drawn towards its dense ones."""

import keras
from keras import ops

from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.class_memory import ClassBank
from rankmatch_keras.layers.density import density
from rankmatch_keras.layers.sampling import choose, class_members, gather_chosen, top_vectors
from rankmatch_keras.losses.contrast import ContrastiveLoss

TEMPERATURE = 0.5
ABOVE = 2.0  # makes scores of densities positive


@keras.saving.register_keras_serializable("rankmatch_keras")
class DensityContrast(Float32Layer):
    """Contrast of the sparsest pixels of a class with its densest ones (Wang et al., CVPR 2023, Section 3).

    Density is measured among the features of the class in a memory, see `layers.density`. For each class: anchors are
    the student's projections of the pixels of least density; the positive is the mean of the teacher's projections of
    the densest pixels of batch and memory, half of each; negatives are the teacher's projections of random pixels of
    other classes. A class counts once its memory is full.

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
        """Updates the memory and computes the loss.

        Args:
            student: pair of features `(N, F)` and projections `(N, D)`, float32, the latter with gradient.
            teacher: the same of the teacher.
            student_label: `(N,)` int, the classes of the student's pixels.
            teacher_label: `(N,)` int, those of the teacher's.
            student_counted: `(N,)` bool, the pixels of the student whose label counts.
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
        """The mean projection of the densest entries of each list: `(C, 1, D)` from `(C, P, F + D + 1)`, `(C, P)`."""
        total, number = 0.0, 0.0
        for vectors, marks in zip(entries, counted, strict=True):
            scores = ops.where(marks, vectors[..., -1] + ABOVE, -1.0)
            found, exist = top_vectors(vectors[..., self.feature_channels : -1], scores, self.dense)
            weights = ops.cast(exist, "float32")[..., None]
            total = total + ops.sum(found * weights, axis=1, keepdims=True)
            number = number + ops.sum(weights, axis=1, keepdims=True)
        return total / ops.maximum(number, 1.0)

    def sparsest(self, student, members, scores):
        """Of some random pixels of each class the projections of least density: `(C, A, D)`, and which exist."""
        features, projections = student
        random = choose(members, scores, self.candidates)  # (C, P)
        stored = ops.convert_to_tensor(self.memory.vectors)[..., : self.feature_channels]
        densities = density(ops.take(features, random.indices, axis=0), stored, self.memory.filled())
        choice = choose(random.exist, ABOVE - densities, self.anchors)
        indices = ops.take_along_axis(random.indices, choice.indices, axis=1)
        return ops.take(projections, indices, axis=0), choice.exist
