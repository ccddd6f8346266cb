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
    so that a term begins at 0.
    """

    kind: type[methods.Method]
    terms: tuple[str, ...]
    diagnostics: tuple[str, ...] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    second: bool = False
    shares_terms: str | None = None
    begins_alike: bool = False

    def make(self, small_segmenter, **options):
        """A new method, its networks with the same weights each time."""
        more = {"second": small_segmenter(seed=1)} if self.second else {}
        return self.kind(small_segmenter(), **more, **{**self.options, **options})


ALL = {"threshold": 0.0}
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
}
