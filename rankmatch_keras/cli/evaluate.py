"""`rankmatch evaluate`: scores of a trained model on the run's own images, or on others."""

import re
from pathlib import Path

import click

from rankmatch_keras.cli.flags import with_flags
from rankmatch_keras.data.sets.protocol import BORDERS, MODES
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import say
from rankmatch_keras.training.data_options import READING
from rankmatch_keras.training.options import CATALOG

PATH = click.Path(path_type=Path)


@click.command(short_help="Score a trained model.")
@click.argument("run", type=PATH)
@click.option("--weights", type=click.Choice(("best", "last")), help="Which model; by default the one the run keeps.")
@click.option("--data", "root", type=PATH, help="Folder of the data set, where it has moved.")
@click.option("--part", type=click.Choice(("val", "test")), default="val", show_default=True, help="Which images.")
@click.option("--images", type=PATH, help="Score these images instead; a folder or a TIFF stack.")
@click.option("--masks", type=PATH, help="Their masks, of the same kinds as for training.")
@with_flags(READING)
@click.option("--out", type=PATH, help="Folder for the scores; by default the run's.")
@click.option("--worst", type=click.IntRange(min=0), default=5, show_default=True, help="So many worst images.")
@click.option("--limit", type=click.IntRange(min=1), help="Score so many images only, spread evenly.")
@click.option("--mode", type=click.Choice(MODES), help="How the network sees images; by default as in the run.")
@click.option("--crop", type=click.IntRange(min=1), help="Side of the windows or of the center crop in pixels.")
@click.option("--border", type=click.Choice(BORDERS), help="Clip windows at the border, or shift them back inside.")
@click.option("--flip", is_flag=True, help="Add the probabilities of the mirrored image.")
@click.option("--scales", help="Add the probabilities of resized images, e.g. 0.75,1,1.25.")
@click.option("--window-batch", type=click.IntRange(min=1), default=1, show_default=True, help="Windows per batch.")
@click.option("--device", help="Where to compute, e.g. cpu, gpu or gpu:1; by default the first GPU, if there is one.")
@click.option("--skip-bad", is_flag=True, help="Leave out --images that cannot be scored, and name them.")
def evaluate(run, weights, root, part, images, masks, out, worst, limit, device, skip_bad, **how):
    """Score a trained model: IoU, Dice, precision, recall and boundary IoU per class, their means, the worst images.

    RUN is the folder of a training run; with --images and --masks also a saved .keras file.

    \b
    rankmatch evaluate runs/l10
    rankmatch evaluate runs/camvid --part test --weights best
    rankmatch evaluate runs/city --mode sliding_window --crop 801 --border shift --flip
    rankmatch evaluate runs/l10 --images test/images --masks test/masks
    rankmatch evaluate cells.keras --images test/images --masks test/masks --classes background,cell --out scores
    """
    from rankmatch_keras import evaluation
    from rankmatch_keras.prediction.models import load_trained, on_device
    from rankmatch_keras.training.dataset import found_out, read_class_names
    from rankmatch_keras.training.records import read_config
    from rankmatch_keras.training.reopening import open_data_of, protocol_of

    if (images is None) != (masks is None):
        raise UserError(
            "--images and --masks together", f"only {'--masks' if images is None else '--images'}", "Give both."
        )
    reading = {name: value for name in READING if (value := how.pop(name)) is not None}
    if images is None and reading:
        alone = CATALOG[next(iter(reading))].flag
        raise UserError(
            f"{alone} with --images and --masks", f"{alone} alone", "A run knows how to read its own masks."
        )
    if images is None and run.suffix == ".keras":
        raise UserError("images for a model without a run", "none", "Give --images and --masks.")
    if images is None and skip_bad:
        raise UserError("--skip-bad with --images and --masks", "--skip-bad alone", "A run leaves out what it skipped.")
    window_batch = how.pop("window_batch")
    with on_device(device):
        if images is None:
            dataset = open_data_of(run, read_config(run), root)  # before the model is loaded, which takes longer
            samples, label = getattr(dataset, part), part
            if not samples:
                raise UserError(f"a {part} set", f"none in {dataset.name}", "Choose another --part.")
            trained = load_trained(run, weights)
        else:
            from rankmatch_keras.prediction.own_masks import open_test_folder

            trained = load_trained(run, weights)
            if "classes" in reading:
                reading["classes"] = tuple(read_class_names(reading["classes"]))
            dataset = open_test_folder(trained, images, masks, skip_bad=skip_bad, **reading)
            for line in found_out(dataset):
                say(line)
            samples, label = dataset.train, re.sub(r"[^\w.-]+", "_", images.resolve().name)
        options = trained.record.get("options", {})
        usual = dataset.protocol if not trained.record else protocol_of(trained.record, dataset)
        protocol = usual.changed(**how, training_crop=options.get("crop"))
        split = trained.record.get("split", {}).get("id")
        provenance = {"set": f"{dataset.name} {label}", "split": split, "weights": trained.path.stem}
        evaluator = evaluation.Evaluator(
            samples, dataset.class_names, protocol, window_batch=window_batch, limit=limit, provenance=provenance
        )
        scores = evaluator.evaluate(trained.model, progress=evaluation.progress_bar("scored"))
    say(evaluation.format_table(scores))
    if found := evaluation.worst(evaluator.image_scores, worst):
        say("Worst images, mean IoU %: " + ", ".join(f"{one.name} {100 * one.mean_iou:.1f}" for one in found))
    name = f"evaluation-{label}-{trained.path.stem}" + ("" if protocol == usual else f"-{file_name(protocol)}")
    if scores.images < scores.images_available:
        name += f"-{scores.images}-images"  # beside the scores of all, not in their place
    folder = out or (trained.path.parent if trained.record else None)
    if folder is None:
        say("Not written: give --out for tables in JSON and CSV.")
        return
    evaluation.write_json(folder / f"{name}.json", scores)
    evaluation.write_csv(folder / f"{name}.csv", scores)
    evaluation.write_image_csv(folder / f"{name}-per-image.csv", scores.class_names, evaluator.image_scores)
    say(f"Written to {folder / name}.json and .csv, and by image to {name}-per-image.csv")


def file_name(protocol):
    """Return a protocol as part of a file name."""
    return str(protocol).replace(", ", "-").replace(" ", "").replace("/", "_")
