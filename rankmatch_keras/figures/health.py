"""Pseudo-labels over the training: how many count, and how many of these are right."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rankmatch_keras.errors import UserError
from rankmatch_keras.files import replacing

Rows = Sequence[Mapping[str, float]]


def save_health(
    folder: Path, histories: Mapping[str, Rows], checks: Mapping[str, Rows], class_names: Sequence[str]
) -> list[Path]:
    """Writes `pseudo_labels.png` and `.svg`: shares over the epochs, and per run the accuracy per class.

    Args:
        folder: where to.
        histories: run -> rows of its history, with `mask_ratio` where the method logs it.
        checks: run -> rows of its `pseudo_labels.csv`; empty for runs without one.
        class_names: names of the classes.

    Returns:
        The files.

    Raises:
        UserError: no run has anything to draw.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure  # without pyplot: no window, no global state
    from matplotlib.ticker import MaxNLocator

    panels = [
        ("Pixels that count, training batches", _lines(histories, "mask_ratio")),
        ("Pixels that count, checked images", _lines(checks, "kept")),
        ("Accuracy of labels that count", _lines(checks, "accuracy")),
        ("Accuracy of all labels", _lines(checks, "accuracy_all")),
    ]
    names = list(histories)
    colours = {name: colormaps["tab10"](number % 10) for number, name in enumerate(names)}
    drawn = [(title, lines, colours) for title, lines in panels if lines]
    class_colours = {name: colormaps["tab20"](number % 20) for number, name in enumerate(class_names)}
    for label, rows in checks.items():
        for kind, title in (("accuracy", "accuracy of labels that count"), ("kept", "pixels that count")):
            lines = {name: line for name in class_names if (line := _line(rows, f"{kind}_{name}"))}
            if lines:
                drawn.append((f"{label}: {title}", lines, class_colours))
    if not drawn:
        raise UserError("runs that log pseudo-labels", ", ".join(names), "Give runs of methods with pseudo-labels.")
    across = min(4, len(drawn))
    down = -(-len(drawn) // across)
    figure = Figure(figsize=(4.4 * across, 3.3 * down), dpi=130, layout="constrained")
    shown: dict[str, Any] = {}
    for number, (title, lines, palette) in enumerate(drawn, start=1):
        axes = figure.add_subplot(down, across, number)
        for name, (epochs, values) in lines.items():
            marker = "o" if len(epochs) < 20 else None
            axes.plot(epochs, values, label=name, color=palette[name], marker=marker, markersize=3, linewidth=1.5)
        axes.set(title=title, xlabel="epoch", ylabel="%")
        # Accuracies are read against 100 %; shares that count may stay far below.
        axes.set_ylim((-3, 103) if "ccuracy" in title else (0, max(1.0, axes.get_ylim()[1])))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.title.set_fontsize(10)
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
        if palette is colours:
            axes.legend(fontsize=7, frameon=False)
        else:
            shown |= dict(zip(lines, axes.get_lines(), strict=True))
    if shown:  # the classes of all panels, once, where they hide no line
        columns = max(1, int(figure.get_figwidth() // (0.6 + 0.08 * max(map(len, shown)))))
        figure.legend(
            shown.values(), shown, loc="outside lower center", ncols=min(columns, len(shown)), frameon=False, fontsize=9
        )
    paths = [folder / f"pseudo_labels.{kind}" for kind in ("png", "svg")]
    for path in paths:
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], facecolor="white")
    return paths


def _lines(runs, column):
    return {label: line for label, rows in runs.items() if (line := _line(rows, column))}


def _line(rows, column):
    """(epochs, percent) where the column has numbers; None where it has none."""
    known = [(row["epoch"], 100 * row[column]) for row in rows if not math.isnan(row.get(column, math.nan))]
    return tuple(zip(*known, strict=True)) if known else None
