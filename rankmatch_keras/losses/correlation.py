"""Agent-level correlation consistency: pixels relate to agents as in the teacher (RankMatch, Eq. 4-5)."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import ratio
from rankmatch_keras.losses.agent_loss import AgentLoss, average, blocks

DIVERGENCES = ("kl", "ce", "l2")


@keras.saving.register_keras_serializable("rankmatch_keras")
class CorrelationConsistencyLoss(AgentLoss):
    """Divergence between the teacher's and the student's correlation of each pixel with the agents.

    With `c = softmax(f A^T)` over N agents (Mai et al., CVPR 2024, Eq. 4), averaged over pixels (Eq. 5, Table 6):
    `"kl"` is `sum c_t log(c_t / c_s)`, `"ce"` is `-sum c_t log c_s`, `"l2"` is `sum (c_t - c_s)^2`.

    Args:
        num_agents: N, at least 1.
        divergence: `"kl"`, `"ce"` or `"l2"`.
        **kwargs: see `AgentLoss`.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, num_agents: int = 128, divergence: str = "kl", **kwargs):
        super().__init__(num_agents=num_agents, **kwargs)
        if divergence not in DIVERGENCES:
            raise ValueError(f"Expected divergence in {DIVERGENCES}. Received: divergence={divergence!r}")
        self.divergence = divergence

    def compare(self, teacher_products, student_products):
        """Compute the divergence of the correlations per pixel from similarities `(B, P, N)`."""
        teacher_log = ops.log_softmax(teacher_products, axis=-1)
        student_log = ops.log_softmax(student_products, axis=-1)
        teacher = ops.exp(teacher_log)
        if self.divergence == "kl":
            per_agent = teacher * (teacher_log - student_log)
        elif self.divergence == "ce":
            per_agent = -teacher * student_log
        else:
            per_agent = ops.square(teacher - ops.exp(student_log))
        return ops.sum(per_agent, axis=-1)

    def compare_all(self, teacher_pixels, student_pixels, weights):
        """Compute the loss with every pixel as an agent; see `AgentLoss`.

        Automatic differentiation would keep the similarities of all blocks, P x P numbers several times over. So the
        gradient of each block is computed here, and passed on as that of a product with the features.
        """
        fixed = ops.stop_gradient(student_pixels)
        divergences, to_pixels, to_agents = [], [], 0.0
        # The factors that `average` gives the pixels.
        factors = ops.ones_like(fixed[..., 0]) if weights is None else weights
        factors = factors * (1.0 / ops.sum(factors) if weights is None else ratio(1.0, ops.sum(factors)))
        for block in blocks(student_pixels.shape[1]):
            teacher_products = self.products(teacher_pixels[:, block], teacher_pixels)
            student_products = self.products(fixed[:, block], fixed)
            divergences.append(self.compare(teacher_products, student_products))
            slope = self._slope(teacher_products, student_products) * factors[:, block, None] / self.temperature
            to_pixels.append(ops.matmul(slope, fixed))
            to_agents = to_agents + ops.matmul(ops.transpose(slope, (0, 2, 1)), fixed[:, block])
        gradient = ops.concatenate(to_pixels, axis=1)
        if self.agent_gradient:
            gradient = gradient + to_agents
        value = average(ops.concatenate(divergences, axis=1), weights)
        return ops.stop_gradient(value) + ops.sum(ops.stop_gradient(gradient) * (student_pixels - fixed))

    def _slope(self, teacher_products, student_products):
        """Return the derivative of `compare` with respect to the student's similarities, `(B, P, N)`."""
        teacher = ops.softmax(teacher_products, axis=-1)
        student = ops.softmax(student_products, axis=-1)
        difference = student - teacher
        if self.divergence != "l2":
            return difference
        return 2.0 * student * (difference - ops.sum(student * difference, axis=-1, keepdims=True))
