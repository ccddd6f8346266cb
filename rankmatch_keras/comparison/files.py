"""A comparison as files: LaTeX and CSV."""

import csv
import math
from pathlib import Path

from rankmatch_keras.comparison.measures import BEST, LAST, MEASURES, Comparison
from rankmatch_keras.comparison.records import BASELINE
from rankmatch_keras.files import replacing

_LATEX = {"\\": r"\textbackslash{}", **{letter: f"\\{letter}" for letter in "&%$#_{}"}, "~": r"\textasciitilde{}"}


def to_latex(comparison: Comparison) -> str:
    """The tables of the last and of the best epoch, for `\\usepackage{booktabs}`.

    Args:
        comparison: the runs.

    Returns:
        str with a final newline.
    """
    return "\n".join(_tabular(comparison, measure) for measure in (LAST, BEST))


def write_tables(folder: Path, comparison: Comparison) -> None:
    """Writes `table.csv` (means), `pairs.csv` (tests) and `runs.csv` (single runs), percent throughout.

    Args:
        folder: where to; made if needed.
        comparison: the runs.
    """
    _write(folder / "table.csv", _means(comparison))
    _write(folder / "pairs.csv", _pairs(comparison))
    _write(folder / "runs.csv", _runs(comparison))


def _tabular(comparison, measure):
    best = {count: comparison.best(measure, count) for count in comparison.labels}
    lines = [
        f"% Mean IoU (%), {_escape(comparison.describe(measure))}",
        rf"\begin{{tabular}}{{l{'c' * len(comparison.labels)}}}",
        r"\toprule",
        _row(["Method", *("?" if count is None else str(count) for count in comparison.labels)]),
        r"\midrule",
    ]
    for method in comparison.methods:
        cells = [
            _cell(comparison.summary(measure, method, count), method == best[count]) for count in comparison.labels
        ]
        lines.append(_row([_escape(method), *cells]))
    if comparison.has_baseline:
        gains = [comparison.gain(measure, count) for count in comparison.labels]
        deltas = ["--" if math.isnan(gain) else f"{gain:+.2f}" for gain in gains]
        lines += [r"\midrule", _row([r"$\Delta\uparrow$", *deltas])]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _row(cells):
    return " & ".join(cells) + r" \\"


def _cell(summary, bold):
    if not summary.n:
        return "--"
    mean = rf"\textbf{{{summary.mean:.2f}}}" if bold else f"{summary.mean:.2f}"
    return mean if math.isnan(summary.sd) else rf"{mean}{{\scriptsize$\pm${summary.sd:.2f}}}"


def _escape(text):
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _means(comparison):
    for measure in MEASURES:
        for method in comparison.methods:
            for count in comparison.labels:
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
                    "failed": sum(record.scores is None for record in comparison.runs_of(method, count)),
                    "measured_on": comparison.describe(measure),
                }


def _pairs(comparison):
    for measure in MEASURES:
        for first, second in comparison.pairs():
            for count in comparison.labels:
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


def _runs(comparison):
    for record in comparison.records:
        yield {
            "method": record.label,
            "labels": record.labels,
            "seed": record.seed,
            **{measure.name: measure.of(record) for measure in MEASURES},
            "split": record.config.get("split", {}).get("id"),
            "backend": record.backend,
            **{name: record.cost.get(name) for name in ("step_seconds", "train_seconds", "seconds", "peak_memory_gb")},
            "folder": str(record.folder),
            "error": record.error,
        }


def _write(path, rows):
    rows = [{name: _plain(value) for name, value in row.items()} for row in rows]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def _plain(value):
    """Six decimals of a number, nothing for what is unknown."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return round(value, 6) if isinstance(value, float) else value
