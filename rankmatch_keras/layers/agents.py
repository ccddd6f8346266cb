"""Agents: the few pixels that represent a feature map (RankMatch, Section 3.2), and other ways to choose them."""

import keras
from keras import ops

from rankmatch_keras.layers.base import Float32Layer, random_source, uniform
from rankmatch_keras.layers.pixels import flatten_pixels, unit_length

PICKED = 2.0  # above every cosine: pixels are picked again only where no other valid ones are left
BLOCK = 256  # rows of the self-correlation held at a time


class Agents(Float32Layer):
    """Base of the ways to choose agents.

    Args:
        num_agents: N, at least 1. A smaller grid gives all its pixels.
        seed: int or `keras.random.SeedGenerator` for what is random; `None` picks one.

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
        """Return the spec of `(B, min(num_agents, h*w))` int32."""
        _, height, width, _ = features.shape
        known = height is not None and width is not None
        count = min(self.num_agents, height * width) if known else self.num_agents
        return keras.KerasTensor((features.shape[0], count), dtype="int32")


@keras.saving.register_keras_serializable("rankmatch_keras")
class OrthogonalAgents(Agents):
    """Greedy choice of the pixels whose features are most orthogonal to those already picked.

    The first agent is a random pixel; each further one is `argmin_p max_{a in A} |cos(f_p, f_a)|` over the pixels not
    yet picked, the lowest index on ties (Mai et al., CVPR 2024, Section 3.2). Only a running maximum `(B, h*w)` is
    kept: `O(N * h * w * C)` time and `O(h * w)` memory per image. No gradient flows through the choice.

    Args:
        num_agents: N, at least 1. A smaller grid gives all its pixels.
        seed: int or `keras.random.SeedGenerator` for the first agents; `None` picks one.

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
        """Pick the agents of each image.

        Args:
            features: `(B, h, w, C)` float.
            first_index: `(B,)` int, the flat index `y * w + x` of each image's first agent; random by default.
            valid: `(B, h, w)` bool, False where no agent may be; everywhere valid by default. An image with fewer valid
                pixels than agents repeats one of its first agents.

        Returns:
            `(B, min(num_agents, h*w))` int32 flat indices in the order of selection.
        """
        pixels = unit_length(flatten_pixels(ops.stop_gradient(features)), least=1e-12)  # (B, P, C)
        transposed = ops.transpose(pixels, (0, 2, 1))
        num_pixels = pixels.shape[1]
        # (B, P), the largest |cos| to any agent; PICKED for agents, infinite where none may be
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
            largest = ops.where(positions == newest[:, None], PICKED, largest)
            newest = ops.cast(ops.argmin(largest, axis=1), "int32")
            return ops.where(order == step, newest[:, None], indices), newest, largest

        indices, _, _ = ops.fori_loop(1, count, add_agent, (indices, newest, largest))
        return indices

    def random_pixels(self, pixels):
        """Sample one flat pixel index per image: `(B,)` int32 for pixels `(B, P, C)`."""
        num_pixels = ops.shape(pixels)[1]
        index = ops.floor(uniform(ops.shape(pixels)[:1], self.seed_generator) * ops.cast(num_pixels, "float32"))
        # A uniform number just below 1 can round up to the grid's size.
        return ops.cast(ops.minimum(index, ops.cast(num_pixels - 1, "float32")), "int32")

    def random_valid(self, forbidden):
        """Sample one flat pixel index per image among those where `(B, P)` is not infinite."""
        return ops.argmax(uniform(ops.shape(forbidden), self.seed_generator) - forbidden, axis=1)


@keras.saving.register_keras_serializable("rankmatch_keras")
class RandomAgents(Agents):
    """N distinct pixels, uniformly at random.

    Args:
        num_agents: N, at least 1. A smaller grid gives all its pixels.
        seed: int or `keras.random.SeedGenerator`; `None` picks one.
    """

    def call(self, features, first_index=None, valid=None):
        """Pick the agents, as `OrthogonalAgents` does; `first_index` is ignored."""
        batch_size, height, width = ops.shape(features)[:3]
        scores = uniform((batch_size, height * width), self.seed_generator)
        return best_pixels(scores, self.num_agents, valid)


@keras.saving.register_keras_serializable("rankmatch_keras")
class TopAgents(Agents):
    """The N pixels that all pixels correlate with most.

    The score of pixel p is `sum_q c_qp`, the column sum of the self-correlation `c = softmax(F F^T)` (Mai et al., CVPR
    2024, Eq. 4 with all pixels as agents; Section 4.3, "Top-N"). The correlation is computed a block of rows at a time.

    Args:
        num_agents: N, at least 1. A smaller grid gives all its pixels.
        seed: unused, nothing is random.
    """

    def call(self, features, first_index=None, valid=None):
        """Pick the agents, as `OrthogonalAgents` does; `first_index` is ignored."""
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
        seed: unused, nothing is random.
    """

    def call(self, features, first_index=None, valid=None):
        """Return all pixels of each image, padding included; the other arguments are ignored."""
        pixels = flatten_pixels(features)
        count = ops.arange(ops.shape(pixels)[1], dtype="int32")
        return ops.broadcast_to(count[None], ops.shape(pixels)[:2])

    def compute_output_spec(self, features, first_index=None, valid=None):
        """Return the spec of `(B, h*w)` int32."""
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
    """Return the flat indices `(B, min(count, P))` int32 of the highest scores `(B, P)`, valid pixels first."""
    if valid is not None:
        scores = ops.where(ops.reshape(valid, ops.shape(scores)), scores, float("-inf"))
    _, indices = ops.top_k(scores, min(count, scores.shape[1]))
    return ops.cast(indices, "int32")
