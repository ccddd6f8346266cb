"""The report of a comparison: its tables, curves and classes, and the same images under all methods."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rankmatch_keras.comparison.charts import save_learning_curves
from rankmatch_keras.comparison.measures import MEASURES, Comparison
from rankmatch_keras.comparison.tables import (
    class_tables,
    cost_table,
    labels_title,
    paired_table,
    run_table,
    score_table,
)
from rankmatch_keras.errors import UserError
from rankmatch_keras.report.page import figure_uri, write_page
from rankmatch_keras.report.side_by_side import SideBySide, side_by_side
from rankmatch_keras.texts import counted, say


def write_comparison_report(
    comparison: Comparison,
    out: Path,
    title: str,
    command: Sequence[str] | None = None,
    part: str | None = None,
    limit: int | None = None,
    number: int = 3,
    root: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the report of a comparison; where its images cannot be shown, it has the tables alone and says why.

    Args:
        comparison: the runs.
        out: file to write.
        title: its heading.
        command: the command line that repeats it.
        part: which images to show: "val" or "test"; by default those that the runs ended with.
        limit: look at so many images, spread evenly.
        number: how many gains, and how many losses to show.
        root: folder of the data set, where it has moved.
        progress: called with the predictions done and of all.
    """
    images, hindrance = None, ""
    try:
        images = side_by_side(comparison, part, limit, number, root, progress)
    except (UserError, OSError) as error:
        hindrance = str(error)
        say(f"No images in the report: {error}", error=True)
    write_page(
        out,
        "comparison.html",
        title=title,
        what=_what(comparison),
        scores=[(comparison.describe(measure), score_table(comparison, measure)) for measure in MEASURES],
        seeds=comparison.seeds,
        has_gap=bool(comparison.labels_with_gap),
        curves=figure_uri("curves", lambda path: save_learning_curves(path.parent, comparison)),
        classes=class_tables(comparison),
        tests=paired_table(comparison),
        cost=cost_table(comparison),
        images=images,
        groups=_groups(images),
        labels="" if images is None else labels_title(images.labels),
        hindrance=hindrance,
        runs=run_table(comparison),
        failed=comparison.failed,
        command=shlex.join(command) if command else None,
    )


def _what(comparison: Comparison) -> str:
    """Say in one line what was compared."""
    parts = (
        counted(len(comparison.methods), "method"),
        counted(len(comparison.labels), "number") + " of labels",
        counted(len(comparison.seeds), "seed"),
    )
    unfinished = f", {len(comparison.failed)} without a score" if comparison.failed else ""
    return f"{', '.join(parts)}: {counted(len(comparison.records), 'run')}{unfinished}."


def _groups(images: SideBySide | None) -> list[tuple[str, Any]]:
    """Return headings and rows of the images."""
    if images is None:
        return []
    headings = (f"{images.method} gains most over {images.other}", f"{images.method} loses most to {images.other}")
    groups = zip(headings, (images.gains, images.losses), strict=True)
    return [(heading, rows) for heading, rows in groups if rows]
