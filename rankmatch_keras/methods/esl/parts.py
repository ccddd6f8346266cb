"""Parts of classes, clusters of features that move with the training, and the contrast between them."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import gather
from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.class_memory import ClassBank, ClassPrototypes, mean_vectors
from rankmatch_keras.layers.sampling import (
    choose,
    class_members,
    gather_chosen,
    sample_indices,
    sample_places,
    top_vectors,
)
from rankmatch_keras.losses.contrast import ContrastiveLoss

SAMPLE = 256  # pixels of a class that its parts begin with
ITERATIONS = 5
FAR = 1e30
TEMPERATURE = 0.5


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassParts(Float32Layer):
    """K centers per class; a pixel belongs to the nearest center of its class.

    The centers of a class begin with k-means of a sample of its labeled pixels, when the class first occurs: the first
    center is a random pixel, each further one the pixel farthest from those before, and five iterations follow. From
    then on they are moving averages of the means of their pixels.

    Args:
        num_classes: number of classes C.
        parts: centers K per class.
        channels: length D of a feature.
        decay: of the moving averages.
    """

    def __init__(self, num_classes: int, parts: int, channels: int, decay: float = 0.99, **kwargs):
        super().__init__(**kwargs)
        if parts < 1:
            raise ValueError(f"Expected at least 1 part per class. Received: parts={parts}")
        self.num_classes = num_classes
        self.parts = parts
        self.channels = channels
        self.decay = decay
        self.centres = ClassPrototypes(num_classes * parts, channels, decay)

    def assign(self, features, label):
        """Return the part of each pixel.

        Args:
            features: `(N, D)` float32.
            label: `(N,)` int, its class.

        Returns:
            `(N,)` int32, `class * K + part`.
        """
        centres = ops.convert_to_tensor(self.centres.vectors)  # (C * K, D)
        own = ops.arange(self.num_classes * self.parts, dtype="int32")[None] // self.parts == label[:, None]
        distances = ops.where(own, _distances(features, centres), FAR)  # (N, C * K)
        return ops.cast(ops.argmin(distances, axis=-1), "int32")

    def known(self, part):
        """Return whether the parts `(N,)` have a center yet: `(N,)` bool."""
        return ops.take(self.centres.known(), part)

    def begin(self, features, label, counted, scores):
        """Make the centers of the classes that occur for the first time.

        Args:
            features: `(N, D)` float32.
            label: `(N,)` int, the true classes.
            counted: `(N,)` bool, the pixels that have one.
            scores: `(N,)` float32, random.
        """
        members = class_members(label, self.num_classes, counted)
        sample, exist = gather_chosen(features, choose(members, scores, SAMPLE))  # (C, S, D), (C, S)
        centres = k_means(sample, exist, self.parts)
        present = ops.repeat(exist[:, 0], self.parts)
        new = ops.logical_and(present, ~self.centres.known())
        self.centres.update(ops.reshape(centres, (-1, centres.shape[-1])), new)

    def update(self, features, part, counted):
        """Move the centers towards the means of their pixels: `(N, D)`, parts `(N,)` and `(N,)` bool."""
        members = class_members(part, self.num_classes * self.parts, counted)
        self.centres.update(*mean_vectors(features, members))


def k_means(vectors, exist, count: int):
    """Cluster the vectors of each class.

    Args:
        vectors: `(C, S, D)` float32.
        exist: `(C, S)` bool, True in front: the vectors that there are.
        count: centers K per class; equal ones where there are fewer vectors.

    Returns:
        `(C, K, D)` float32.
    """
    centres = vectors[:, :1]  # (C, 1, D)
    for _ in range(count - 1):
        nearest = ops.min(_distances(vectors, centres), axis=-1)  # (C, S)
        farthest = ops.argmax(ops.where(exist, nearest, -1.0), axis=1)
        centres = ops.concatenate([centres, ops.take_along_axis(vectors, farthest[:, None, None], axis=1)], axis=1)
    for _ in range(ITERATIONS):
        nearest = ops.argmin(_distances(vectors, centres), axis=-1)  # (C, S)
        belongs = ops.logical_and(ops.arange(count)[None, :, None] == nearest[:, None], exist[:, None])  # (C, K, S)
        weights = ops.cast(belongs, "float32")
        number = ops.sum(weights, axis=-1, keepdims=True)
        centres = ops.where(number > 0.0, ops.matmul(weights, vectors) / ops.maximum(number, 1.0), centres)
    return centres


def _distances(vectors, centres):
    """Return squared distances, never below 0: `(..., S, D)` and `(..., K, D)` to `(..., S, K)`."""
    products = ops.matmul(vectors, ops.swapaxes(centres, -1, -2))
    lengths = ops.sum(ops.square(vectors), axis=-1)[..., None], ops.sum(ops.square(centres), axis=-1)[..., None, :]
    return ops.maximum(lengths[0] - 2.0 * products + lengths[1], 0.0)


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
        negatives: negatives per step, sampled for all anchors together; those of the anchor's own part are left out.
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
        """Store the mean of each part in each image.

        Args:
            teacher: `(B, P, D)` float32, representations.
            part: `(B, P)` int32, the queue of each pixel.
            counted: `(B, P)` bool, the pixels to use.
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
        """Compute the loss.

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
