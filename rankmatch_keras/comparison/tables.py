"""Tables of a comparison: Markdown, LaTeX and CSV."""

import csv
import math
import statistics
from pathlib import Path

from rankmatch_keras.comparison.measures import (
    BEST,
    LAST,
    MEASURES,
    WILCOXON_SEEDS,
    Comparison,
    Measure,
    is_small,
    summarize,
)
from rankmatch_keras.comparison.records import ALL, BASELINE
from rankmatch_keras.files import replacing
from rankmatch_keras.texts import shown

PAIRED_METHODS = 6  # more methods are compared with the baseline only
FAILED = "failed"


def to_markdown(comparison: Comparison) -> str:
    """Format all tables, with what they were measured on.

    Args:
        comparison: the runs.

    Returns:
        str with a final newline.
    """
    seeds = sorted({record.seed for record in comparison.records})
    parts = [
        "# Comparison",
        f"Mean IoU in %, mean ± sample standard deviation over seeds ({', '.join(map(str, seeds))}); the number of "
        f"seeds in parentheses if some are missing. Columns: labeled images. The best mean is bold.",
    ]
    if comparison.labels_with_gap:
        parts.append(
            "Gap closed: what a method gains over supervised with as many labels, in % of what all labels would gain."
        )
    for measure in MEASURES:
        title = f"## {_title(_marked(comparison.describe(measure)))}"
        parts += [title, _scores(comparison, measure, len(seeds)), *gap_notes(comparison, measure)]
    parts += ["## Paired over seeds", _tests(comparison), "## Cost", _costs(comparison)]
    if comparison.failed:
        failures = [
            f"- {_marked(one.label)}, {_column(comparison, one.labels)}, seed {one.seed}: {_marked(one.error)}"
            for one in comparison.failed
        ]
        parts += ["## Without a score", "\n".join(failures)]
    return "\n\n".join(parts) + "\n"


def gap_notes(comparison: Comparison, measure: Measure) -> list[str]:
    """Say how large the gap between few and all labels is, in one line per number of labels.

    Args:
        comparison: the runs.
        measure: of the scores.

    Returns:
        Lines for below a table; none without runs with all labels.
    """
    return [_gap_note(comparison, measure, count) for count in comparison.labels_with_gap]


def to_latex(comparison: Comparison) -> str:
    """Format the tables of the last and of the best epoch, for `\\usepackage{booktabs}`.

    Args:
        comparison: the runs.

    Returns:
        str with a final newline.
    """
    return "\n".join(_tabular(comparison, measure) for measure in (LAST, BEST))


def write_tables(folder: Path, comparison: Comparison) -> None:
    """Write `table.csv` (means), `pairs.csv` (tests) and `runs.csv` (single runs), in percent throughout.

    Args:
        folder: output folder; made if needed.
        comparison: the runs.
    """
    _write_csv(folder / "table.csv", _mean_rows(comparison))
    _write_csv(folder / "pairs.csv", _pair_rows(comparison))
    _write_csv(folder / "runs.csv", _run_rows(comparison))


def _title(text):
    return text[0].upper() + text[1:]


def _gap_note(comparison, measure, count):
    gaps = comparison.gap(measure, count)
    gap = summarize(list(gaps.values()))
    if not gap.n:
        return f"No seed has a score of supervised with {count} and with all labels: no gap."
    start = f"The gap between {count} and all labels is"
    if is_small(gap.mean):
        return f"{start} only {gap.mean:.2f} points: no basis to compare methods."
    spread = "" if math.isnan(gap.sd) else f" ± {gap.sd:.2f}"
    small = [str(seed) for seed, one in gaps.items() if is_small(one)]
    rest = f" Left out as too small: that of seed {', '.join(small)}." if small else ""
    return f"{start} {gap.mean:.2f}{spread} points ({'one seed' if gap.n == 1 else f'{gap.n} seeds'}).{rest}"


def _scores(comparison, measure, seeds):
    best = {count: comparison.best(measure, count) for count in comparison.labels}
    rows = [
        [
            _marked(method),
            *(_cell(comparison, measure, method, count, best[count], seeds) for count in comparison.labels),
            *(_closed(comparison, measure, method, count, seeds) for count in comparison.labels_with_gap),
        ]
        for method in comparison.methods
    ]
    if comparison.has_baseline:
        gains = [comparison.gain(measure, count) for count in comparison.labels]
        cells = ["" if math.isnan(gain) else f"{gain:+.2f}" for gain in gains]
        rows.append(["Δ best other − supervised", *cells, *("" for _ in comparison.labels_with_gap)])
    header = ["method", *(_column(comparison, count) for count in comparison.labels), *_gap_columns(comparison)]
    return _table(header, rows)


def _gap_columns(comparison):
    counts = comparison.labels_with_gap
    return ["gap closed, %"] if len(counts) == 1 else [f"gap closed at {count}, %" for count in counts]


def _closed(comparison, measure, method, labels, seeds):
    if method == BASELINE or not comparison.values(measure, method, labels):
        return ""
    closed = comparison.gap_closed(measure, method, labels)
    if closed is None:
        return "-"
    if not closed.n:
        return ""
    spread = "" if math.isnan(closed.sd) else f" ± {closed.sd:.1f}"
    text = f"{closed.mean:.1f}{spread}"
    return text if closed.n == seeds else f"{text} ({closed.n})"


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
            t_test = _marked(test.note) if test.t_test is None else f"{test.t_test:.3g}"
            signed = "-" if test.wilcoxon is None else f"{test.wilcoxon:.3g}"
            difference = f"{test.difference:+.2f}{spread}"
            rows.append(
                [_marked(first), _marked(second), _column(comparison, count), str(test.n), difference, t_test, signed]
            )
    if not rows:
        return "No two methods have a seed in common."
    header = ["method", "minus", "labels", "seeds", "difference", "p, paired t-test", "p, Wilcoxon"]
    notes = (
        "Score after the last step, same seed against same seed. p is two-sided and uncorrected: of many pairs "
        f"some fall below 0.05 by chance. Wilcoxon's test needs {WILCOXON_SEEDS} seeds."
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
                _marked(method),
                _marked(", ".join(dict.fromkeys(record.backend for record in runs))),
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
        "Over all labels and seeds: median, means, largest. Memory is that of all processes of a run, with evaluation."
    )
    return f"{note}\n\n{_table(header, rows)}"


