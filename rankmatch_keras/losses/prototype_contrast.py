"""CSS' contrast: pixels that are far from the prototype of their class, against pixels of similar classes."""

import keras
from keras import ops

from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.class_memory import ClassPrototypes
from rankmatch_keras.layers.sampling import choose, class_members, gather_chosen, sample_indices, sample_places
from rankmatch_keras.losses.contrast import ContrastiveLoss

TEMPERATURE = 0.5
HARD = 0.8  # probability of its class by the prototypes that a hard pixel does not reach


@keras.saving.register_keras_serializable("rankmatch_keras")
class PrototypeContrast(Float32Layer):
    """Contrast of hard pixels with the prototype of their class (Wang et al., ICCV 2023, Section 3; after ReCo).

    For each class: anchors are pixels whose probability of the class, by the softmax of their similarities to all
    prototypes, is below 0.8; the positive is the prototype; negatives are pixels of the batch, of other classes that
    are drawn by the softmax of the prototypes' similarities.

    Args:
        prototypes: `ClassPrototypes`, which the method keeps.
        num_classes: number of classes C.
        anchors: anchors per class and step.
        negatives: negatives per class and step, drawn for all its anchors together.
        pool: pixels of each class that negatives are drawn from.
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
        """Computes the loss.

        Args:
            student: `(N, D)` float32, representations with gradient.
            label: `(N,)` int.
            counted: `(N,)` bool, the pixels whose label counts.
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
        """Draws negatives of each class from the pools `(C, P, D)` of the others with `count` `(C,)` vectors.

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
