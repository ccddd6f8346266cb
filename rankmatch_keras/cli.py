"""The command line: `rankmatch train | evaluate | predict`."""

import runpy
import sys
from pathlib import Path

import click

from rankmatch_keras import __version__
from rankmatch_keras.environment import require_environment
from rankmatch_keras.errors import UserError

PATH = click.Path(path_type=Path)
ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
LOADERS = ("Lucchi", "CamVid", "PascalVOC", "SampleScenes")
WEIGHTS = click.Choice(("best", "last"))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="rankmatch-keras")
def cli():
    """RankMatch: semantic segmentation from few labelled and many unlabelled images.

    The backend is chosen by the environment variable KERAS_BACKEND (tensorflow, torch or jax).
    """


@cli.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    epilog="The same as `python RECIPE FLAGS`.",
)
@click.argument("recipe", required=False)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def train(recipe, flags):
    """Train by a recipe: `rankmatch train recipes/lucchi.py --help` lists its flags.

    \b
    rankmatch train recipes/demo.py --out runs/demo
    rankmatch train recipes/lucchi.py --data lucchi --labels 10 --out runs/l10
    rankmatch train recipes/lucchi.py --data lucchi --labels 10 --out runs/l10 --resume
    """
    if recipe in (None, "-h", "--help"):
        click.echo(click.get_current_context().get_help())
        return
    if not Path(recipe).is_file() or Path(recipe).suffix != ".py":
        raise UserError("a recipe, a Python file", f"{recipe}", "Give one of recipes/*.py.")
    sys.argv = [recipe, *flags]
    runpy.run_path(recipe, run_name="__main__")


@cli.command()
@click.argument("run", type=PATH)
@click.option("--weights", type=WEIGHTS, default="last", show_default=True, help="Which of the run's models.")
@click.option("--data", "root", type=PATH, help="Folder of the data set, where it has moved.")
@click.option("--part", type=click.Choice(("val", "test")), default="val", show_default=True, help="Which images.")
@click.option("--limit", type=click.IntRange(min=1), help="Score so many images only, spread evenly.")
def evaluate(run, weights, root, part, limit):
    """Score a trained run: IoU per class and mean IoU over whole images.

    \b
    rankmatch evaluate runs/l10
    rankmatch evaluate runs/camvid --part test --weights best
    """
    from rankmatch_keras import evaluation, models
    from rankmatch_keras.progress import progress_bar
    from rankmatch_keras.training.runs import Run, read_config

    config = read_config(run)
    dataset = _dataset(config, root)
    samples = getattr(dataset, part)
    if not samples:
        raise UserError(f"a {part} set", f"none in {dataset.name}", "Choose another --part.")
    predictor = models.load_predictor(getattr(Run(run), weights))
    facts = {"set": f"{dataset.name} {part}", "split": config["split"]["id"], "weights": weights}
    evaluator = evaluation.Evaluator(samples, dataset.class_names, limit=limit, provenance=facts)
    scores = evaluator.evaluate(predictor, progress=progress_bar("scored"))
    click.echo(evaluation.format_table(scores))
    evaluation.write_json(run / f"evaluation-{part}-{weights}.json", scores)


@cli.command()
@click.argument("run", type=PATH)
@click.option("--images", type=PATH, required=True, help="Folder of images.")
@click.option("--out", type=PATH, required=True, help="New folder for masks and overlays.")
@click.option("--weights", type=WEIGHTS, default="best", show_default=True, help="Which of the run's models.")
def predict(run, images, out, weights):
    """Segment a folder of images: palette masks of class ids, and overlays to look at.

    RUN is the folder of a training run or a saved .keras file.

    \b
    rankmatch predict runs/l10 --images photos --out segmented
    """
    import PIL.Image

    from rankmatch_keras import data, evaluation, models
    from rankmatch_keras.progress import progress_bar
    from rankmatch_keras.training.runs import Run

    paths = _images(images)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("a new or empty output folder", f"{out} with files", "Choose another --out.")
    predictor = models.load_predictor(run if run.suffix == ".keras" else getattr(Run(run), weights))
    show = progress_bar("segmented")
    for number, path in enumerate(paths, start=1):
        image = data.read_image(path)
        classes = evaluation.predict_classes(predictor, image)
        name = path.relative_to(images).with_suffix("")
        evaluation.save_mask_png(out / "masks" / f"{name}.png", classes)
        picture = out / "overlays" / f"{name}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(evaluation.overlay(image, classes)).save(picture)
        show(number, len(paths))
    click.echo(f"{len(paths)} images: masks and overlays are in {out}")


def _dataset(config, root):
    """The data set of a run, where it was or where the person says it is now."""
    from rankmatch_keras import data

    loader = config["data"]["loader"]
    if loader not in LOADERS:
        raise UserError(f"a data set of {', '.join(LOADERS)}", f"{loader!r} in config.json", "Score it in Python.")
    return getattr(data, loader)(root or Path(config["data"]["root"]))


def _images(folder):
    if not folder.is_dir():
        raise UserError("a folder of images", f"no folder {folder}", "Check --images.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not paths:
        raise UserError(f"images ({', '.join(ENDINGS)})", f"none in {folder}", "Check --images.")
    names = [path.with_suffix("") for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise UserError("one image of each name", f"several endings of {name}", "Rename or remove all but one.")
    return paths


def main():
    """Runs the command line; a mistake of the user ends with one line and exit code 2."""
    arguments = sys.argv[1:]
    if not {"-h", "--help", "--version"} & set(arguments):
        require_environment()
    from rankmatch_keras.command import run

    run(cli, arguments)
