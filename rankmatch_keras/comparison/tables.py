"""Tables of a comparison as rows of texts, which `markdown` and the report write in their own forms."""

import math
import statistics
from dataclasses import dataclass

from rankmatch_keras.comparison.measures import (
    LAST,
    WILCOXON_SEEDS,
    Comparison,
    Measure,
    Summary,
    is_small,
    summarize,
)
from rankmatch_keras.comparison.records import ALL, BASELINE
from rankmatch_keras.texts import counted

PAIRED_METHODS = 6  # more methods are compared with the baseline only
FAILED = "failed"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what it says.
        best: whether it has the best mean of its column.
        note: what stands behind it, such as the number of seeds.
        name: whether anybody chose the text, such as that of a method; it may hold marks of any language.
    """

    text: str = ""
    best: bool = False
    note: str = ""
    name: bool = False

    def __str__(self):
        return f"{self.text} {self.note}".strip()


@dataclass(frozen=True)
class Table:
    """A table: its header, its rows, of as many cells, and what has to be said of it, in paragraphs."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


def score_table(comparison: Comparison, measure: Measure) -> Table:
    """Make the table of scores: a row per method, a column per number of labels, and which part of the gap is closed.

    Args:
        comparison: the runs.
        measure: of the scores.
    """
    best = {count: comparison.best(measure, count) for count in comparison.labels}
    rows = [
        [
            Cell(method, name=True),
            *(_score(comparison, measure, method, count, best[count]) for count in comparison.labels),
            *(closed_cell(comparison, measure, method, count) for count in comparison.labels_with_gap),
        ]
        for method in comparison.methods
    ]
    if comparison.has_baseline:
        gains = [comparison.gain(measure, count) for count in comparison.labels]
        cells = [Cell("" if math.isnan(gain) else f"{gain:+.2f}") for gain in gains]
        rows.append([Cell("Δ best other − supervised"), *cells, *(Cell() for _ in comparison.labels_with_gap)])
    header = ("method", *(column_name(comparison, count) for count in comparison.labels), *gap_columns(comparison))
    return _table(header, rows, gap_notes(comparison, measure))


def closed_cell(comparison: Comparison, measure: Measure, method: str, labels: int) -> Cell:
    """Say which part of the gap to all labels a method closes, in percent; `-` where the gap is too small."""
    if method == BASELINE or not comparison.values(measure, method, labels):
        return Cell()
    closed = comparison.gap_closed(measure, method, labels)
    if closed is None:
        return Cell("-")
    return Cell(_spread(closed, 1), note=_seeds(comparison, closed)) if closed.n else Cell()


def gap_columns(comparison: Comparison) -> list[str]:
    """Return the headings of the columns with the part of the gap that is closed."""
    counts = comparison.labels_with_gap
    return ["gap closed, %"] if len(counts) == 1 else [f"gap closed at {count}, %" for count in counts]


def gap_notes(comparison: Comparison, measure: Measure) -> list[str]:
    """Say how large the gap between few and all labels is, in one line per number of labels.

    Args:
        comparison: the runs.
        measure: of the scores.

    Returns:
        Lines for below a table; none without runs with all labels.
    """
    return [gap_note(comparison, measure, count) for count in comparison.labels_with_gap]


def gap_note(comparison: Comparison, measure: Measure, count: int) -> str:
    """Say how large the gap between so many and all labels is, in one line."""
    gaps = comparison.gap(measure, count)
    gap = summarize(list(gaps.values()))
    if not gap.n:
        return f"No seed has a score of supervised with {count} and with all labels: no gap."
    start = f"The gap between {count} and all labels is"
    if is_small(gap.mean):
        return f"{start} only {gap.mean:.2f} points: no basis to compare methods."
    small = [str(seed) for seed, one in gaps.items() if is_small(one)]
    rest = f" Left out as too small: that of seed {', '.join(small)}." if small else ""
    return f"{start} {_spread(gap)} points ({'one seed' if gap.n == 1 else f'{gap.n} seeds'}).{rest}"


def paired_table(comparison: Comparison) -> Table | None:
    """Make the table of paired tests; `None` where no two methods have a seed in common."""
    rows = []
    for first, second in comparison.pairs(PAIRED_METHODS):
        for count in comparison.labels:
            test = comparison.paired(LAST, first, second, count)
            if not test.n:
                continue
            spread = "" if math.isnan(test.sd) else f" ± {test.sd:.2f}"
            cells = [
                *(column_name(comparison, count), str(test.n), f"{test.difference:+.2f}{spread}"),
                test.note if test.t_test is None else f"{test.t_test:.3g}",
                "-" if test.wilcoxon is None else f"{test.wilcoxon:.3g}",
            ]
            rows.append([Cell(first, name=True), Cell(second, name=True), *map(Cell, cells)])
    header = ("method", "minus", "labels", "seeds", "difference", "p, paired t-test", "p, Wilcoxon")
    note = (
        "Score after the last step, same seed against same seed. p is two-sided and uncorrected: of many pairs "
        f"some fall below 0.05 by chance. Wilcoxon's test needs {WILCOXON_SEEDS} seeds."
    )
    more = "" if len(comparison.methods) <= PAIRED_METHODS else " All other pairs are in pairs.csv."
    return _table(header, rows, [note + more]) if rows else None


