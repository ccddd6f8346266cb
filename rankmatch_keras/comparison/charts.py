"""Charts of a comparison: learning curves and per-class IoU, means over seeds."""

import math
import textwrap
from pathlib import Path

import numpy as np

from rankmatch_keras.comparison.measures import LAST, Comparison, summarize
from rankmatch_keras.comparison.records import BASELINE
from rankmatch_keras.evaluation.plots import save_figure, tidy_axes


def save_learning_curves(folder: Path, comparison: Comparison) -> list[Path]:
    """Write `curves.png` and `.svg`: mean IoU on validation images during training, one panel per number of labels.

    Args:
        folder: output folder.
        comparison: the runs.

    Returns:
        The files; none if no run has a history.
    """
    panels = {count: _curves(comparison, count) for count in comparison.labels}
    panels = {count: lines for count, lines in panels.items() if lines}
    if not panels:
        return []
    figure, axes = _panels(len(panels), 4.8, 3.6)
    for ax, (count, lines) in zip(axes, panels.items(), strict=True):
        for method, (x, mean, sd) in lines.items():
            style = _style(comparison, method)
            ax.plot(x, mean, label=method, linewidth=1.8, marker="o" if len(x) < 20 else None, markersize=3, **style)
            ax.fill_between(x, mean - sd, mean + sd, color=style["color"], alpha=0.15, linewidth=0)
        ax.set(title=_title(count), xlabel=_unit(comparison), ylabel="mean IoU, validation (%)")
        tidy_axes(ax)
    _legend(figure, axes, _caption(comparison, "Mean IoU on validation images during training", "band"))
    return _save(figure, folder, "curves")


def save_class_chart(folder: Path, comparison: Comparison) -> list[Path]:
    """Write `classes.png` and `.svg`: per-class IoU after the last step, one panel per number of labels.

    Args:
        folder: output folder.
        comparison: the runs.

    Returns:
        The files; none if no run is finished.
    """
    finished = comparison.finished
    counts = [count for count in comparison.labels if any(record.labels == count for record in finished)]
    if not counts:
        return []
    names = ("mean", *_class_names(finished))
    figure, axes = _panels(len(counts), 4.8, 1.4 + max(0.42, 0.1 + 0.075 * len(comparison.methods)) * len(names))
    for ax, count in zip(axes, counts, strict=True):
        for number, method in enumerate(comparison.methods):
            runs = [record.scores for record in comparison.runs_of(method, count) if record.scores is not None]
            if not runs:
                continue
            values = [summarize([100 * run.mean_iou for run in runs])]
            values += [summarize([100 * run.iou[k] for run in runs]) for k in range(len(names) - 1)]
            # Each method is a little lower, so that bars do not overlap.
            y = np.arange(len(names)) + 0.62 * ((number + 0.5) / len(comparison.methods) - 0.5)
            sd = [0.0 if math.isnan(value.sd) else value.sd for value in values]
            style = _style(comparison, method)
            ax.errorbar(
                [v.mean for v in values], y, xerr=sd, fmt="o", markersize=4, linewidth=1.2, label=method, **style
            )
        ax.set(title=_title(count), xlabel="IoU (%)", xlim=(0, 100), yticks=range(len(names)))
        ax.set_yticklabels(names)
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


def _curves(comparison, count):
    """Return method -> (x, mean, sd), numpy arrays over the epochs that all seeds of the method have."""
    lines = {}
    for method in comparison.methods:
        runs = [record for record in comparison.runs_of(method, count) if record.history]
        rows = [{row["epoch"]: 100 * row["mean_iou"] for row in run.history if "mean_iou" in row} for run in runs]
        epochs = sorted(set.intersection(*map(set, rows))) if rows else []
        summaries = [summarize([row[epoch] for row in rows]) for epoch in epochs]
        known = [(epoch, s) for epoch, s in zip(epochs, summaries, strict=True) if s.n]
        if known:
            x = np.array([epoch for epoch, _ in known]) * (runs[0].steps_per_epoch or 1)
            sd = np.nan_to_num([s.sd for _, s in known])
            lines[method] = (x, np.array([s.mean for _, s in known]), sd)
    return lines


def _unit(comparison):
    return "step" if any(record.steps_per_epoch for record in comparison.finished) else "epoch"


def _title(count):
    return "" if count is None else f"{count} labeled images"


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
    shown = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    width = 0.6 + 0.08 * max(map(len, shown), default=0)  # inches of an entry at this font size
    columns = max(1, min(len(shown), int(figure.get_figwidth() // width)))
    figure.set_figheight(figure.get_figheight() + 0.2 * (-(-len(shown) // columns) - 1))
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    figure.suptitle(textwrap.fill(text, int(13 * figure.get_figwidth())), fontsize=9, color="0.3")


def _save(figure, folder, name):
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
    save_figure(figure, *paths)
    return paths
