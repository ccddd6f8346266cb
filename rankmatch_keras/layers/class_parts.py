"""Parts of classes: each class divided into a few clusters of features that go on learning."""

import keras
from keras import ops

from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.class_memory import ClassPrototypes, mean_vectors
from rankmatch_keras.layers.sampling import choose, class_members, gather_chosen

SAMPLE = 256  # pixels of a class that its parts begin with
ITERATIONS = 5
FAR = 1e30


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassParts(Float32Layer):
    """K centres per class; a pixel belongs to the nearest centre of its class.

    The centres of a class begin with k-means of a sample of its labelled pixels, when it first occurs: the first centre
    is a random pixel, each further one that which is farthest from those before, and five iterations follow. From then
    on they are moving averages of the means of their pixels.

    Args:
        num_classes: number of classes C.
        parts: centres K per class.
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
        """The part of each pixel.

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
        """Whether the parts `(N,)` have a centre yet: `(N,)` bool."""
        return ops.take(self.centres.known(), part)

    def begin(self, features, label, counted, scores):
        """Makes the centres of the classes that occur for the first time.

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
        """Moves the centres towards the means of their pixels: `(N, D)`, parts `(N,)` and `(N,)` bool."""
        members = class_members(part, self.num_classes * self.parts, counted)
        self.centres.update(*mean_vectors(features, members))


def k_means(vectors, exist, count: int):
    """Clusters the vectors of each class.

    Args:
        vectors: `(C, S, D)` float32.
        exist: `(C, S)` bool, True in front: the vectors that there are.
        count: centres K per class; equal ones where there are fewer vectors.

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
    """Squared distances: `(..., S, D)` and `(..., K, D)` to `(..., S, K)`, never below 0."""
    products = ops.matmul(vectors, ops.swapaxes(centres, -1, -2))
    lengths = ops.sum(ops.square(vectors), axis=-1)[..., None], ops.sum(ops.square(centres), axis=-1)[..., None, :]
    return ops.maximum(lengths[0] - 2.0 * products + lengths[1], 0.0)
