"""Charts of a comparison: learning curves and per-class IoU, means over seeds."""

import math
import textwrap
from pathlib import Path

import numpy as np

from rankmatch_keras.comparison.measures import LAST, Comparison, summarize
from rankmatch_keras.comparison.records import ALL, BASELINE
from rankmatch_keras.comparison.tables import labels_title
from rankmatch_keras.evaluation.plots import legend_below, save_figure, tidy_axes
from rankmatch_keras.texts import printable, shown


def save_learning_curves(folder: Path, comparison: Comparison) -> list[Path]:
    """Write `curves.png` and `.svg`: mean IoU on validation images during training, one panel per number of labels.

    The baseline with all labels, the ceiling, is a dashed line in each.

    Args:
        folder: output folder.
        comparison: the runs.

    Returns:
        The files; none if no run has a history.
    """
    panels = {count: _curves(comparison, count) for count in _panel_counts(comparison)}
    panels = {count: lines for count, lines in panels.items() if lines}
    if not panels:
        return []
    figure, axes = _panels(len(panels), 4.8, 3.6)
    for ax, (count, lines) in zip(axes, panels.items(), strict=True):
        for (method, labels), (x, mean, sd) in lines.items():
            style, ceiling = _style(comparison, method), labels != count
            marker, line = "o" if len(x) < 20 and not ceiling else None, "--" if ceiling else "-"
            name = _name(method, ceiling)
            ax.plot(x, mean, label=name, linewidth=1.8, linestyle=line, marker=marker, markersize=3, **style)
            if not ceiling:
                ax.fill_between(x, mean - sd, mean + sd, color=style["color"], alpha=0.15, linewidth=0)
        ax.set(title=labels_title(count), xlabel=_unit(comparison), ylabel="mean IoU, validation (%)")
        ax.xaxis.get_major_locator().set_params(integer=True)
        tidy_axes(ax)
    _legend(figure, axes, _caption(comparison, "Mean IoU on validation images during training", "band"))
    return _save(figure, folder, "curves")


def save_class_chart(folder: Path, comparison: Comparison) -> list[Path]:
    """Write `classes.png` and `.svg`: per-class IoU after the last step, one panel per number of labels.

    The baseline with all labels, the ceiling, is a hollow mark in each.

    Args:
        folder: output folder.
        comparison: the runs.

    Returns:
        The files; none if no run is finished.
    """
    finished = comparison.finished
    counts = [count for count in _panel_counts(comparison) if any(record.labels == count for record in finished)]
    if not counts:
        return []
    names = ("mean", *_class_names(finished))
    most = max(len(_series(comparison, count)) for count in counts)
    figure, axes = _panels(len(counts), 4.8, 1.4 + max(0.42, 0.1 + 0.075 * most) * len(names))
    for ax, count in zip(axes, counts, strict=True):
        series = _series(comparison, count)
        for number, (method, labels) in enumerate(series):
            runs = [record.scores for record in comparison.runs_of(method, labels) if record.scores is not None]
            if not runs:
                continue
            values = [summarize([100 * run.mean_iou for run in runs])]
            values += [summarize([100 * run.iou[k] for run in runs]) for k in range(len(names) - 1)]
            # Each method is a little lower, so that bars do not overlap.
            y = np.arange(len(names)) + 0.62 * ((number + 0.5) / len(series) - 0.5)
            sd = [0.0 if math.isnan(value.sd) else value.sd for value in values]
            style, ceiling = _style(comparison, method), labels != count
            style |= {"label": _name(method, ceiling), "markerfacecolor": "white" if ceiling else style["color"]}
            ax.errorbar([v.mean for v in values], y, xerr=sd, fmt="o", markersize=4, linewidth=1.2, **style)
        ax.set(title=labels_title(count), xlabel="IoU (%)", xlim=(0, 100), yticks=range(len(names)))
        ax.set_yticklabels([shown(name, "picture") for name in names])
        ax.invert_yaxis()
        ax.axhline(0.5, color="0.6", linewidth=0.8)
        for row in range(1, len(names), 2):
            ax.axhspan(row - 0.5, row + 0.5, color="0.96", zorder=0)
        tidy_axes(ax)
    _legend(figure, axes, _caption(comparison, f"IoU {comparison.describe(LAST)}", "bar"))
    return _save(figure, folder, "classes")


def _caption(comparison, text, mark):
    several = len({record.seed for record in comparison.finished}) > 1
    return f"{text}. Mean over seeds, {mark}: standard deviation." if several else f"{text}. One seed."


def _class_names(finished):
    return finished[0].scores.class_names


def _panel_counts(comparison):
    """Return the numbers of labels with a panel: `ALL` has none if all there is to it is the ceiling of the others."""
    others = [count for count in comparison.labels if count != ALL]
    alone = not any(comparison.runs_of(method, ALL) for method in comparison.methods if method != BASELINE)
    return others if others and alone else comparison.labels


def _series(comparison, count):
    """Return the `(method, labels)` of a panel: all methods, and the baseline with all labels last."""
    ceiling = [(BASELINE, ALL)] if count != ALL and comparison.runs_of(BASELINE, ALL) else []
    return [*((method, count) for method in comparison.methods), *ceiling]


def _name(method, ceiling):
    return shown(f"{method}, all labels" if ceiling else method, "picture")


def _curves(comparison, count):
    """Return `(method, labels)` -> (x, mean, sd), arrays over the epochs that all seeds of the method have."""
    lines = {}
    for method, labels in _series(comparison, count):
        runs = [record for record in comparison.runs_of(method, labels) if record.history]
        rows = [{row["epoch"]: 100 * row["mean_iou"] for row in run.history if "mean_iou" in row} for run in runs]
        epochs = sorted(set.intersection(*map(set, rows))) if rows else []
        summaries = [summarize([row[epoch] for row in rows]) for epoch in epochs]
        known = [(epoch, s) for epoch, s in zip(epochs, summaries, strict=True) if s.n]
        if known:
            x = np.array([epoch for epoch, _ in known]) * (runs[0].steps_per_epoch or 1)
            sd = np.nan_to_num([s.sd for _, s in known])
            lines[method, labels] = (x, np.array([s.mean for _, s in known]), sd)
    return lines


def _unit(comparison):
    return "step" if any(record.steps_per_epoch for record in comparison.finished) else "epoch"


def _style(comparison, method):
    """Return the color of a method: black for the baseline, as the wheel has a gray; the others by order."""
    if method == BASELINE:
        return {"color": "0"}
    others = [name for name in comparison.methods if name != BASELINE]
    number = others.index(method)
    from matplotlib import colormaps

    wheel = colormaps["tab10"] if len(others) <= 10 else colormaps["tab20"]
    return {"color": wheel(number % wheel.N)}


def _panels(count, width, height):
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.6), dpi=130, layout="constrained")
    return figure, [figure.add_subplot(rows, columns, number) for number in range(1, count + 1)]


def _legend(figure, axes, text):
    methods = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    legend_below(figure, list(methods.values()))
    figure.suptitle(textwrap.fill(printable(text), int(13 * figure.get_figwidth())), fontsize=9, color="0.3")


def _save(figure, folder, name):
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
    save_figure(figure, *paths)
    return paths