def _number(runs, name, combine, digits):
    values = [record.cost[name] for record in runs if record.cost.get(name) is not None]
    return f"{combine(values):.{digits}f}" if values else "-"


def _column(comparison, count):
    if count == ALL and comparison.num_all:
        return f"{ALL} ({comparison.num_all})"
    return "labels unknown" if count is None else str(count)


def _table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _marked(text):
    return shown(text, "markdown")


def _tabular(comparison, measure):
    best = {count: comparison.best(measure, count) for count in comparison.labels}
    gaps = comparison.labels_with_gap
    seeds = len({record.seed for record in comparison.records})
    counts = ["?" if count is None else _column(comparison, count) for count in comparison.labels]
    lines = [
        f"% Mean IoU (%), {shown(comparison.describe(measure), 'latex')}",
        rf"\begin{{tabular}}{{l{'c' * (len(comparison.labels) + len(gaps))}}}",
        r"\toprule",
        _latex_row(["Method", *counts, *(shown(_title(name), "latex") for name in _gap_columns(comparison))]),
        r"\midrule",
    ]
    for method in comparison.methods:
        cells = [
            _latex_cell(comparison.summary(measure, method, count), method == best[count])
            for count in comparison.labels
        ]
        closed = [shown(_closed(comparison, measure, method, count, seeds), "latex") for count in gaps]
        lines.append(_latex_row([shown(method, "latex"), *cells, *closed]))
    if comparison.has_baseline:
        gains = [comparison.gain(measure, count) for count in comparison.labels]
        deltas = ["--" if math.isnan(gain) else f"{gain:+.2f}" for gain in gains]
        lines += [r"\midrule", _latex_row([r"$\Delta\uparrow$", *deltas, *("" for _ in gaps)])]
    notes = [rf"\par{{\footnotesize {shown(note, 'latex')}}}" for note in gap_notes(comparison, measure)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *notes, ""])


def _latex_row(cells):
    return " & ".join(cells) + r" \\"


def _latex_cell(summary, bold):
    if not summary.n:
        return "--"
    mean = rf"\textbf{{{summary.mean:.2f}}}" if bold else f"{summary.mean:.2f}"
    return mean if math.isnan(summary.sd) else rf"{mean}{{\scriptsize$\pm${summary.sd:.2f}}}"


def _mean_rows(comparison):
    for measure in MEASURES:
        for method in comparison.methods:
            for count in comparison.labels:
                if not comparison.runs_of(method, count):
                    continue
                summary = comparison.summary(measure, method, count)
                difference = comparison.paired(measure, method, BASELINE, count) if comparison.has_baseline else None
                yield {
                    "measure": measure.name,
                    "method": method,
                    "labels": count,
                    "seeds": summary.n,
                    "mean": summary.mean,
                    "sd": summary.sd,
                    "minus_supervised": math.nan if difference is None else difference.difference,
                    **_gap_cells(comparison, measure, method, count),
                    "failed": sum(record.scores is None for record in comparison.runs_of(method, count)),
                    "measured_on": comparison.describe(measure),
                }


def _gap_cells(comparison, measure, method, count):
    counts = comparison.labels_with_gap
    if not counts:
        return {}
    closed = comparison.gap_closed(measure, method, count) if count in counts and method != BASELINE else None
    return {
        "gap": summarize(list(comparison.gap(measure, count).values())).mean if count in counts else math.nan,
        "gap_closed": None if closed is None else closed.mean,
        "gap_closed_sd": None if closed is None else closed.sd,
        "gap_closed_seeds": None if closed is None else closed.n,
        "gap_note": _gap_note(comparison, measure, count) if count in counts else "",
    }


def _pair_rows(comparison):
    for measure in MEASURES:
        for first, second in comparison.pairs():
            for count in comparison.labels:
                if not comparison.runs_of(first, count) or not comparison.runs_of(second, count):
                    continue
                test = comparison.paired(measure, first, second, count)
                yield {
                    "measure": measure.name,
                    "method": first,
                    "minus": second,
                    "labels": count,
                    "seeds": test.n,
                    "difference": test.difference,
                    "sd": test.sd,
                    "p_t_test": test.t_test,
                    "p_wilcoxon": test.wilcoxon,
                    "note": test.note,
                }


def _run_rows(comparison):
    for record in comparison.records:
        yield {
            "method": record.label,
            "labels": record.labels,
            "labeled_images": record.num_labeled,
            "seed": record.seed,
            **{measure.name: measure.of(record) for measure in MEASURES},
            "split": record.config.get("split", {}).get("id"),
            "backend": record.backend,
            **{name: record.cost.get(name) for name in ("step_seconds", "train_seconds", "seconds", "peak_memory_gb")},
            "folder": str(record.folder),
            "error": record.error,
        }


def _write_csv(path, rows):
    rows = [{name: _plain(value) for name, value in row.items()} for row in rows]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def _plain(value):
    """Round to six decimals; unknown values become empty, and texts such as a spreadsheet takes for what they are."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return shown(value, "csv")
    return round(value, 6) if isinstance(value, float) else value
