"""Agents: the few pixels of a feature map that stand for all of them (RankMatch, Section 3.2)."""

import keras
from keras import ops

from rankmatch_keras.layers.base import Float32Layer, random_source, uniform
from rankmatch_keras.layers.pixels import flatten_pixels, unit_length


class Agents(Float32Layer):
    """What all ways to choose agents share.

    Args:
        num_agents: N, at least 1. A grid with fewer pixels gives all of them.
        seed: int or `keras.random.SeedGenerator` for what is random; `None` draws one.

    Raises:
        ValueError: `num_agents` is smaller than 1.
    """

    def __init__(self, num_agents: int = 128, seed=None, **kwargs):
        super().__init__(**kwargs)
        if num_agents < 1:
            raise ValueError(f"Expected at least 1 agent. Received: num_agents={num_agents}")
        self.num_agents = num_agents
        self.seed = seed
        self.seed_generator = random_source(seed)

    def compute_output_spec(self, features, first_index=None, valid=None):
        """Returns `(B, min(num_agents, h*w))` int32."""
        _, height, width, _ = features.shape
        known = height is not None and width is not None
        count = min(self.num_agents, height * width) if known else self.num_agents
        return keras.KerasTensor((features.shape[0], count), dtype="int32")


@keras.saving.register_keras_serializable("rankmatch_keras")
class OrthogonalAgents(Agents):
    """Greedily picks the pixels whose features are most orthogonal to those picked before.

    The first agent is a random pixel; each further one is `argmin_p max_{a in A} |cos(f_p, f_a)|`
    over the pixels not yet picked, the lowest index where several are equal (Mai et al., CVPR 2024,
    Section 3.2). Only a running maximum `(B, h*w)` is kept, so the cost is `O(N * h * w * C)` time and
    `O(h * w)` memory per image. No gradient flows through the choice.

    Args:
        num_agents: N, at least 1. A grid with fewer pixels gives all of them.
        seed: int or `keras.random.SeedGenerator` for the first agents; `None` draws one.

    Raises:
        ValueError: `num_agents` is smaller than 1.

    Example:

    >>> import numpy as np
    >>> features = np.array([[[[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]]])  # 1 image, 1x3 pixels, 2 channels
    >>> agents = OrthogonalAgents(num_agents=2)(features, first_index=np.array([0]))
    >>> keras.ops.convert_to_numpy(agents).tolist()
    [[0, 2]]
    """

    def call(self, features, first_index=None, valid=None):
        """Picks the agents of each image.

        Args:
            features: `(B, h, w, C)` float.
            first_index: `(B,)` int, the flat index `y * w + x` of each image's first agent; random by default.
            valid: `(B, h, w)` bool, False where no agent may stand; all may by default. An image with fewer valid
                pixels than agents gives one of its first agents again.

        Returns:
            `(B, min(num_agents, h*w))` int32 flat indices in the order of selection.
        """
        pixels = flatten_pixels(ops.stop_gradient(features))  # (B, P, C)
        pixels = unit_length(pixels, least=1e-12)
        transposed = ops.transpose(pixels, (0, 2, 1))
        num_pixels = pixels.shape[1]
        # (B, P), the largest |cos| to any agent; CHOSEN for agents, infinite where none may stand
        largest = ops.zeros_like(pixels[:, :, 0])
        if valid is not None:
            largest = ops.where(ops.reshape(valid, ops.shape(largest)), largest, float("inf"))
        if first_index is None:
            first_index = self.random_pixels(pixels) if valid is None else self.random_valid(largest)
        newest = ops.cast(first_index, "int32")  # (B,)
        count = self.num_agents if num_pixels is None else min(self.num_agents, num_pixels)
        positions = ops.arange(ops.shape(pixels)[1], dtype="int32")[None]  # (1, P)
        order = ops.arange(count, dtype="int32")[None]  # (1, N)
        indices = ops.zeros_like(newest[:, None]) + ops.where(order == 0, 1, 0) * newest[:, None]  # (B, N)

        def add_agent(step, state):
            indices, newest, largest = state
            agent = ops.take_along_axis(pixels, newest[:, None, None], axis=1)  # (B, 1, C)
            cosine = ops.abs(ops.matmul(agent, transposed)[:, 0])  # (B, P)
            largest = ops.maximum(largest, cosine)
            largest = ops.where(positions == newest[:, None], CHOSEN, largest)
            newest = ops.cast(ops.argmin(largest, axis=1), "int32")
            return ops.where(order == step, newest[:, None], indices), newest, largest

        indices, _, _ = ops.fori_loop(1, count, add_agent, (indices, newest, largest))
        return indices

    def random_pixels(self, pixels):
        """Draws one flat pixel index per image, uniformly: `(B,)` int32 for pixels `(B, P, C)`."""
        num_pixels = ops.shape(pixels)[1]
        index = ops.floor(uniform(ops.shape(pixels)[:1], self.seed_generator) * ops.cast(num_pixels, "float32"))
        # A uniform number just below 1 can round up to the grid's size.
        return ops.cast(ops.minimum(index, ops.cast(num_pixels - 1, "float32")), "int32")

    def random_valid(self, forbidden):
        """Draws one flat pixel index per image among those where `(B, P)` is not infinite."""
        return ops.argmax(uniform(ops.shape(forbidden), self.seed_generator) - forbidden, axis=1)


CHOSEN = 2.0  # above every cosine: pixels are picked again only where no other valid ones are left


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
