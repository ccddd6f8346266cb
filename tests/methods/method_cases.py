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
    segmenter as its option of that name.
    """

    kind: type[methods.Method]
    terms: tuple[str, ...]
    diagnostics: tuple[str, ...] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    second: bool = False
    shares_terms: str | None = None

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
}
