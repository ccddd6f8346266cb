"""RankMatch: UniMatch plus rank-aware correlation consistency of both strong views."""

import difflib
from typing import Any

import keras
from keras import ops

from rankmatch_keras.layers import Clock
from rankmatch_keras.layers.pixels import on_grid
from rankmatch_keras.losses import CorrelationConsistencyLoss, RankConsistencyLoss
from rankmatch_keras.losses.correlation import DIVERGENCES
from rankmatch_keras.methods.unimatch import UniMatch

# What the article says, and what its published program does where the two differ.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "num_agents": 128,
        "top_k": 4,
        "reduction": "per_pixel",
        "rank_weight": 0.1,
        "pixel_scale": 1.0,
    },
    "reference": {
        "num_agents": 64,
        "top_k": 4,
        "reduction": "mean_all",
        "rank_weight": 0.1,
        "pixel_scale": 0.5,
    },
}
# What both presets leave alone: the article's ablations, and remedies that go beyond it.
USUAL: dict[str, Any] = {
    "correlation": "rank",
    "agents": "orthogonal",
    "similarity": "dot",
    "temperature": 1.0,
    "agent_gradient": True,
    "leave_out_padding": False,
    "weight_by_confidence": False,
    "rank_start": 0.0,
    "rank_ramp": 0.0,
}
OVERRIDES = (*PRESETS["paper"], *USUAL, "total_steps")
BASE_OPTIONS = ("threshold", "ema_decay", "feature_dropout", "seed", "ignore_index", "ohem", "name")
CORRELATIONS = ("rank", *DIVERGENCES)
OF_THE_LOSS = ("num_agents", "agents", "similarity", "temperature", "agent_gradient", "seed")


@keras.saving.register_keras_serializable("rankmatch_keras")
class RankMatch(UniMatch):
    """`L = s * (L_sup + L_reg) + lambda * L_rank` (Mai et al., CVPR 2024, Eq. 9), over UniMatch's pixel terms.

    `L_reg = L_s1 / 4 + L_s2 / 4 + L_fp / 2`; `L_rank` is the mean of the rank losses of the two strong
    views, their teacher features box-mixed like the images, at the feature grid. Preset `"paper"`: s = 1, 128
    agents, divergence summed over rankings, lambda = 0.1. Preset `"reference"`, the published program: s = 1/2, 64
    agents, the divergence divided by 4! (an effective lambda about 12 times smaller).

    The article's ablations: `correlation` `"kl"`, `"ce"` or `"l2"` puts that divergence of the correlations in the
    rank loss's place (Tables 4 and 6), `agents` `"all"`, `"random"` or `"top_n"` chooses them otherwise (Table 5).

    Beyond the article, all off in both presets: `ema_decay` takes an averaged teacher; `similarity`, `temperature` and
    `agent_gradient` are those of `losses.RankConsistencyLoss`; `leave_out_padding` lets agents stand, and the rank loss
    look, on the image alone; `weight_by_confidence` weighs each pixel by the teacher's confidence; the loss begins at
    the share `rank_start` of the training and grows to its full weight over the share `rank_ramp`.

    Args:
        segmenter: the network that is trained.
        preset: `"paper"` or `"reference"`.
        **overrides: any of `num_agents`, `top_k`, `reduction`, `rank_weight` (lambda), `pixel_scale` (s) to
            depart from the preset, the options above, `total_steps` (batches of the run, for `rank_start` and
            `rank_ramp`), and UniMatch's `threshold`, `feature_dropout`, `ema_decay`, `seed`, `ignore_index`, `ohem`.

    Raises:
        ValueError: an unknown preset or option, or a value out of range.
    """

    num_agents: int
    top_k: int
    reduction: str
    rank_weight: float
    pixel_scale: float
    correlation: str
    leave_out_padding: bool
    weight_by_confidence: bool
    rank_start: float
    rank_ramp: float
    total_steps: int | None

    def __init__(self, segmenter, preset: str = "paper", **overrides):
        if preset not in PRESETS:
            raise ValueError(f"Expected preset in {sorted(PRESETS)}. Received: preset={preset!r}")
        _check_names(overrides)
        options = {**PRESETS[preset], **USUAL, "total_steps": None}
        options |= {name: overrides.pop(name) for name in OVERRIDES if name in overrides}
        super().__init__(segmenter, **overrides)
        self.preset = preset
        for name, value in options.items():
            setattr(self, name, value)
        self.rank_loss = self._loss()
        self.clock = self._clock()
        # UniMatch's weights sum to one, half of it supervised; Eq. 9 gives both sums weight one.
        pixel_weights = {name: 2.0 * self.pixel_scale * weight for name, weight in self.term_weights.items()}
        self.term_weights = {**pixel_weights, **{self._term(number): self.rank_weight / 2 for number in (1, 2)}}
        self._make_trackers()

    def _loss(self):
        options = {name: getattr(self, name) for name in OF_THE_LOSS}
        if self.correlation not in CORRELATIONS:
            raise ValueError(f"Expected correlation in {CORRELATIONS}. Received: correlation={self.correlation!r}")
        if self.correlation == "rank":
            return RankConsistencyLoss(top_k=self.top_k, reduction=self.reduction, **options)
        return CorrelationConsistencyLoss(divergence=self.correlation, **options)

    def _clock(self):
        for name in ("rank_start", "rank_ramp"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"Expected {name} as a share of the run, 0 to 1. Received: {getattr(self, name)}")
        if not self.rank_start and not self.rank_ramp:
            return None
        if self.total_steps is None:
            raise ValueError("rank_start and rank_ramp are shares of the run. Expected total_steps. Received: none")
        return Clock(self.total_steps)

    def _term(self, number):
        return f"rank_{number}" if self.correlation == "rank" else f"correlation_{number}"

    def weak_stage(self, batch, _):
        """UniMatch's; counts the batch."""
        if self.clock is not None:
            self.clock.tick()
        return super().weak_stage(batch, _)

    def strong_terms(self, number, target, student):
        """UniMatch's term and the rank loss of strong view `number`."""
        grid = ops.shape(target.features)[1:3]
        valid = on_grid(target.valid, grid) if self.leave_out_padding else None
        weight = on_grid(target.confidence, grid) if self.weight_by_confidence else None
        rank = self.rank_loss(target.features, student["features"], valid=valid, weight=weight)
        terms = super().strong_terms(number, target, student)
        return {**terms, self._term(number): rank if self.clock is None else rank * self._share()}

    def _share(self):
        """How much of the rank loss counts by now."""
        done = self.clock.progress() - self.rank_start
        if self.rank_ramp == 0.0:
            return ops.cast(done >= 0.0, "float32")
        return ops.clip(done / self.rank_ramp, 0.0, 1.0)

    def get_config(self):
        """Returns the constructor's arguments, every option of the preset written out."""
        options = {name: getattr(self, name) for name in OVERRIDES}
        return {**super().get_config(), "preset": self.preset, **options}


def _check_names(overrides):
    known = (*OVERRIDES, *BASE_OPTIONS)
    for name in overrides:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known options: {', '.join(known)}."
            raise ValueError(f"RankMatch has no option {name!r}.{hint}")
