"""Complementary channel dropout: UniMatch V2's perturbation of the features of two strong views."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import own_part, replicas
from rankmatch_keras.layers.feature_dropout import Perturbation, each_map


@keras.saving.register_keras_serializable("rankmatch_keras")
class ComplementaryDropout(Perturbation):
    """Gives each channel, doubled, to one of two views of an image and zeroes it in the other.

    The factor of a channel is m in {0, 2} in the first view and 2 - m in the second, drawn per image and map; half of
    the images, drawn anew each time and rounded down, keep all channels as they are (Yang et al., TPAMI 2025, UniMatch
    V2, Section 3.3).

    Args:
        seed: int or `None`.
    """

    def call(self, maps):
        """Drops channels.

        Args:
            maps: dict of `(2 B, h, w, C)`, the images of the first view and then those of the second; maps without
                channels pass unchanged.

        Returns:
            A dict like `maps`.
        """
        images = ops.shape(next(iter(maps.values())))[0] // 2
        kept = self._kept(images * replicas().count)
        return each_map(maps, lambda value: self._dropped(value, images, kept))

    def _kept(self, images):
        """Which images of the global batch keep all channels: (B, 1, 1, 1) bool."""
        order = keras.random.uniform((images, 1), seed=self.seed_generator)
        ranks = ops.sum(ops.cast(ops.transpose(order) < order, "int32"), axis=1)
        return ops.reshape(ranks < images // 2, (images, 1, 1, 1))

    def _dropped(self, value, images, kept):
        shape = (images * replicas().count, 1, 1, value.shape[-1])
        first = 2.0 * ops.cast(keras.random.uniform(shape, seed=self.seed_generator) >= 0.5, "float32")
        first = own_part(ops.where(kept, 1.0, first))  # (B, 1, 1, C)
        factors = ops.concatenate([first, 2.0 - first])
        return value * ops.cast(factors, value.dtype)
