"""ESL's contrast: a pixel resembles the part of its class that it belongs to, and no other part of any class."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import gather
from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.class_memory import ClassBank
from rankmatch_keras.layers.sampling import choose, class_members, sample_indices, sample_places, top_vectors
from rankmatch_keras.losses.contrast import ContrastiveLoss

TEMPERATURE = 0.5


@keras.saving.register_keras_serializable("rankmatch_keras")
class PartContrast(Float32Layer):
    """Contrast of pixels with earlier means of their part (Ma et al., ICCV 2023, Section 3).

    A queue for each part of each class keeps the mean of the teacher's representations of its pixels in each image. An
    anchor's positive comes from the queue of its part, its negatives from all other queues.

    Args:
        num_classes: number of classes C.
        parts: parts K per class.
        channels: length D of a representation.
        capacity: means that a queue keeps.
        anchors: anchors per class and step.
        negatives: negatives per step, drawn for all anchors together; those of the anchor's own part do not count.
        seed: int or `None`.
    """

    def __init__(
        self,
        num_classes: int,
        parts: int,
        channels: int,
        capacity: int = 256,
        anchors: int = 256,
        negatives: int = 255,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.parts = parts
        self.channels = channels
        self.capacity = capacity
        self.anchors = anchors
        self.negatives = negatives
        self.seed = seed
        self.queues = ClassBank(num_classes * parts, capacity, channels, seed=seed)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.loss = ContrastiveLoss(TEMPERATURE)

    def push(self, teacher, part, counted, order):
        """Stores the mean of each part in each image.

        Args:
            teacher: `(B, P, D)` float32, representations.
            part: `(B, P)` int32, the queue of each pixel.
            counted: `(B, P)` bool, the pixels that count.
            order: `(B,)` float32, not negative: images with larger numbers are stored first, on all replicas alike.
        """
        queues = ops.arange(self.queues.num_classes, dtype="int32")[None, :, None]
        weights = ops.cast(ops.logical_and(part[:, None] == queues, counted[:, None]), "float32")  # (B, Q, P)
        number = ops.sum(weights, axis=-1)  # (B, Q)
        means = ops.matmul(weights, teacher) / ops.maximum(number, 1.0)[..., None]  # (B, Q, D)
        means = gather(ops.transpose(means, (1, 0, 2)), axis=1)  # (Q, B of all replicas, D)
        scores = gather(ops.transpose(ops.where(number > 0.0, order[:, None], -1.0)), axis=1)
        self.queues.push(*top_vectors(means, scores, min(scores.shape[1], self.queues.capacity)))

    def call(self, student, label, part, counted, scores):
        """Computes the loss.

        Args:
            student: `(N, D)` float32, representations with gradient.
            label: `(N,)` int.
            part: `(N,)` int32, the queue of each pixel.
            counted: `(N,)` bool, the pixels that may be anchors.
            scores: `(N,)` float32, random.

        Returns:
            Scalar float32.
        """
        choice = choose(class_members(label, self.num_classes, counted), scores, self.anchors)
        own = ops.take(part, choice.indices)  # (C, A)
        positives, stored = self.queues.sample(1)  # (Q, 1, D), (Q, 1)
        chosen = ops.logical_and(choice.exist, ops.take(stored[:, 0], own))
        count = ops.convert_to_tensor(self.queues.count)
        draws = keras.random.uniform((2, self.negatives), seed=self.seed_generator)
        queue = sample_indices(ops.cast(count > 0, "float32")[None], draws[:1])[0]  # (M,)
        place = sample_places(ops.take(count, queue), draws[1])
        rows = ops.reshape(ops.convert_to_tensor(self.queues.vectors), (-1, self.queues.channels))
        negatives = ops.take(rows, queue * self.queues.capacity + place, axis=0)
        others = ops.logical_and(queue != own[..., None], ops.take(count, queue) > 0)  # (C, A, M)
        anchors = ops.take(student, choice.indices, axis=0)
        return self.loss(anchors, chosen, ops.take(positives[:, 0], own, axis=0), negatives[None], others)
