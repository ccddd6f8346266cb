"""RankMatch: UniMatch plus rank-aware correlation consistency of both strong views."""

from typing import Any, ClassVar

import keras
from keras import ops

from rankmatch_keras.layers import Clock
from rankmatch_keras.layers.pixels import on_grid
from rankmatch_keras.losses import CorrelationConsistencyLoss, RankConsistencyLoss
from rankmatch_keras.losses.correlation import DIVERGENCES
from rankmatch_keras.methods.unimatch import PRACTICAL, UniMatch

CORRELATIONS = ("rank", *DIVERGENCES)
# What the article says, and what its published program does where the two differ.
PAPER = {"num_agents": 128, "top_k": 4, "reduction": "per_pixel", "rank_weight": 0.1, "pixel_scale": 1.0}
REFERENCE = {"num_agents": 64, "top_k": 4, "reduction": "mean_all", "rank_weight": 0.1, "pixel_scale": 0.5}
SHORT = {**PRACTICAL, "num_agents": 64, "reduction": "mean_all", "rank_weight": 0.1, "temperature": 16.0}


@keras.saving.register_keras_serializable("rankmatch_keras")
class RankMatch(UniMatch):
    """`L = s * (L_sup + L_reg) + lambda * L_rank` (Mai et al., CVPR 2024, Eq. 9), over UniMatch's pixel terms.

    `L_reg = L_s1 / 4 + L_s2 / 4 + L_fp / 2`; `L_rank` is the mean of the rank losses of the two strong views, whose
    teacher features are box-mixed like the images, at the feature grid.

    The defaults are those of the article, `presets["paper"]`: s = 1, 128 agents, the divergence summed over rankings,
    lambda = 0.1. `presets["reference"]` is the published program: s = 1/2, 64 agents, the divergence divided by 4!
    (an effective lambda about 12 times smaller):

        RankMatch(segmenter, **RankMatch.presets["reference"])
        RankMatch(segmenter, **{**RankMatch.presets["reference"], "num_agents": 128}, threshold=0.9)

    Args:
        segmenter: the network to train.
        num_agents: N; a grid with fewer pixels uses them all.
        top_k: K, agents whose K! rankings are compared, 2 to 10.
        reduction: `"per_pixel"` (Eq. 8) or `"mean_all"`, which also divides by K!.
        rank_weight: lambda.
        pixel_scale: s.
        correlation: `"rank"`, or `"kl"`, `"ce"` or `"l2"` for that divergence of the correlations in the rank loss's
            place (the article's Tables 4 and 6).
        agents: `"orthogonal"`, or `"all"`, `"random"` or `"top_n"` (Table 5).
        similarity: `"dot"` or `"cosine"`. This option and those down to `rank_ramp` go beyond the article; they are
            off by default and in both presets. See `losses.RankConsistencyLoss` for the first three.
        temperature: what the similarities are divided by.
        agent_gradient: whether gradient flows back through the agents too.
        leave_out_padding: whether agents and rank loss keep to the image and off its padding.
        weight_by_confidence: whether each pixel's rank loss is weighted by the teacher's confidence.
        rank_start: fraction of the run, 0 to 1, after which the rank loss sets in.
        rank_ramp: fraction of the run, 0 to 1, over which it then grows to its full weight.
        total_steps: batches of the run; needed with `rank_start` or `rank_ramp`.
        threshold: smallest confidence of a pseudo-label that is kept, 0 to 1.
        views: strong views of each image, 2 or 1, whose terms then have the weight of both.
        feature_dropout: fraction of channels dropped for L_fp; `None` leaves this term and its pass out, and
            gives its weight to the strong views.
        ema_decay: decay of an EMA teacher that labels in the student's place; `None`: the student labels itself.
        seed: int or `None`, of agents and dropped channels.
        **kwargs: `ignore_index`, `ohem` and `name`, see `Method`.

    Raises:
        ValueError: an option is out of range.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": PAPER, "reference": REFERENCE, "practical": SHORT}

    def __init__(
        self,
        segmenter,
        *,
        num_agents: int = 128,
        top_k: int = 4,
        reduction: str = "per_pixel",
        rank_weight: float = 0.1,
        pixel_scale: float = 1.0,
        correlation: str = "rank",
        agents: str = "orthogonal",
        similarity: str = "dot",
        temperature: float = 1.0,
        agent_gradient: bool = True,
        leave_out_padding: bool = False,
        weight_by_confidence: bool = False,
        rank_start: float = 0.0,
        rank_ramp: float = 0.0,
        total_steps: int | None = None,
        threshold: float = 0.95,
        views: int = 2,
        feature_dropout: float | None = 0.5,
        ema_decay: float | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(
            segmenter,
            threshold=threshold,
            views=views,
            feature_dropout=feature_dropout,
            ema_decay=ema_decay,
            seed=seed,
            total_steps=total_steps,
            **kwargs,
        )
        self.num_agents = num_agents
        self.top_k = top_k
        self.reduction = reduction
        self.rank_weight = rank_weight
        self.pixel_scale = pixel_scale
        self.correlation = correlation
        self.agents = agents
        self.similarity = similarity
        self.temperature = temperature
        self.agent_gradient = agent_gradient
        self.leave_out_padding = leave_out_padding
        self.weight_by_confidence = weight_by_confidence
        self.rank_start = rank_start
        self.rank_ramp = rank_ramp
        self.rank_loss = self._loss()
        self.clock = self._clock()
        # UniMatch's weights sum to one, half of it supervised; Eq. 9 gives both sums weight one.
        pixel_weights = {name: 2.0 * self.pixel_scale * weight for name, weight in self.term_weights.items()}
        self.term_weights = {
            **pixel_weights,
            **{self._term(number): self.rank_weight / views for number in self.numbers},
        }

    def _loss(self):
        names = ("num_agents", "agents", "similarity", "temperature", "agent_gradient", "seed")
        options = {name: getattr(self, name) for name in names}
        if self.correlation not in CORRELATIONS:
            raise ValueError(f"Expected correlation in {CORRELATIONS}. Received: correlation={self.correlation!r}")
        if self.correlation == "rank":
            return RankConsistencyLoss(top_k=self.top_k, reduction=self.reduction, **options)
        return CorrelationConsistencyLoss(divergence=self.correlation, **options)

    def _clock(self):
        for name in ("rank_start", "rank_ramp"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"Expected {name} as a fraction of the run, 0 to 1. Received: {getattr(self, name)}")
        if not self.rank_start and not self.rank_ramp:
            return None
        if self.total_steps is None:
            raise ValueError("rank_start and rank_ramp are fractions of the run. Expected total_steps. Received: none")
        return Clock(self.total_steps)

    def _term(self, number):
        return f"rank_{number}" if self.correlation == "rank" else f"correlation_{number}"

    def weak_stage(self, batch, carry):
        """Return UniMatch's, and count the batch."""
        if self.clock is not None:
            self.clock.tick()
        return super().weak_stage(batch, carry)

    def strong_terms(self, number, target, student):
        """Compute UniMatch's term and the rank loss of strong view `number`."""
        grid = ops.shape(target.features)[1:3]
        valid = on_grid(target.valid, grid) if self.leave_out_padding else None
        weight = on_grid(target.confidence, grid) if self.weight_by_confidence else None
        rank = self.rank_loss(target.features, student["features"], valid=valid, weight=weight)
        terms = super().strong_terms(number, target, student)
        if self.clock is not None:
            rank = rank * self.clock.ramp(self.rank_start, self.rank_ramp)
        return {**terms, self._term(number): rank}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Make the method from `get_config()`; earlier versions wrote the preset's name beside its options."""
        return super().from_config({name: value for name, value in config.items() if name != "preset"}, custom_objects)
