"""Base of the losses on the correlation of pixels with agents (RankMatch, Section 3.2)."""

from keras import ops

from rankmatch_keras.layers.agents import CHOICES
from rankmatch_keras.layers.pixels import flatten_pixels, gather_agents, masked_mean, unit_length
from rankmatch_keras.losses.base import Loss

SIMILARITIES = ("dot", "cosine")
BLOCK = 256  # pixels compared with all others at a time


class AgentLoss(Loss):
    """Comparison of how each pixel relates to the agents in teacher and student; the teacher's features choose them.

    Args:
        num_agents: N; a smaller grid uses all its pixels.
        agents: how they are chosen: `"orthogonal"`, the greedy choice of Section 3.2; `"random"`; `"top_n"`, those that
            all pixels correlate with most; `"all"` pixels (Table 5).
        similarity: `"dot"` products of the features, as in Eq. 4, or their `"cosine"`.
        temperature: divisor of the similarities, above 0.
        agent_gradient: whether gradient reaches the student through its agents too, or only through its pixels.
        seed: int or `None`, for a random choice.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        num_agents: int = 128,
        agents: str = "orthogonal",
        similarity: str = "dot",
        temperature: float = 1.0,
        agent_gradient: bool = True,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if agents not in CHOICES:
            raise ValueError(f"Expected agents in {tuple(CHOICES)}. Received: agents={agents!r}")
        if similarity not in SIMILARITIES:
            raise ValueError(f"Expected similarity in {SIMILARITIES}. Received: similarity={similarity!r}")
        if not temperature > 0:
            raise ValueError(f"Expected a temperature above 0. Received: temperature={temperature}")
        self.num_agents = num_agents
        self.agents = agents
        self.similarity = similarity
        self.temperature = temperature
        self.agent_gradient = agent_gradient
        self.seed = seed
        self.select_agents = CHOICES[agents](num_agents, seed=seed)

    def call(self, teacher_features, student_features, first_index=None, valid=None, weight=None):
        """Compute the loss of a batch.

        Args:
            teacher_features: `(B, h, w, C)` float; no gradient flows into them.
            student_features: `(B, h, w, C)` float.
            first_index: `(B,)` int flat pixel index of each image's first agent; random by default.
            valid: `(B, h, w)` bool, False on padding, which has neither agents nor pixels that count; all valid by
                default.
            weight: `(B, h, w)` float of at least 0, the weight of each pixel; all equal by default.

        Returns:
            Scalar float32.
        """
        teacher_features = ops.stop_gradient(ops.cast(teacher_features, "float32"))
        student_features = ops.cast(student_features, "float32")
        weights = pixel_weights(valid, weight)
        if self.similarity == "cosine":
            teacher_features, student_features = (
                unit_length(features, least=1e-12) for features in (teacher_features, student_features)
            )
        if self.agents == "all":
            return self.compare_all(flatten_pixels(teacher_features), flatten_pixels(student_features), weights)
        indices = self.select_agents(teacher_features, first_index, valid)  # (B, N)
        student_agents = gather_agents(student_features, indices)
        if not self.agent_gradient:
            student_agents = ops.stop_gradient(student_agents)
        teacher = self.products(flatten_pixels(teacher_features), gather_agents(teacher_features, indices))
        return average(self.compare(teacher, self.products(flatten_pixels(student_features), student_agents)), weights)

    def products(self, pixels, agents):
        """Compute the similarity of every pixel with every agent: `(B, P, C)`, `(B, N, C)` -> `(B, P, N)`."""
        return ops.matmul(pixels, ops.transpose(agents, (0, 2, 1))) / self.temperature

    def compare(self, teacher_products, student_products):
        """Turn the similarities `(B, P, N)` of both networks into a divergence per pixel, `(B, P)`."""
        raise NotImplementedError

    def compare_all(self, teacher_pixels, student_pixels, weights):
        """Compute the loss with every pixel as an agent, from `(B, P, C)`, a block of pixels at a time."""
        raise NotImplementedError


def pixel_weights(valid, weight):
    """Return the weight of each pixel, `(B, P)` float32 without gradient, or `None` where all are equal."""
    if valid is None and weight is None:
        return None
    weight = ops.cast(valid if weight is None else weight, "float32")
    if valid is not None:
        weight = weight * ops.cast(valid, "float32")
    return ops.stop_gradient(ops.reshape(weight, (ops.shape(weight)[0], -1)))


def average(divergences, weights):
    """Average over the pixels of all images, `(B, P)`, with weights `(B, P)` where there are any."""
    if weights is None:
        return ops.mean(divergences)
    return masked_mean(divergences, weights)


def blocks(num_pixels):
    """Return slices of at most `BLOCK` pixels that cover them all."""
    return [slice(start, start + BLOCK) for start in range(0, num_pixels, BLOCK)]
