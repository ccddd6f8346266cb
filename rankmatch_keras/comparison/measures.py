"""Numbers of a comparison: measures by method, number of labels and seed; means and paired tests over seeds."""

import math
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rankmatch_keras.comparison.comparability import require_comparable
from rankmatch_keras.comparison.records import ALL, BASELINE, Labels, Record
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted

# With fewer seeds the exact two-sided Wilcoxon test cannot fall below 0.05, whatever the values: 2 / 2^5 = 0.0625.
WILCOXON_SEEDS = 6
# Points of mean IoU between few and all labels below which a part of them says nothing.
LEAST_GAP = 4.0


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
        n: number of seeds that both methods have.
        difference: mean of the first minus the second.
        sd: sample standard deviation of the differences; NaN for one seed.
        t_test: two-sided p of the paired t-test; None if it cannot be computed.
        wilcoxon: two-sided p of the signed-rank test; None below `WILCOXON_SEEDS` seeds.
        note: why there is no p; empty if there is one.
    """

    n: int
    difference: float
    sd: float
    t_test: float | None = None
    wilcoxon: float | None = None
    note: str = ""


def summarize(values: Sequence[float]) -> Summary:
    """Compute mean and standard deviation, ignoring NaN."""
    known = [value for value in values if not math.isnan(value)]
    mean = statistics.fmean(known) if known else math.nan
    return Summary(len(known), mean, statistics.stdev(known) if len(known) > 1 else math.nan)


def is_small(gap: float) -> bool:
    """Whether a gap is below `LEAST_GAP`, rounding aside."""
    return gap < LEAST_GAP - 1e-9


def paired_test(first: Mapping[int, float], second: Mapping[int, float]) -> PairedTest:
    """Compare two methods over the seeds that both have.

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
    # Equal up to rounding: t would be infinite or meaningless.
    if summary.sd <= 1e-9 * max(1.0, abs(summary.mean)):
        return PairedTest(summary.n, summary.mean, summary.sd, note="no test: all differences are equal")
    from scipy import stats  # here: it takes a second

    a, b = [first[seed] for seed in seeds], [second[seed] for seed in seeds]
    t_test = float(stats.ttest_rel(a, b).pvalue)
    wilcoxon = None
    if summary.n >= WILCOXON_SEEDS:
        with warnings.catch_warnings():  # with ties it warns of its normal approximation
            warnings.simplefilter("ignore")
            wilcoxon = float(stats.wilcoxon(differences).pvalue)
    return PairedTest(summary.n, summary.mean, summary.sd, t_test, wilcoxon)


@dataclass(frozen=True)
class Measure:
    """A number per run.

    Attributes:
        name: its name in files.
        of: function from a finished run to its value in percent; NaN if there is none.
    """

    name: str
    of: Callable[[Record], float]


def _last(record):
    if record.scores is None:
        return math.nan
    return 100 * record.scores.mean_iou


def _validation(record):
    return [100 * row["mean_iou"] for row in record.history if not math.isnan(row.get("mean_iou", math.nan))]


def _best_validation(record):
    return max(_validation(record), default=math.nan) if record.scores else math.nan


def _last_validation(record):
    return (_validation(record) or [math.nan])[-1] if record.scores else math.nan


LAST = Measure("last", _last)
BEST = Measure("best-validation", _best_validation)
LAST_VALIDATION = Measure("last-validation", _last_validation)
MEASURES = (LAST, BEST, LAST_VALIDATION)


def _order(labels):
    return -1 if labels is None else math.inf if labels == ALL else labels


