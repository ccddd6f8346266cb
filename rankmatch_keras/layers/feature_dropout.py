"""Perturbations of the encoder's maps before decoding: their base, and UniMatch's feature dropout."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import own_part, replicas
from rankmatch_keras.layers.base import ConfigFromArguments


def each_map(maps, function):
    """Apply a function to every map with channels in a structure, in the same order on every backend."""
    return keras.tree.map_structure(lambda value: function(value) if value.shape[-1] else value, maps)


class Perturbation(ConfigFromArguments, keras.layers.Layer):
    """Base of the perturbations of encoder maps: no weights, the model's precision.

    Args:
        seed: int or `None`.
    """

    def __init__(self, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.built = True
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def sample(self, shape, low=0.0, high=1.0):
        """Sample uniform numbers of any shape, the same ones on all replicas."""
        return keras.random.uniform(shape, low, high, seed=self.seed_generator)


@keras.saving.register_keras_serializable("rankmatch_keras")
class FeatureDropout(Perturbation):
    """Dropout of whole channels, independent per map and image; the others grow by `1 / (1 - rate)`.

    Args:
        rate: fraction of channels dropped, 0 to below 1.
        seed: int or `None`.
    """

    def __init__(self, rate: float = 0.5, seed: int | None = None, **kwargs):
        super().__init__(seed, **kwargs)
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"Expected a rate of 0 up to (not including) 1. Received: rate={rate}")
        self.rate = rate

    def call(self, features):
        """Drop channels of each `(B, h, w, C)` map; maps without channels pass unchanged."""
        return each_map(features, self._dropped)

    def _dropped(self, feature_map):
        images = ops.shape(feature_map)[0] * replicas().count
        factors = ops.ones((images, 1, 1, feature_map.shape[-1]))
        if self.rate > 0:
            factors = keras.random.dropout(factors, self.rate, seed=self.seed_generator)
        return feature_map * ops.cast(own_part(factors), feature_map.dtype)
