"""Means over seeds, and paired tests between methods over the seeds that both have."""

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Below, the exact two-sided Wilcoxon test cannot fall under 0.05, whatever the values: 2 / 2^5 = 0.0625.
WILCOXON_SEEDS = 6


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (NaN for one value) of n values."""

    n: int
    mean: float
    sd: float


@dataclass(frozen=True)
class PairedTest:
    """A paired comparison over seeds.

    Attributes:
        n: seeds that both methods have.
        difference: mean of the first minus the second.
        sd: sample standard deviation of the differences; NaN for one seed.
        t_test: two-sided p of the paired t-test; None where it cannot be computed.
        wilcoxon: two-sided p of the signed-rank test; None below `WILCOXON_SEEDS` seeds.
        note: why there is no p; empty where there is one.
    """

    n: int
    difference: float
    sd: float
    t_test: float | None = None
    wilcoxon: float | None = None
    note: str = ""


def summarize(values: Sequence[float]) -> Summary:
    """Mean and standard deviation; NaN values are left out."""
    known = [value for value in values if not math.isnan(value)]
    mean = statistics.fmean(known) if known else math.nan
    return Summary(len(known), mean, statistics.stdev(known) if len(known) > 1 else math.nan)


def paired_test(first: Mapping[int, float], second: Mapping[int, float]) -> PairedTest:
    """Compares two methods.

    Args:
        first: score by seed; NaN counts as missing.
        second: likewise.
    """
    seeds = [seed for seed in sorted({*first} & {*second}) if not math.isnan(first[seed] - second[seed])]
    differences = [first[seed] - second[seed] for seed in seeds]
    summary = summarize(differences)
    if summary.n < 2:
        found = "one seed" if summary.n else "no seed"
        return PairedTest(summary.n, summary.mean, summary.sd, note=f"no test: {found} in common")
    # Equal but for rounding: t would be infinite or meaningless.
    if summary.sd <= 1e-9 * max(1.0, abs(summary.mean)):
        return PairedTest(summary.n, summary.mean, summary.sd, note="no test: all differences are equal")
    from scipy import stats  # here, as it takes a second

    a, b = [first[seed] for seed in seeds], [second[seed] for seed in seeds]
    t_test = float(stats.ttest_rel(a, b).pvalue)
    wilcoxon = None
    if summary.n >= WILCOXON_SEEDS:
        with warnings.catch_warnings():  # of ties, where it takes the normal approximation
            warnings.simplefilter("ignore")
            wilcoxon = float(stats.wilcoxon(differences).pvalue)
    return PairedTest(summary.n, summary.mean, summary.sd, t_test, wilcoxon)
