"""Agent-level correlation consistency: pixels must relate to agents as they do for the teacher (RankMatch, Eq. 4-5)."""

import keras
from keras import ops

from rankmatch_keras.layers.agents import OrthogonalAgents, flatten_pixels, gather_agents

DIVERGENCES = ("kl", "ce", "l2")


class AgentLoss(keras.layers.Layer):
    """What both correlation losses share: choosing agents and comparing each pixel with them.

    Args:
        num_agents: N; a grid with fewer pixels uses them all.
        agents: `"orthogonal"`, the greedy choice of Section 3.2.
        seed: int or `None`, for the random first agent.
    """

    def __init__(self, num_agents: int = 128, agents: str = "orthogonal", seed: int | None = None, **kwargs):
        # Float32 whatever the model's precision: dot products and logarithms need it.
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.built = True  # no weights
        if agents != "orthogonal":
            raise ValueError(f"Expected agents in ('orthogonal',). Received: agents={agents!r}")
        self.num_agents = num_agents
        self.agents = agents
        self.seed = seed
        self.select_agents = OrthogonalAgents(num_agents, seed=seed)

    def call(self, teacher_features, student_features, first_index=None):
        """Computes the loss of a batch.

        Args:
            teacher_features: `(B, h, w, C)` float; no gradient flows into them.
            student_features: `(B, h, w, C)` float.
            first_index: `(B,)` int flat pixel index of each image's first agent; random by default.

        Returns:
            Scalar float32.
        """
        teacher_features = ops.stop_gradient(ops.cast(teacher_features, "float32"))
        student_features = ops.cast(student_features, "float32")
        indices = self.select_agents(teacher_features, first_index)  # (B, N)
        return self.compare(self.products(teacher_features, indices), self.products(student_features, indices))

    def products(self, features, indices):
        """Dot products of every pixel with every agent: `(B, h, w, C)`, `(B, N)` -> `(B, h*w, N)`."""
        agents = gather_agents(features, indices)  # (B, N, C)
        return ops.matmul(flatten_pixels(features), ops.transpose(agents, (0, 2, 1)))

    def compare(self, teacher_products, student_products):
        """Turns the dot products `(B, P, N)` of both networks into a scalar."""
        raise NotImplementedError

    def compute_output_shape(self, *args, **kwargs):
        """The loss is a scalar."""
        return ()

    def get_config(self):
        """Returns the constructor's arguments."""
        config = super().get_config()
        config.update(num_agents=self.num_agents, agents=self.agents, seed=self.seed)
        return config


@keras.saving.register_keras_serializable("rankmatch_keras")
class CorrelationConsistencyLoss(AgentLoss):
    """Divergence between the teacher's and the student's correlation of each pixel with the agents.

    With `c = softmax(f A^T)` over N agents (Mai et al., CVPR 2024, Eq. 4), averaged over pixels (Eq. 5, Table 6):
    `"kl"` is `sum c_t log(c_t / c_s)`, `"ce"` is `-sum c_t log c_s`, `"l2"` is `sum (c_t - c_s)^2`.

    Args:
        num_agents: N, at least 1.
        divergence: `"kl"`, `"ce"` or `"l2"`.
        agents: how agents are chosen, see `AgentLoss`.
        seed: int or `None`, for the random first agent.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        num_agents: int = 128,
        divergence: str = "kl",
        agents: str = "orthogonal",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(num_agents=num_agents, agents=agents, seed=seed, **kwargs)
        if divergence not in DIVERGENCES:
            raise ValueError(f"Expected divergence in {DIVERGENCES}. Received: divergence={divergence!r}")
        self.divergence = divergence

    def compare(self, teacher_products, student_products):
        """Mean divergence of the correlations for dot products `(B, P, N)` of both networks."""
        teacher_log = ops.log_softmax(teacher_products, axis=-1)
        student_log = ops.log_softmax(student_products, axis=-1)
        teacher = ops.exp(teacher_log)
        if self.divergence == "kl":
            per_agent = teacher * (teacher_log - student_log)
        elif self.divergence == "ce":
            per_agent = -teacher * student_log
        else:
            per_agent = ops.square(teacher - ops.exp(student_log))
        return ops.mean(ops.sum(per_agent, axis=-1))

    def get_config(self):
        """Returns the constructor's arguments."""
        config = super().get_config()
        config.update(divergence=self.divergence)
        return config
