"""RankMatch: UniMatch plus rank-aware correlation consistency of both strong views."""

import difflib
from typing import Any

import keras

from rankmatch_keras.losses import RankConsistencyLoss
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
OVERRIDES = ("num_agents", "top_k", "reduction", "rank_weight", "pixel_scale")
BASE_OPTIONS = ("threshold", "ema_decay", "feature_dropout", "seed", "ignore_index", "ohem", "name")


@keras.saving.register_keras_serializable("rankmatch_keras")
class RankMatch(UniMatch):
    """`L = s * (L_sup + L_reg) + lambda * L_rank` (Mai et al., CVPR 2024, Eq. 9), over UniMatch's pixel terms.

    `L_reg = L_s1 / 4 + L_s2 / 4 + L_fp / 2`; `L_rank` is the mean of the rank losses of the two strong
    views, their teacher features box-mixed like the images, at the feature grid. Preset `"paper"`: s = 1, 128
    agents, divergence summed over rankings, lambda = 0.1. Preset `"reference"`, the published program: s = 1/2, 64
    agents, the divergence divided by 4! (an effective lambda about 12 times smaller).

    Args:
        segmenter: the network that is trained.
        preset: `"paper"` or `"reference"`.
        **overrides: any of `num_agents`, `top_k`, `reduction`, `rank_weight` (lambda), `pixel_scale` (s) to
            depart from the preset, and UniMatch's `threshold`, `feature_dropout`, `seed`, `ignore_index`, `ohem`.

    Raises:
        ValueError: an unknown preset or option.
    """

    def __init__(self, segmenter, preset: str = "paper", **overrides):
        if preset not in PRESETS:
            raise ValueError(f"Expected preset in {sorted(PRESETS)}. Received: preset={preset!r}")
        _check_names(overrides)
        options = {
            **PRESETS[preset],
            **{name: overrides.pop(name) for name in OVERRIDES if name in overrides},
        }
        super().__init__(segmenter, **overrides)
        self.preset = preset
        self.num_agents: int = options["num_agents"]
        self.top_k: int = options["top_k"]
        self.reduction: str = options["reduction"]
        self.rank_weight: float = options["rank_weight"]
        self.pixel_scale: float = options["pixel_scale"]
        self.rank_loss = RankConsistencyLoss(self.num_agents, self.top_k, self.reduction, seed=self.seed)
        # UniMatch's weights sum to one, half of it supervised; Eq. 9 gives both sums weight one.
        pixel_weights = {name: 2.0 * self.pixel_scale * weight for name, weight in self.term_weights.items()}
        self.term_weights = {**pixel_weights, "rank_1": self.rank_weight / 2, "rank_2": self.rank_weight / 2}
        self._make_trackers()

    def strong_terms(self, number, target, student):
        """UniMatch's term and the rank loss of strong view `number`."""
        rank = self.rank_loss(target.features, student["features"])
        return {**super().strong_terms(number, target, student), f"rank_{number}": rank}

    def get_config(self):
        """Returns the constructor's arguments, every option of the preset written out."""
        return {
            **super().get_config(),
            "preset": self.preset,
            **{name: getattr(self, name) for name in OVERRIDES},
        }


def _check_names(overrides):
    known = (*OVERRIDES, *BASE_OPTIONS)
    for name in overrides:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known options: {', '.join(known)}."
            raise ValueError(f"RankMatch has no option {name!r}.{hint}")
