"""Virtual adversarial training on feature maps: the small move that changes a decoder's prediction most."""

import keras
from keras import ops

from rankmatch_keras.layers.base import uniform
from rankmatch_keras.layers.feature_dropout import Perturbation, each_map

TINY = 1e-8


@keras.saving.register_keras_serializable("rankmatch_keras")
class AdversarialMove(Perturbation):
    """Moves each map of each image by a norm of 2 to where the prediction diverges fastest (Miyato et al., 2018).

    The direction is the gradient of the divergence KL(p(x) || p(x + d)) at a random move d of norm 1, one step of power
    iteration. The published programs take a norm of 1e-6, which float32 rounds away against maps of that size.

    Args:
        seed: int or `None`, for the random moves.
    """

    epsilon = 2.0
    probe = 1.0

    def move(self, maps, decode, gradient):
        """Moves the maps.

        Args:
            maps: dict of `(B, h, w, C)`.
            decode: function from such a dict to logits `(B, H, W, K)`, without effect on any state.
            gradient: function `(function, value)` to the gradient of a scalar function at a value, of the same
                structure.

        Returns:
            A dict like `maps`; the move itself has no gradient.
        """
        clean = {name: ops.stop_gradient(value) for name, value in maps.items()}
        before = ops.log_softmax(ops.stop_gradient(ops.cast(decode(clean), "float32")), axis=-1)

        def divergence(moves):
            moved = {name: clean[name] + self.probe * moves[name] for name in clean}
            after = ops.log_softmax(ops.cast(decode(moved), "float32"), axis=-1)
            # A sum: the direction of an image must not depend on how many there are.
            return ops.sum(ops.exp(before) * (before - after))

        directions = gradient(divergence, each_map(clean, lambda value: unit(self._random(value))))
        return {name: value + self.epsilon * unit(directions[name]) for name, value in maps.items()}

    def _random(self, value):
        shape = (ops.shape(value)[0], *value.shape[1:])
        return ops.cast(uniform(shape, self.seed_generator, -0.5, 0.5), value.dtype)


def unit(move):
    """A map `(B, h, w, C)` divided by its norm in each image."""
    norm = ops.sqrt(ops.sum(ops.square(ops.cast(move, "float32")), axis=(1, 2, 3), keepdims=True))
    return move / ops.cast(norm + TINY, move.dtype)