class Comparison:
    """Runs by method, number of labels and seed.

    Args:
        records: the runs, in the order of their methods in tables, where the baseline comes first.

    Attributes:
        records: the runs.
        methods: their methods, in order.
        labels: numbers of labeled images, ascending, `ALL` last.

    Raises:
        UserError: if there are no runs, or they cannot be compared.
    """

    def __init__(self, records: Sequence[Record]):
        if not records:
            raise UserError("runs to compare", "none", "Give methods, or run directories.")
        require_comparable(records)
        counts = {record.labels for record in records if record.labels is not None}
        if len(counts) == 1:  # a run may have failed before it recorded its number of labels
            (count,) = counts
            records = [replace(record, labels=count) for record in records]
        self.records = tuple(records)
        self.methods = sorted(dict.fromkeys(record.label for record in records), key=lambda name: name != BASELINE)
        self.labels = sorted({record.labels for record in self.records}, key=_order)
        self._by_cell: dict[tuple, list[Record]] = {}
        for record in self.records:
            self._by_cell.setdefault((record.label, record.labels), []).append(record)

    @property
    def finished(self) -> list[Record]:
        """Runs with scores."""
        return [record for record in self.records if record.scores is not None]

    @property
    def failed(self) -> list[Record]:
        """Runs without scores."""
        return [record for record in self.records if record.scores is None]

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs, ascending."""
        return sorted({record.seed for record in self.records})

    @property
    def has_baseline(self) -> bool:
        """Whether supervised training is one of several methods."""
        return BASELINE in self.methods and len(self.methods) > 1

    @property
    def labels_with_gap(self) -> list[int]:
        """Numbers of labels below `ALL`, where finished runs of the baseline with `ALL` tell the gap; else none."""
        return [count for count in self.labels if isinstance(count, int)] if self.values(LAST, BASELINE, ALL) else []

    @property
    def num_all(self) -> int | None:
        """How many images `ALL` is; None if no record says it, or they differ."""
        numbers = {record.num_labeled for record in self.records if record.labels == ALL} - {None}
        return numbers.pop() if len(numbers) == 1 else None

    def runs_of(self, method: str, labels: Labels = None) -> list[Record]:
        """Return all runs of a method, or those with one number of labels."""
        cells = self.labels if labels is None else [labels]
        return [record for count in cells for record in self._by_cell.get((method, count), ())]

    def values(self, measure: Measure, method: str, labels: Labels) -> Mapping[int, float]:
        """Return seed -> percent for the finished runs of a cell of the table."""
        cell = self._by_cell.get((method, labels), ())
        return {record.seed: measure.of(record) for record in cell if record.scores is not None}

    def summary(self, measure: Measure, method: str, labels: Labels) -> Summary:
        """Compute mean and standard deviation over the seeds of a cell."""
        return summarize(list(self.values(measure, method, labels).values()))

    def gain(self, measure: Measure, labels: Labels) -> float:
        """Compute the largest mean of the other methods minus the baseline's; NaN if one is missing."""
        means = [self.summary(measure, method, labels).mean for method in self.methods if method != BASELINE]
        known = [mean for mean in means if not math.isnan(mean)]
        return max(known, default=math.nan) - self.summary(measure, BASELINE, labels).mean

    def gap(self, measure: Measure, labels: Labels) -> Mapping[int, float]:
        """Return seed -> points of the baseline with all labels minus those with so many; without unknown ones."""
        few, everything = (self.values(measure, BASELINE, count) for count in (labels, ALL))
        gaps = {seed: everything[seed] - few[seed] for seed in sorted({*few} & {*everything})}
        return {seed: gap for seed, gap in gaps.items() if not math.isnan(gap)}

    def gap_closed(self, measure: Measure, method: str, labels: Labels) -> Summary | None:
        """Compute which part of the gap a method closes, in percent, over the seeds that have one.

        Args:
            measure: of the scores.
            method: the method.
            labels: number of labeled images.

        Returns:
            Mean and standard deviation over the seeds whose own gap is large enough; None if the mean gap is not.
        """
        few, own = (self.values(measure, name, labels) for name in (BASELINE, method))
        gaps = self.gap(measure, labels)
        if gaps and is_small(summarize(list(gaps.values())).mean):
            return None
        seeds = [seed for seed, gap in gaps.items() if seed in own and not is_small(gap)]
        return summarize([100 * (own[seed] - few[seed]) / gaps[seed] for seed in seeds])

    def best(self, measure: Measure, labels: Labels) -> str | None:
        """Return the method with the largest mean of a column; None unless several have one."""
        means = {method: self.summary(measure, method, labels).mean for method in self.methods}
        known = {method: mean for method, mean in means.items() if not math.isnan(mean)}
        return max(known, key=known.__getitem__) if len(known) > 1 else None

    def paired(self, measure: Measure, first: str, second: str, labels: Labels) -> PairedTest:
        """Test the first method against the second, over the seeds that both have."""
        return paired_test(self.values(measure, first, labels), self.values(measure, second, labels))

    def pairs(self, most: int | None = None) -> list[tuple[str, str]]:
        """Return pairs of methods, the later one first; of more than `most` methods only pairs with the baseline."""
        pairs = [(b, a) for i, a in enumerate(self.methods) for b in self.methods[i + 1 :]]
        if most is None or len(self.methods) <= most:
            return pairs
        center = BASELINE if self.has_baseline else self.methods[0]
        return [(method, center) for method in self.methods if method != center]

    def describe(self, measure: Measure) -> str:
        """Describe what a measure was measured on."""
        finished = self.finished
        if measure is LAST:
            sets = dict.fromkeys(
                f"{record.scores.provenance.get('set', 'the set')}, {counted(record.scores.images, 'image')}, "
                f"{record.scores.mode}"
                for record in finished
                if record.scores is not None
            )
            kept = {record.config.get("options", {}).get("keep") or "last" for record in finished}
            network = "best network on validation images" if kept == {"best"} else "after the last step"
            return f"{network}; {'; '.join(sets) or 'no finished run'}"
        options = finished[0].config.get("options", {}) if finished else {}
        count = options.get("val_limit")
        images = counted(count, "validation image") if count else "all validation images"
        if measure is BEST:
            return f"best epoch on {images}: chosen on the images that it is scored on, hence optimistic"
        return f"last epoch on {images}"
