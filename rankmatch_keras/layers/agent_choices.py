"""Other ways to choose agents, for comparison with the orthogonal one (RankMatch, Table 5)."""

import keras
from keras import ops

from rankmatch_keras.layers.agents import Agents, OrthogonalAgents, flatten_pixels
from rankmatch_keras.layers.base import uniform

BLOCK = 256  # pixels whose correlation with all others is held at a time


@keras.saving.register_keras_serializable("rankmatch_keras")
class RandomAgents(Agents):
    """N different pixels, uniformly at random.

    Args:
        num_agents: N, at least 1. A grid with fewer pixels gives all of them.
        seed: int or `keras.random.SeedGenerator`; `None` draws one.
    """

    def call(self, features, first_index=None, valid=None):
        """See `OrthogonalAgents`; `first_index` plays no part."""
        batch_size, height, width = ops.shape(features)[:3]
        scores = uniform((batch_size, height * width), self.seed_generator)
        return best_pixels(scores, self.num_agents, valid)


@keras.saving.register_keras_serializable("rankmatch_keras")
class TopAgents(Agents):
    """The N pixels that all pixels together correlate most with.

    The score of pixel p is `sum_q c_qp`, the column sum of the self-correlation `c = softmax(F F^T)` (Mai et al., CVPR
    2024, Eq. 4 with all pixels as agents; Section 4.3, "Top-N"). The correlation is held for some rows at a time.

    Args:
        num_agents: N, at least 1. A grid with fewer pixels gives all of them.
        seed: unused; there is nothing random.
    """

    def call(self, features, first_index=None, valid=None):
        """See `OrthogonalAgents`; `first_index` plays no part."""
        pixels = flatten_pixels(ops.stop_gradient(features))  # (B, P, C)
        transposed = ops.transpose(pixels, (0, 2, 1))
        scores = 0.0
        for start in range(0, pixels.shape[1], BLOCK):
            rows = ops.softmax(ops.matmul(pixels[:, start : start + BLOCK], transposed), axis=-1)
            scores = scores + ops.sum(rows, axis=1)
        return best_pixels(scores, self.num_agents, valid)


@keras.saving.register_keras_serializable("rankmatch_keras")
class AllAgents(Agents):
    """Every pixel, in order.

    Args:
        num_agents: unused.
        seed: unused; there is nothing random.
    """

    def call(self, features, first_index=None, valid=None):
        """See `OrthogonalAgents`; padding is an agent too, as there is no choice."""
        pixels = flatten_pixels(features)
        count = ops.arange(ops.shape(pixels)[1], dtype="int32")
        return ops.broadcast_to(count[None], ops.shape(pixels)[:2])

    def compute_output_spec(self, features, first_index=None, valid=None):
        """Returns `(B, h*w)` int32."""
        batch_size, height, width, _ = features.shape
        count = None if height is None or width is None else height * width
        return keras.KerasTensor((batch_size, count), dtype="int32")


CHOICES: dict[str, type[Agents]] = {
    "orthogonal": OrthogonalAgents,
    "random": RandomAgents,
    "top_n": TopAgents,
    "all": AllAgents,
}


def best_pixels(scores, count, valid=None):
    """The flat indices `(B, min(count, P))` int32 of the best-scored pixels of `(B, P)`, valid ones first."""
    if valid is not None:
        scores = ops.where(ops.reshape(valid, ops.shape(scores)), scores, float("-inf"))
    _, indices = ops.top_k(scores, min(count, scores.shape[1]))
    return ops.cast(indices, "int32")
