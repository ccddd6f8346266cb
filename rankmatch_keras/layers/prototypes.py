"""Prototypes: the vector that stands for each class, averaged over the steps."""

import keras
from keras import ops

from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.cosine import unit_length

UNKNOWN = -1e4  # the similarity to a class that was never seen; exp of it is 0


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassPrototypes(Float32Layer):
    """Moving averages of class means: `p = decay * p + (1 - decay) * mean`, the first mean as it is.

    Args:
        num_classes: number of classes C.
        channels: length D of a vector.
        decay: 0 to 1.
    """

    def __init__(self, num_classes: int, channels: int, decay: float = 0.99, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.channels = channels
        self.decay = decay
        self.vectors = self.add_state("vectors", (num_classes, channels))
        self.seen = self.add_state("seen", (num_classes,), dtype="int32")

    def known(self):
        """Which classes were ever seen: `(C,)` bool."""
        return ops.convert_to_tensor(self.seen) > 0

    def update(self, means, present):
        """Moves the prototypes of the classes that are present.

        Args:
            means: `(C, D)` float32, alike on all replicas.
            present: `(C,)` bool.
        """
        old, known = ops.convert_to_tensor(self.vectors), self.known()
        keep = ops.where(known, self.decay, 0.0)[:, None]
        moved = keep * old + (1.0 - keep) * ops.stop_gradient(means)
        self.vectors.assign(ops.where(present[:, None], moved, old))
        self.seen.assign(ops.cast(ops.logical_or(known, present), "int32"))

    def similarity(self, vectors, temperature: float):
        """Cosine similarity to each prototype over the temperature.

        Args:
            vectors: `(..., D)` float32.
            temperature: above 0.

        Returns:
            `(..., C)` float32; -10000 for classes that were never seen.
        """
        prototypes = unit_length(ops.convert_to_tensor(self.vectors))
        cosine = ops.matmul(unit_length(vectors), ops.transpose(prototypes))
        return ops.where(self.known(), cosine / temperature, UNKNOWN)
