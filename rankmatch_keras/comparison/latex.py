"""The tables of a comparison as LaTeX."""

import math

from rankmatch_keras.comparison.measures import BEST, LAST, Comparison
from rankmatch_keras.comparison.tables import closed_cell, column_name, gap_columns, gap_notes
from rankmatch_keras.texts import shown


def to_latex(comparison: Comparison) -> str:
    """Format the tables of the last and of the best epoch, for `\\usepackage{booktabs}`.

    Args:
        comparison: the runs.

    Returns:
        str with a final newline.
    """
    return "\n".join(_tabular(comparison, measure) for measure in (LAST, BEST))


def _tabular(comparison, measure):
    best = {count: comparison.best(measure, count) for count in comparison.labels}
    gaps = comparison.labels_with_gap
    counts = ["?" if count is None else column_name(comparison, count) for count in comparison.labels]
    parts = [shown(f"{name[0].upper()}{name[1:]}", "latex") for name in gap_columns(comparison)]
    lines = [
        f"% Mean IoU (%), {shown(comparison.describe(measure), 'latex')}",
        rf"\begin{{tabular}}{{l{'c' * (len(comparison.labels) + len(gaps))}}}",
        r"\toprule",
        _latex_row(["Method", *counts, *parts]),
        r"\midrule",
    ]
    for method in comparison.methods:
        cells = [
            _latex_cell(comparison.summary(measure, method, count), method == best[count])
            for count in comparison.labels
        ]
        closed = [shown(closed_cell(comparison, measure, method, count), "latex") for count in gaps]
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
