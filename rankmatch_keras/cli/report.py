"""`rankmatch report`: a run, or a comparison of runs, as one HTML file."""

from pathlib import Path

import click

from rankmatch_keras.files import require_file_place
from rankmatch_keras.texts import counted, say

PATH = click.Path(path_type=Path)
NAME = "report.html"


@click.command(short_help="Write a run or a comparison as one HTML file to send.")
@click.argument("folder", type=PATH, metavar="RUN|COMPARISON")
@click.option("--out", type=PATH, help=f"File to write; by default {NAME} in the folder.")
@click.option(
    "--part", type=click.Choice(("val", "test")), help="Which images; by default those that training ended with."
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Look at so many images, spread evenly; by default all of a run, 24 of a comparison.",
)
@click.option(
    "--shown",
    type=click.IntRange(1, 50),
    default=3,
    show_default=True,
    help="Images of each kind to show: worst, middle and best, or gains and losses.",
)
@click.option(
    "--weights", type=click.Choice(("best", "last")), help="Which model of a run; by default the one it keeps."
)
@click.option("--data", "root", type=PATH, help="Folder of the data set, where it has moved.")
def report(folder, out, part, limit, shown, weights, root):
    """Write a run or a comparison as one HTML file that needs no network and no other file.

    Of a run: scores by class, what is taken for what, the worst, middle and best images, the most confident mistakes,
    the curves. Each image has a slider from the image to its truth to the prediction. Of a comparison: its tables and
    curves, and the images where the best method gains and loses most, under all methods side by side.

    \b
    rankmatch report runs/first
    rankmatch report runs/camvid --part val --out camvid.html
    rankmatch report runs/table9
    """
    out = require_file_place(out or folder / NAME)
    from rankmatch_keras.comparison.folder import is_comparison

    write = _write_comparison if is_comparison(folder) else _write_run
    say(f"{write(folder, out, part, limit, shown, weights, root)}; the report is {out}")


def _write_run(folder, out, part, limit, shown, weights, root):
    """Write the report of a run; return what to say of it."""
    from rankmatch_keras.evaluation import progress_bar
    from rankmatch_keras.report import score_run, write_report

    scored = score_run(folder, part, limit, weights, root, progress_bar("scored"))
    write_report(scored, out, shown)
    return f"Mean IoU {100 * scored.scores.mean_iou:.1f} % on {counted(scored.scores.images, 'image')}"


def _write_comparison(folder, out, part, limit, shown, weights, root):
    """Write the report of a comparison; return what to say of it."""
    from rankmatch_keras.comparison.folder import command_of, read_comparison
    from rankmatch_keras.errors import UserError
    from rankmatch_keras.evaluation import progress_bar
    from rankmatch_keras.report import write_comparison_report

    if weights is not None:
        raise UserError("--weights with a run", f"the comparison {folder}", "Leave it out.")
    comparison = read_comparison(folder)
    images = {"part": part, "limit": limit, "number": shown, "root": root, "progress": progress_bar("predicted")}
    title, command = folder.resolve().name, command_of(folder, comparison.records)
    write_comparison_report(comparison, out, title, command, **images)
    return counted(len(comparison.records), "run")