def cost_table(comparison: Comparison) -> Table | None:
    """Make the table of time and memory; `None` without a finished run."""
    rows = []
    for method in comparison.methods:
        runs = [record for record in comparison.runs_of(method) if record.scores is not None]
        if not runs:
            continue
        backends = ", ".join(dict.fromkeys(record.backend for record in runs))
        numbers = (
            _number(runs, "step_seconds", statistics.median, 3),
            _number(runs, "train_seconds", statistics.fmean, 0),
            _number(runs, "seconds", statistics.fmean, 0),
            _number(runs, "peak_memory_gb", max, 2),
        )
        rows.append([Cell(method, name=True), Cell(backends, name=True), *map(Cell, numbers)])
    header = ("method", "backend", "s per step", "training, s", "with evaluation, s", "peak memory, GB")
    note = (
        "Over all labels and seeds: median, means, largest. Memory is that of all processes of a run, with evaluation."
    )
    return _table(header, rows, [note]) if rows else None


def class_tables(comparison: Comparison) -> list[tuple[str, Table]]:
    """Make a table per number of labels, with its heading: a row per class, a column per method, IoU in percent."""
    tables = []
    for count in comparison.labels:
        runs = {method: _scores_of(comparison, method, count) for method in comparison.methods}
        runs = {method: scores for method, scores in runs.items() if scores}
        if runs:
            names = next(iter(runs.values()))[0].class_names
            rows = [[Cell(name, name=True), *_class_cells(comparison, runs, k)] for k, name in enumerate(names)]
            tables.append((labels_title(count), _table(("class", *runs), rows, ())))
    return tables


def run_table(comparison: Comparison) -> Table:
    """Make the table of all runs, with the interval of each score over images."""
    rows = []
    for record in comparison.records:
        scores = record.scores
        numbers = [FAILED, ""] if scores is None else [f"{100 * scores.mean_iou:.2f}", _interval(scores)]
        split = str(record.config.get("split", {}).get("id", ""))
        cells = (column_name(comparison, record.labels), str(record.seed), *numbers)
        rows.append([Cell(record.label, name=True), *map(Cell, cells), Cell(split, name=True)])
    header = ("method", "labels", "seed", "mean IoU, %", "95 % interval", "split")
    return _table(header, rows, ["Intervals are bootstrapped over images, for each run by itself."])


def column_name(comparison: Comparison, count) -> str:
    """Return the heading of the column of a number of labels."""
    if count == ALL and comparison.num_all:
        return f"{ALL} ({comparison.num_all})"
    return "labels unknown" if count is None else str(count)


def labels_title(count) -> str:
    """Return the heading of what is shown of a number of labels; empty if it is unknown."""
    return "" if count is None else "all images labeled" if count == ALL else counted(count, "labeled image")


def _table(header, rows, notes):
    return Table(tuple(header), tuple(map(tuple, rows)), tuple(notes))


def _score(comparison, measure, method, labels, best):
    summary = comparison.summary(measure, method, labels)
    if not summary.n:
        return Cell(FAILED if comparison.runs_of(method, labels) else "")
    return Cell(_spread(summary), method == best, _seeds(comparison, summary))


def _spread(summary: Summary, digits: int = 2) -> str:
    """Write a mean with its standard deviation, if there is one."""
    spread = "" if math.isnan(summary.sd) else f" ± {summary.sd:.{digits}f}"
    return f"{summary.mean:.{digits}f}{spread}"


def _seeds(comparison, summary):
    """Return the number of seeds in parentheses, where some are missing."""
    return "" if summary.n == len(comparison.seeds) else f"({summary.n})"


def _number(runs, name, combine, digits):
    values = [record.cost[name] for record in runs if record.cost.get(name) is not None]
    return f"{combine(values):.{digits}f}" if values else "-"


def _scores_of(comparison, method, count):
    return [record.scores for record in comparison.runs_of(method, count) if record.scores is not None]


def _class_cells(comparison, runs, k):
    """Return a cell per method with the IoU of class k."""
    summaries = [summarize([100 * scores.iou[k] for scores in all_scores]) for all_scores in runs.values()]
    best = max((one.mean for one in summaries if one.n), default=math.nan)
    several = sum(one.n > 0 for one in summaries) > 1 and best > 0
    return [
        Cell(_spread(one, 1), several and one.mean == best, _seeds(comparison, one)) if one.n else Cell("–")
        for one in summaries
    ]


def _interval(scores):
    low, high = (100 * limit for limit in scores.mean_iou_interval)
    return "" if math.isnan(low) else f"{low:.1f} to {high:.1f}"
