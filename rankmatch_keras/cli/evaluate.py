"""`rankmatch evaluate`: scores of a trained run."""

from pathlib import Path

import click

from rankmatch_keras.data.sets.protocol import BORDERS, MODES
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import say

PATH = click.Path(path_type=Path)


@click.command(short_help="Score a trained run.")
@click.argument("run", type=PATH)
@click.option("--weights", type=click.Choice(("best", "last")), help="Which model; by default the one the run keeps.")
@click.option("--data", "root", type=PATH, help="Folder of the data set, where it has moved.")
@click.option("--part", type=click.Choice(("val", "test")), default="val", show_default=True, help="Which images.")
@click.option("--limit", type=click.IntRange(min=1), help="Score so many images only, spread evenly.")
@click.option("--mode", type=click.Choice(MODES), help="How the network sees images; by default as in the run.")
@click.option("--crop", type=click.IntRange(min=1), help="Side of the windows or of the center crop in pixels.")
@click.option("--border", type=click.Choice(BORDERS), help="Clip windows at the border, or shift them back inside.")
@click.option("--flip", is_flag=True, help="Add the probabilities of the mirrored image.")
@click.option("--scales", help="Add the probabilities of resized images, e.g. 0.75,1,1.25.")
@click.option("--window-batch", type=click.IntRange(min=1), default=1, show_default=True, help="Windows per batch.")
def evaluate(run, weights, root, part, limit, mode, crop, border, flip, scales, window_batch):
    """Score a trained run: IoU, Dice, precision, recall and boundary IoU per class, and their means.

    \b
    rankmatch evaluate runs/l10
    rankmatch evaluate runs/camvid --part test --weights best
    rankmatch evaluate runs/city --mode sliding_window --crop 801 --border shift --flip
    """
    from rankmatch_keras import evaluation, models
    from rankmatch_keras.evaluation import progress_bar
    from rankmatch_keras.training.records import read_config
    from rankmatch_keras.training.reopening import open_data_of, protocol_of
    from rankmatch_keras.training.run_folder import Run

    config = read_config(run)
    weights = weights or Run(run).kept
    dataset = open_data_of(run, config, root)
    samples = getattr(dataset, part)
    if not samples:
        raise UserError(f"a {part} set", f"none in {dataset.name}", "Choose another --part.")
    usual = protocol_of(config, dataset)
    protocol = usual.changed(mode, crop, border, flip, scales, config["options"].get("crop"))
    evaluator = evaluation.Evaluator(
        samples,
        dataset.class_names,
        protocol,
        window_batch=window_batch,
        limit=limit,
        provenance={"set": f"{dataset.name} {part}", "split": config.get("split", {}).get("id"), "weights": weights},
    )
    predictor = models.load_predictor(getattr(Run(run), weights))
    scores = evaluator.evaluate(predictor, progress=progress_bar("scored"))
    say(evaluation.format_table(scores))
    name = f"evaluation-{part}-{weights}" + ("" if protocol == usual else f"-{file_name(protocol)}")
    if scores.images < scores.images_available:
        name += f"-{scores.images}-images"  # beside the scores of all, not in their place
    evaluation.write_json(run / f"{name}.json", scores)
    evaluation.write_csv(run / f"{name}.csv", scores)
    say(f"Written to {run / name}.json and .csv")


def file_name(protocol):
    """Return a protocol as part of a file name."""
    return str(protocol).replace(", ", "-").replace(" ", "").replace("/", "_")
