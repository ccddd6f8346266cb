"""Text tables of scores."""

import math

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.metrics import mean_of_present
from rankmatch_keras.evaluation.scores import PER_CLASS
from rankmatch_keras.texts import counted, printable

ABSENT = "absent"
TITLES = dict(zip(PER_CLASS, ("IoU %", "Dice %", "precision %", "recall %", "boundary IoU %"), strict=True))


def format_table(scores, baseline=None):
    """Format per-class scores and their means in percent, as aligned text.

    Args:
        scores: `Scores`.
        baseline: `Scores` of the same classes: the table then compares IoU only, see `format_comparison`.

    Returns:
        str of several lines without a final newline: what was scored and how, the table, totals, absent classes.
    """
    if baseline is not None:
        return format_comparison({"baseline": baseline, "this": scores})
    measured = [name for name in PER_CLASS if getattr(scores, name) is not None]
    columns = [getattr(scores, name) for name in measured]
    rows = [
        [printable(name), *map(_percent, values)] for name, *values in zip(scores.class_names, *columns, strict=True)
    ]
    means = ["mean", *(_percent(mean_of_present(values)) for values in columns)]
    table = _align(["class", *(TITLES[name] for name in measured)], rows, [means])
    return "\n".join([_describe(scores), *table, *_totals(scores), *_absent_lines({"": scores})])


def format_comparison(columns):
    """Format several scores side by side, in percent, with the differences to the first.

    Args:
        columns: label -> `Scores`, e.g. `{"before": first, "after": second}`; all of the same classes.

    Returns:
        str of several lines without a final newline: what was scored and how, the table, absent classes.

    Raises:
        UserError: if there are no scores, or their classes differ.
    """
    if not columns:
        raise UserError("at least one set of scores", "none", "Evaluate a model first.")
    columns = {printable(label): scores for label, scores in columns.items()}
    labels, scores = list(columns), list(columns.values())
    for label, other in columns.items():
        if other.class_names != scores[0].class_names:
            raise UserError(
                f"the classes {', '.join(scores[0].class_names)} in every column",
                f"{', '.join(other.class_names)} in {label}",
                "Compare scores of one data set.",
            )
    header = ["class", *labels, *(_difference_label(label, labels) for label in labels[1:])]
    rows = [_row(printable(name), [s.iou[k] for s in scores]) for k, name in enumerate(scores[0].class_names)]
    totals = [
        _row("mean IoU", [s.mean_iou for s in scores]),
        _row("pixel accuracy", [s.pixel_accuracy for s in scores]),
    ]
    return "\n".join([*_how(columns), *_align(header, rows, totals), *_absent_lines(columns)])


def _difference_label(label, labels):
    return "difference" if len(labels) == 2 else f"{label} - {labels[0]}"


def _row(name, values):
    shown = [_percent(v) for v in values]
    # Differences of the rounded numbers, which readers can check; + 0.0 turns -0.0 into 0.0.
    gaps = [round(round(100 * v, 2) - round(100 * values[0], 2), 2) + 0.0 for v in values[1:]]
    return [name, *shown, *("-" if math.isnan(gap) else f"{gap:+.2f}" for gap in gaps)]


def _percent(value):
    return ABSENT if math.isnan(value) else f"{100 * value:.2f}"


def _totals(scores):
    lines = []
    if not any(math.isnan(limit) for limit in scores.mean_iou_interval):
        low, high = map(_percent, scores.mean_iou_interval)
        lines.append(f"mean IoU, 95 % interval over {scores.images} images: {low} to {high} %")
    lines.append(f"pixel accuracy: {_percent(scores.pixel_accuracy)} %")
    if not math.isnan(scores.foreground_iou):
        lines.append(f"foreground IoU: {_percent(scores.foreground_iou)} %")
    return lines


def _align(header, rows, totals):
    """Align names left and numbers right, with rules around the classes."""
    widths = [max(map(len, column)) for column in zip(header, *rows, *totals, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))

    def line(cells):
        numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return "  ".join([cells[0].ljust(widths[0]), *numbers])

    return [line(header), rule, *map(line, rows), rule, *map(line, totals)]


def _how(columns):
    """Describe what the columns were measured on: one line if all agree, else one line per column."""
    described = {label: _describe(scores) for label, scores in columns.items()}
    if len(set(described.values())) == 1:
        return [next(iter(described.values()))]
    return [f"{label}: {text}" for label, text in described.items()]


def _describe(scores):
    some = scores.images < scores.images_available
    images = f"{scores.images} of " if some else ""
    images += counted(scores.images_available if some else scores.images, "image")
    # Nested facts, such as the versions, stay in the JSON.
    simple = {key: value for key, value in scores.provenance.items() if not isinstance(value, dict | list | tuple)}
    facts = [printable(f"{key.replace('_', ' ')} {value}") for key, value in simple.items()]
    return ", ".join([scores.mode, images, *facts])


def _absent_lines(columns):
    lines = []
    for label, scores in columns.items():
        if scores.absent:
            where = f" ({label})" if len(columns) > 1 else ""
            names = printable(", ".join(scores.absent))
            lines.append(f"Absent from truth and prediction, left out of the mean{where}: {names}")
    return lines
