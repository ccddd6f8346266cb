"""Rank-aware correlation consistency: the student ranks agents as the teacher does (RankMatch, Eq. 6-8)."""

import math

import keras
from keras import ops

from rankmatch_keras.layers.ranking import MAX_ITEMS, plackett_luce_kl
from rankmatch_keras.losses.agent_loss import AgentLoss, average, blocks

REDUCTIONS = ("per_pixel", "mean_all")


@keras.saving.register_keras_serializable("rankmatch_keras")
class RankConsistencyLoss(AgentLoss):
    """KL divergence between the teacher's and the student's distribution of rankings of each pixel's top agents.

    Per pixel, with s = f A^T the dot products of its feature with N agents and T the `top_k` agents that the teacher
    ranks highest, `L_rank = mean over pixels of KL(P(.|s_teacher[T]) || P(.|s_student[T]))`, where P is the
    Plackett-Luce distribution over the K! rankings (Mai et al., CVPR 2024, Eq. 6-8). The softmax over the agents
    (Eq. 4) is a common factor that cancels in P. Agents are chosen on the teacher's features; the student's are at the
    same positions, and gradient reaches the student through its pixels and its agents.

    Args:
        num_agents: N, at least `top_k`.
        top_k: K, 2 to 10; the cost grows with 2^K.
        reduction: `"per_pixel"` sums over rankings and averages over pixels (Eq. 8); `"mean_all"` also divides
            by K!, as the published program does.
        **kwargs: see `AgentLoss`.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, num_agents: int = 128, top_k: int = 4, reduction: str = "per_pixel", **kwargs):
        super().__init__(num_agents=num_agents, **kwargs)
        if not 2 <= top_k <= min(MAX_ITEMS, num_agents):
            raise ValueError(
                f"Expected 2 <= top_k <= {MAX_ITEMS} and top_k <= num_agents. "
                f"Received: top_k={top_k}, num_agents={num_agents}"
            )
        if reduction not in REDUCTIONS:
            raise ValueError(f"Expected reduction in {REDUCTIONS}. Received: reduction={reduction!r}")
        self.top_k = top_k
        self.reduction = reduction

    def compare(self, teacher_products, student_products):
        """Compute the divergence of the rankings per pixel from similarities `(B, P, N)`."""
        # indices (B, P, K): the teacher's top agents, used for both networks
        teacher_top, indices = ops.top_k(teacher_products, self.top_k)
        return self._divergence(teacher_top, ops.take_along_axis(student_products, indices, axis=-1))

    def compare_all(self, teacher_pixels, student_pixels, weights):
        """Compute the loss with every pixel as an agent; the student's similarities with the top agents suffice."""
        student_agents = student_pixels if self.agent_gradient else ops.stop_gradient(student_pixels)
        divergences = []
        for block in blocks(student_pixels.shape[1]):
            teacher_top, indices = ops.top_k(self.products(teacher_pixels[:, block], teacher_pixels), self.top_k)
            student_top = [
                ops.sum(student_pixels[:, block] * ops.take_along_axis(student_agents, indices[..., k, None], 1), -1)
                for k in range(self.top_k)
            ]
            divergences.append(self._divergence(teacher_top, ops.stack(student_top, axis=-1) / self.temperature))
        return average(ops.concatenate(divergences, axis=1), weights)

    def _divergence(self, teacher_top, student_top):
        divergence = plackett_luce_kl(teacher_top, student_top)
        return divergence / math.factorial(self.top_k) if self.reduction == "mean_all" else divergence
