"""Pseudo-labels during training: how many are kept, and how many of these are right."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.plots import legend_below, save_figure, tidy_axes
from rankmatch_keras.texts import printable, shown

Rows = Sequence[Mapping[str, float]]

PER_CLASS = {
    "kept": "pixels kept",
    "recall": "recall of kept pixels",
    "accuracy": "accuracy of kept labels",
}
COLUMNS = 12  # of the grid, which rows of one to four panels fill


def save_pseudo_labels(
    folder: Path, histories: Mapping[str, Rows], checks: Mapping[str, Rows], class_names: Sequence[str]
) -> list[Path]:
    """Write `pseudo_labels.png` and `.svg`: fractions kept and right over the epochs, of all runs and per class.

    Args:
        folder: output folder.
        histories: run -> rows of its history, with `mask_ratio` if the method logs it.
        checks: run -> rows of its `pseudo_labels.csv`; empty for runs without one.
        class_names: names of the classes.

    Returns:
        The files.

    Raises:
        UserError: if no run has anything to draw.
    """
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    rows = _panels(histories, checks, class_names)
    if not rows:
        raise UserError("runs that log pseudo-labels", ", ".join(histories), "Give runs of methods with pseudo-labels.")
    figure = Figure(figsize=(4.4 * max(map(len, rows)), 3.3 * len(rows)), dpi=130, layout="constrained")
    grid = figure.add_gridspec(len(rows), COLUMNS)
    overall, classes = _colors("tab10", histories), _colors("tab20", class_names)
    drawn: dict[str, Any] = {}
    for y, row in enumerate(rows):
        for x, (title, lines) in enumerate(row):
            axes = figure.add_subplot(grid[y, x * COLUMNS // len(row) : (x + 1) * COLUMNS // len(row)])
            _draw(axes, title, lines, overall if y == 0 else classes)
            if y == 0:
                axes.legend(fontsize=7, frameon=False)
            else:
                drawn |= dict(zip(lines, axes.get_lines(), strict=True))
    legend_below(figure, list(drawn.values()))  # one for the classes of all panels
    paths = [folder / f"pseudo_labels.{kind}" for kind in ("png", "svg")]
    save_figure(figure, *paths)
    return paths


def _panels(histories, checks, class_names):
    """Return rows of (title, lines): the fractions of all runs, then those of each run's classes; empty if none."""
    overall = {
        "Pixels kept, training batches": _lines(histories, "mask_ratio"),
        "Pixels kept, checked images": _lines(checks, "kept"),
        "Accuracy of kept labels": _lines(checks, "accuracy"),
        "Accuracy of all labels": _lines(checks, "accuracy_all"),
    }
    if not any(overall.values()):
        return []
    of_runs = [
        {f"{label}: {title}": _lines_of_classes(check, kind, class_names) for kind, title in PER_CLASS.items()}
        for label, check in checks.items()
    ]
    rows = [[(title, lines) for title, lines in row.items() if lines] for row in (overall, *of_runs)]
    return [row for row in rows if row]


def _draw(axes, title, lines, colors):
    from matplotlib.ticker import MaxNLocator

    for name, (epochs, values) in lines.items():
        marker = "o" if len(epochs) < 20 else None
        axes.plot(
            epochs, values, label=shown(name, "picture"), color=colors[name], marker=marker, markersize=3, linewidth=1.5
        )
    axes.set(title=shown(title, "picture"), xlabel="epoch", ylabel="%")
    # Accuracy and recall are read against 100 %; the fraction kept may stay far below.
    axes.set_ylim((0, max(1.0, axes.get_ylim()[1])) if "ixels kept" in title else (-3, 103))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.title.set_fontsize(10)
    tidy_axes(axes)


def _colors(palette, names):
    from matplotlib import colormaps

    colors = colormaps[palette]
    return {name: colors(number % colors.N) for number, name in enumerate(names)}


def _lines(runs, column):
    return {label: line for label, rows in runs.items() if (line := _line(rows, column))}


def _lines_of_classes(rows, kind, class_names):
    return {name: line for name in class_names if (line := _line(rows, f"{kind}_{printable(name)}"))}


def _line(rows, column):
    """Return (epochs, percent) where the column has numbers; None if it has none."""
    known = [(row["epoch"], 100 * row[column]) for row in rows if not math.isnan(row.get(column, math.nan))]
    return tuple(zip(*known, strict=True)) if known else None
