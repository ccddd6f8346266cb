"""A comparison as a page of tables."""

import math
import statistics

from rankmatch_keras.comparison.measures import LAST, MEASURES, Comparison
from rankmatch_keras.comparison.statistics import WILCOXON_SEEDS

PAIRED_METHODS = 6  # more methods are compared with the baseline only
FAILED = "failed"


def to_markdown(comparison: Comparison) -> str:
    """All tables, with what they were measured on.

    Args:
        comparison: the runs.

    Returns:
        str with a final newline.
    """
    seeds = sorted({record.seed for record in comparison.records})
    parts = [
        "# Comparison",
        f"Mean IoU in %, mean ± sample standard deviation over seeds ({', '.join(map(str, seeds))}); the number of "
        f"seeds in brackets where some are missing. Columns: labelled images. The best mean is bold.",
    ]
    for measure in MEASURES:
        parts += [f"## {_title(comparison.describe(measure))}", _scores(comparison, measure, len(seeds))]
    parts += ["## Paired over seeds", _tests(comparison), "## Cost", _costs(comparison)]
    if comparison.failed:
        failures = [
            f"- {record.label}, {_column(record.labels)}, seed {record.seed}: {record.error}"
            for record in comparison.failed
        ]
        parts += ["## Without a score", "\n".join(failures)]
    return "\n\n".join(parts) + "\n"


def _title(text):
    return text[0].upper() + text[1:]


def _scores(comparison, measure, seeds):
    best = {count: comparison.best(measure, count) for count in comparison.labels}
    rows = [
        [method, *(_cell(comparison, measure, method, count, best[count], seeds) for count in comparison.labels)]
        for method in comparison.methods
    ]
    if comparison.has_baseline:
        gains = [comparison.gain(measure, count) for count in comparison.labels]
        rows.append(["Δ best other − supervised", *("" if math.isnan(gain) else f"{gain:+.2f}" for gain in gains)])
    return _table(["method", *map(_column, comparison.labels)], rows)


def _cell(comparison, measure, method, labels, best, seeds):
    summary = comparison.summary(measure, method, labels)
    if not summary.n:
        return FAILED if comparison.runs_of(method, labels) else ""
    spread = "" if math.isnan(summary.sd) else f" ± {summary.sd:.2f}"
    text = f"{summary.mean:.2f}{spread}"
    text = f"**{text}**" if method == best else text
    return text if summary.n == seeds else f"{text} ({summary.n})"


def _tests(comparison):
    if len(comparison.methods) < 2:
        return "One method: nothing to test."
    rows = []
    for first, second in comparison.pairs(PAIRED_METHODS):
        for count in comparison.labels:
            test = comparison.paired(LAST, first, second, count)
            if not test.n:
                continue
            spread = "" if math.isnan(test.sd) else f" ± {test.sd:.2f}"
            t_test = test.note if test.t_test is None else f"{test.t_test:.3g}"
            signed = "-" if test.wilcoxon is None else f"{test.wilcoxon:.3g}"
            rows.append([first, second, _column(count), str(test.n), f"{test.difference:+.2f}{spread}", t_test, signed])
    if not rows:
        return "No two methods have a seed in common."
    header = ["method", "minus", "labels", "seeds", "difference", "p, paired t-test", "p, Wilcoxon"]
    notes = (
        "Score after the last step, same seed against same seed. p is two-sided and of each pair by itself: of many "
        f"pairs some fall below 0.05 by chance. Wilcoxon's test needs {WILCOXON_SEEDS} seeds."
    )
    more = "" if len(comparison.methods) <= PAIRED_METHODS else " All other pairs are in pairs.csv."
    return f"{notes}{more}\n\n{_table(header, rows)}"


def _costs(comparison):
    rows = []
    for method in comparison.methods:
        runs = [record for record in comparison.runs_of(method) if record.scores is not None]
        if not runs:
            continue
        rows.append(
            [
                method,
                ", ".join(dict.fromkeys(record.backend for record in runs)),
                _number(runs, "step_seconds", statistics.median, 3),
                _number(runs, "train_seconds", statistics.fmean, 0),
                _number(runs, "seconds", statistics.fmean, 0),
                _number(runs, "peak_memory_gb", max, 2),
            ]
        )
    if not rows:
        return "No finished run."
    header = ["method", "backend", "s per step", "training, s", "with evaluation, s", "peak memory, GB"]
    note = (
        "Over all labels and seeds: median, means, largest. Memory is that of a run's processes, evaluation included."
    )
    return f"{note}\n\n{_table(header, rows)}"


def _number(runs, name, combine, digits):
    values = [record.cost[name] for record in runs if record.cost.get(name) is not None]
    return f"{combine(values):.{digits}f}" if values else "-"


def _column(count):
    return "labels unknown" if count is None else str(count)


def _table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
