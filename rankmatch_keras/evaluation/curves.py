"""Learning curves from training histories."""

import csv
import math
import re
from collections.abc import Mapping
from pathlib import Path

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.plots import legend_below, legend_below_panel, save_figure, tidy_axes
from rankmatch_keras.texts import shown

# Panel title, y label, factor, words in the names of its columns; the first panel that fits a column takes it.
LOSSES = ("loss", "supervised", "strong", "feature_dropout", "rank", "correlation")
PANELS = (
    ("IoU on the validation set", "IoU (%)", 100.0, ("iou",)),
    ("Pseudo-labels", "fraction or probability (%)", 100.0, ("mask_ratio", "confidence", "conflict")),
    ("Losses", "loss (nats)", 1.0, LOSSES),
)
MEAN = "mean IoU"
NAMES = {
    "mean_iou": MEAN,
    "mask_ratio": "pseudo-labels kept",
    "confidence": "mean confidence",
    "loss": "total loss",
    "strong": "strong view loss",
}
BELOW_PANEL = 24  # lines whose legend fits below a panel; that of more is as wide as the picture
PANEL = 4.6, 3.4  # inches
DASHES = ("-", "--", ":", "-.")  # ten colors repeat


def save_curves(path, history, title="Training"):
    """Write learning curves as a PNG: IoU, pseudo-labels and losses over epochs.

    Columns are recognized by name: `iou` (0..1, shown in percent), `mask_ratio`, `confidence` or `conflict` (likewise),
    `loss` or a loss term (`supervised`, `rank`, ...), and shown by a `readable` one. Panels without a column are left
    out; several runs share one panel per column. Legends stand below the panels and cover nothing.

    Args:
        path: file to write.
        history: one run, as a path to a CSV with a row per epoch (as `keras.callbacks.CSVLogger` writes it) or as a
            list of dicts; or several runs, as a mapping from label to such. Empty, unreadable and NaN values become
            gaps. Without a column `epoch`, epochs count from 1.
        title: title of the picture.

    Raises:
        UserError: if no known column holds a number.
    """
    runs = history if isinstance(history, Mapping) else {"": history}
    series = {label: _series(_rows(run)) for label, run in runs.items()}
    panels = _panels(series)
    if not panels:
        raise UserError(
            "a history with losses, pseudo-label statistics or IoU",
            f"{', '.join(sorted({c for s in series.values() for c in s})) or 'nothing'} in {history!s:.80}",
            "Give the history that training wrote.",
        )
    # A run keeps its color in every panel, even where it is the only one with that column.
    colors = {label: f"C{i % 10}" for i, label in enumerate(series)} if len(series) > 1 else {}
    _draw(path, panels, title, colors)


def readable(column):
    """Return what a column of a history holds, in words: "mean IoU", "supervised loss", a class by its name alone."""
    column = column.removeprefix("val_")
    if column not in NAMES and column.startswith("iou_"):
        return column.removeprefix("iou_")
    term = re.sub(r"_[0-9]+$", "", column)
    number = column[len(term) + 1 :]
    name = NAMES.get(term, term.replace("_", " "))
    if term not in NAMES and _belongs(column, LOSSES):
        name += " loss"
    return f"{name} {number}" if number else name


def _rows(run):
    if isinstance(run, str | Path):
        with open(run, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    return list(run)


def _series(rows):
    """Return column -> (epochs, values), numbers only."""
    columns: dict[str, tuple[list[float], list[float]]] = {}
    for i, row in enumerate(rows, start=1):
        epoch = _number(row.get("epoch", i))
        for name, text in row.items():
            value = _number(text)
            if name != "epoch" and value is not None and epoch is not None:
                epochs, values = columns.setdefault(name, ([], []))
                epochs.append(epoch)
                values.append(value)
    return columns


def _number(text):
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _panels(series):
    """Return (title, y label, [(label, epochs, values)]) per group of columns, or per column for several runs."""
    panels = []
    for title, unit, factor, words in PANELS:
        names = dict.fromkeys(n for run in series.values() for n in run if _belongs(n, words))
        lines = {
            name: [
                (label or readable(name), run[name][0], [factor * v for v in run[name][1]])
                for label, run in series.items()
                if name in run
            ]
            for name in names
        }
        if len(series) > 1:
            panels += [(_panel_title(name), unit, runs) for name, runs in lines.items()]
        elif lines:
            panels.append((title, unit, [line for runs in lines.values() for line in runs]))
    return panels


def _panel_title(column):
    """Return the title of the panel that a column has for itself."""
    name = readable(column)
    return f"IoU of {name}" if _belongs(column, PANELS[0][-1]) and name != MEAN else name


def _belongs(name, words):
    """Return whether this panel is the first with a word in the column's name."""
    first = next((w for _, _, _, w in PANELS if any(word in name.lower() for word in w)), None)
    return first == words


def _draw(path, panels, title, colors):
    from matplotlib.figure import Figure  # without pyplot: no window, no global state
    from matplotlib.ticker import MaxNLocator

    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows + 0.4), dpi=130, layout="constrained")
    figure.suptitle(shown(title, "picture"), fontsize=13)
    every = [epoch for _, _, lines in panels for _, epochs, _ in lines for epoch in epochs]
    margin = max(0.5, 0.03 * (max(every) - min(every)))
    for i, (name, unit, lines) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, i)
        for number, (label, epochs, values) in enumerate(lines):
            marker = "o" if len(epochs) < 20 else None  # without markers, a run of one epoch would be invisible
            style = {"color": colors.get(label, f"C{number % 10}"), "linestyle": DASHES[number // 10 % len(DASHES)]}
            if not colors and label == MEAN:
                style = {"color": "0", "zorder": 3}  # above the classes
            text = shown(label, "picture")
            axes.plot(epochs, values, label=text, marker=marker, markersize=3.5, linewidth=1.6, **style)
        limits = (min(every) - margin, max(every) + margin)
        axes.set(title=shown(name, "picture"), xlabel="epoch", ylabel=unit, xlim=limits)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy_axes(axes)
    _add_legends(figure, columns, one_for_all=bool(colors))
    save_figure(figure, path)


def _add_legends(figure, columns, one_for_all):
    """Draw a legend below each panel, or one below all, and make the figure higher by them."""
    every = figure.get_axes()
    if one_for_all:
        legend_below(figure, list({line.get_label(): line for axes in every for line in axes.get_lines()}.values()), 8)
        return
    heights = [_add_legend(figure, axes) for axes in every]
    rows = [heights[start : start + columns] for start in range(0, len(heights), columns)]
    figure.set_figheight(figure.get_figheight() + sum(map(max, rows)))


def _add_legend(figure, axes):
    """Draw the legend of a panel; return by how many inches the figure should be higher."""
    if len(axes.get_lines()) <= BELOW_PANEL:
        return legend_below_panel(axes, PANEL[0])
    legend_below(figure, axes.get_lines(), 8)
    return 0.0
