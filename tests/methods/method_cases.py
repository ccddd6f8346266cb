"""The methods that pass through the harness of test_every_method.py, in a form for tiny images."""

import dataclasses
from typing import Any

from rankmatch_keras import methods

PIXEL_TERMS = ("supervised", "strong_1", "strong_2", "feature_dropout")
KEPT = ("mask_ratio", "confidence")


@dataclasses.dataclass(frozen=True)
class MethodCase:
    """A method with options that make every pixel count, its terms and the values that it logs beside.

    `shares_terms` names the case that tests the gradient of the terms that both have. `second` gives it another
    segmenter as its option of that name. `begins_alike`: its teacher sees what the student sees and begins as its copy,
    so that a term begins at 0. `for_heads`: terms that teach a head alone.
    """

    kind: type[methods.Method]
    terms: tuple[str, ...]
    diagnostics: tuple[str, ...] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    second: bool = False
    shares_terms: str | None = None
    begins_alike: bool = False
    for_heads: tuple[str, ...] = ()

    def make(self, small_segmenter, **options):
        """A new method, its networks with the same weights each time."""
        more = {"second": small_segmenter(seed=1)} if self.second else {}
        return self.kind(small_segmenter(), **more, **{**self.options, **options})


ALL = {"threshold": 0.0}
CONTRASTED = ("supervised", "unsupervised", "contrast")
REPRESENTED = {"total_steps": 10, "channels": 8, "stride": 1, "seed": 0, "anchors": 4, "negatives": 6}
CASES = {
    "supervised": MethodCase(methods.SupervisedOnly, ("supervised",)),
    "fixmatch": MethodCase(methods.FixMatch, ("supervised", "strong_1"), KEPT, ALL),
    "unimatch": MethodCase(methods.UniMatch, PIXEL_TERMS, KEPT, {**ALL, "seed": 0}, shares_terms="rankmatch"),
    "rankmatch": MethodCase(
        methods.RankMatch, (*PIXEL_TERMS, "rank_1", "rank_2"), KEPT, {**ALL, "seed": 0, "num_agents": 6}
    ),
    "meanteacher": MethodCase(methods.MeanTeacher, ("supervised", "consistency"), begins_alike=True),
    "cutmixmeanteacher": MethodCase(
        methods.CutMixMeanTeacher, ("supervised", "consistency"), ("mask_ratio",), {**ALL, "seed": 0}
    ),
    "augseg": MethodCase(methods.AugSeg, ("supervised", "consistency"), KEPT, {**ALL, "seed": 0}),
    "imas": MethodCase(methods.IMAS, ("supervised", "strong_1", "cutmix"), ("agreement",), {**ALL, "seed": 0}),
    "dualteacher": MethodCase(
        methods.DualTeacher, ("supervised", "mixed", "strong_2"), ("mask_ratio",), {**ALL, "seed": 0, "switch_every": 1}
    ),
    "daw": MethodCase(methods.DAW, PIXEL_TERMS, (*KEPT, "threshold"), {**ALL, "seed": 0}, shares_terms="rankmatch"),
    "ael": MethodCase(methods.AEL, ("supervised", "labeled_consistency", "consistency"), (), {**ALL, "seed": 0}),
    "unimatchv2": MethodCase(methods.UniMatchV2, PIXEL_TERMS[:3], KEPT, {**ALL, "seed": 0}),
    "corrmatch": MethodCase(
        methods.CorrMatch,
        (
            "supervised",
            "supervised_correlation",
            "strong_1",
            "divergence",
            "feature_dropout",
            "weak_correlation",
            "strong_correlation",
        ),
        (*KEPT, "adaptive_threshold"),
        {**ALL, "seed": 0, "num_regions": 4},
    ),
    "selftraining": MethodCase(methods.SelfTraining, ("supervised", "pseudo"), options={"seed": 0}),
    "cct": MethodCase(
        methods.CCT,
        ("supervised", "consistency"),
        options={
            **{"total_steps": 10, "seed": 0, "vat": 1, "guided_cutout": 1, "feature_noise": 1},
            **dict.fromkeys(("channel_dropout", "context_masking", "object_masking", "feature_drop"), 0),
        },
    ),
    "npsemiseg": MethodCase(
        methods.NPSemiSeg,
        ("supervised", "consistency", "divergence"),
        KEPT,
        {**ALL, "seed": 0, "memory": 20, "draws": 2},
        shares_terms="augseg",
        for_heads=("divergence",),
    ),
    "cps": MethodCase(
        methods.CPS, ("supervised_1", "supervised_2", "cross_1", "cross_2"), ("agreement",), {"seed": 0}, second=True
    ),
    "cotraining": MethodCase(
        methods.CoTraining,
        ("supervised_1", "supervised_2", "cross_1", "cross_2"),
        ("mask_ratio", "agreement"),
        ALL,
        second=True,
    ),
    "u2pl": MethodCase(
        methods.U2PL, CONTRASTED, ("mask_ratio",), {**REPRESENTED, "warm_up": 0.0, "capacity": 16, "added": 4}
    ),
    "dgcl": MethodCase(
        methods.DGCL,
        CONTRASTED,
        ("mask_ratio",),
        {
            **REPRESENTED,
            **{"warm_up": 0.0, "capacity": 2, "added": 2, "candidates": 8, "dense": 2, "first_class": 0},
        },
    ),
    "css": MethodCase(
        methods.CSS,
        CONTRASTED,
        ("mask_ratio", "agreement"),
        {**REPRESENTED, **ALL, "representation_threshold": 0.0, "pool": 4},
    ),
    "esl": MethodCase(
        methods.ESL,
        ("supervised", "soft", "contrast"),
        ("mask_ratio",),
        {**REPRESENTED, **ALL, "parts": 2, "capacity": 4},
    ),
    "contrastive": MethodCase(
        methods.ContrastiveUniMatch,
        (*PIXEL_TERMS, "contrast"),
        KEPT,
        {**REPRESENTED, **ALL, "capacity": 16, "added": 4},
        shares_terms="rankmatch",
    ),
    "logicdiag": MethodCase(
        methods.LogicDiag, PIXEL_TERMS[:3], ("mask_ratio", "conflict"), {"seed": 0, "hierarchy": (-1, 3, 3, -1)}
    ),
}
