"""`rankmatch suggest`: which images to label next, with annotations to correct."""

from pathlib import Path

import click

from rankmatch_keras.files import require_new_folder
from rankmatch_keras.texts import counted, say

PATH = click.Path(path_type=Path)
RULES = ("both", "uncertainty", "diversity")  # written out: their home imports NumPy


@click.command(short_help="Choose the images to label next.")
@click.argument("run", type=PATH)
@click.option("--images", type=PATH, required=True, help="Folder of unlabeled images, or a TIFF stack.")
@click.option("--out", type=PATH, required=True, help="New folder for the suggestion.")
@click.option("--count", type=click.IntRange(min=1), default=20, show_default=True, help="How many images to choose.")
@click.option(
    "--by",
    type=click.Choice(RULES),
    default=RULES[0],
    show_default=True,
    help="Choose what the model is unsure of, what looks unlike the labeled images, or both.",
)
@click.option("--weights", type=click.Choice(("best", "last")), help="Which model; by default the one the run keeps.")
@click.option("--data", "root", type=PATH, help="Folder of the data set, where it has moved.")
@click.option("--device", help="Where to compute, e.g. cpu, gpu or gpu:1; by default the first GPU, if there is one.")
@click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be used.")
def suggest(run, images, out, count, by, weights, root, device, skip_bad):
    """Choose the images to label next, and write their predicted masks for annotation tools, to correct.

    RUN is the folder of a training run. Images that it labels, validates or tests on are left out.

    \b
    rankmatch suggest runs/first --images more_photos --out next
    rankmatch suggest runs/first --images more_photos --count 50 --by diversity --out next
    rankmatch train --images next/images --masks next/coco.json --unlabeled more_photos --out runs/second
    """
    require_new_folder(out)
    from rankmatch_keras.prediction.models import load_trained, on_device
    from rankmatch_keras.suggestion.folder import suggest as choose
    from rankmatch_keras.suggestion.folder import write_suggestion
    from rankmatch_keras.suggestion.pool import open_pool

    pool = open_pool(run, images, count, root, skip_bad)
    with on_device(device):
        trained = load_trained(run, weights)
        suggested = choose(trained.model, pool, count, by)
        write_suggestion(out, trained.model, pool, suggested)
    for rank, one in enumerate(suggested[:5], start=1):
        say(f"{rank}. {one.sample.name}: {one.reason}")
    say(f"{counted(count, 'image')} of {len(pool.candidates)} to label next, with annotations to correct, in {out}")
