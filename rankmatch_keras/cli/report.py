"""`rankmatch report`: a run as one HTML file."""

from pathlib import Path

import click

from rankmatch_keras.files import require_file_place
from rankmatch_keras.texts import counted, say

PATH = click.Path(path_type=Path)


@click.command(short_help="Write a run as one HTML file to send.")
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, help="File to write; by default report.html in the run.")
@click.option("--part", type=click.Choice(("val", "test")), default="val", show_default=True, help="Which images.")
@click.option("--limit", type=click.IntRange(min=1), help="Score so many images only, spread evenly.")
@click.option(
    "--shown", type=click.IntRange(1, 50), default=3, show_default=True, help="Worst, middle and best images to show."
)
@click.option("--weights", type=click.Choice(("best", "last")), help="Which model; by default the one the run keeps.")
@click.option("--data", "root", type=PATH, help="Folder of the data set, where it has moved.")
def report(run, out, part, limit, shown, weights, root):
    """Write a run as one HTML file: scores by class, what is taken for what, the worst and best images, the curves.

    The file needs no network and no other file. Each image has a slider from the image to its truth to the prediction.

    \b
    rankmatch report runs/first
    rankmatch report runs/camvid --part test --out camvid.html
    """
    out = require_file_place(out or run / "report.html")
    from rankmatch_keras.evaluation import progress_bar
    from rankmatch_keras.report import write_report

    scores = write_report(run, out, part, limit, shown, weights, root, progress_bar("scored"))
    say(f"Mean IoU {100 * scores.mean_iou:.1f} % on {counted(scores.images, 'image')}; the report is {out}")
