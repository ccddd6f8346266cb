"""What the losses on the correlation of pixels with agents share (RankMatch, Section 3.2)."""

from keras import ops

from rankmatch_keras.backend.replicas import ratio
from rankmatch_keras.layers.agents import CHOICES
from rankmatch_keras.layers.pixels import flatten_pixels, gather_agents, unit_length
from rankmatch_keras.losses.base import Loss

SIMILARITIES = ("dot", "cosine")
BLOCK = 256  # pixels that are compared with all others at a time


class AgentLoss(Loss):
    """Chooses agents on the teacher's features and compares how each pixel relates to them in both networks.

    Args:
        num_agents: N; a grid with fewer pixels uses them all.
        agents: how they are chosen: `"orthogonal"`, the greedy choice of Section 3.2; `"random"`; `"top_n"`, those that
            all pixels correlate most with; `"all"` pixels (Table 5).
        similarity: `"dot"` products of the features, as in Eq. 4, or their `"cosine"`.
        temperature: what the similarities are divided by.
        agent_gradient: whether gradient reaches the student through its agents too, or through its pixels alone.
        seed: int or `None`, for what is random in the choice.

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
        """Computes the loss of a batch.

        Args:
            teacher_features: `(B, h, w, C)` float; no gradient flows into them.
            student_features: `(B, h, w, C)` float.
            first_index: `(B,)` int flat pixel index of each image's first agent; random by default.
            valid: `(B, h, w)` bool, False on padding, where then no agent stands and which counts as no pixel; all
                pixels are valid by default.
            weight: `(B, h, w)` float of at least 0, how much each pixel counts; all the same by default.

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
        """Similarities of every pixel with every agent: `(B, P, C)`, `(B, N, C)` -> `(B, P, N)`."""
        return ops.matmul(pixels, ops.transpose(agents, (0, 2, 1))) / self.temperature

    def compare(self, teacher_products, student_products):
        """Turns the similarities `(B, P, N)` of both networks into a divergence per pixel, `(B, P)`."""
        raise NotImplementedError

    def compare_all(self, teacher_pixels, student_pixels, weights):
        """The loss with every pixel as an agent, from `(B, P, C)`; holds the similarities of some pixels at a time."""
        raise NotImplementedError


def pixel_weights(valid, weight):
    """How much each pixel counts, `(B, P)` float32 without gradient, or `None` where all count the same."""
    if valid is None and weight is None:
        return None
    weight = ops.cast(valid if weight is None else weight, "float32")
    if valid is not None:
        weight = weight * ops.cast(valid, "float32")
    return ops.stop_gradient(ops.reshape(weight, (ops.shape(weight)[0], -1)))


def average(divergences, weights):
    """The mean over the pixels of all images, `(B, P)`, weighted where there are weights `(B, P)`."""
    if weights is None:
        return ops.mean(divergences)
    return ratio(ops.sum(divergences * weights), ops.sum(weights))


def blocks(num_pixels):
    """Slices of at most `BLOCK` pixels that cover them all."""
    return [slice(start, start + BLOCK) for start in range(0, num_pixels, BLOCK)]
