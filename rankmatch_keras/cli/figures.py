"""`rankmatch figures`: pictures of predictions, agents and pseudo-labels of trained runs."""

import re
from pathlib import Path

import click

from rankmatch_keras.errors import UserError, did_you_mean
from rankmatch_keras.files import require_new_folder
from rankmatch_keras.texts import say

PATH = click.Path(path_type=Path)


@click.command(short_help="Draw what trained runs predict.")
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, required=True, help="New folder for the pictures.")
@click.option(
    "--images", default="4", show_default=True, metavar="N|NAME,...", help="Number of images, or their names."
)
@click.option("--part", type=click.Choice(("val", "test")), default="val", show_default=True, help="Set of the images.")
@click.option("--weights", type=click.Choice(("best", "last")), default="last", show_default=True, help="Which model.")
@click.option("--agents", type=click.IntRange(min=4), default=128, show_default=True, help="Agents on each image.")
@click.option("--data", "root", type=PATH, help="Folder of the data set, where it has moved.")
def figures(runs, out, images, part, weights, agents, root):
    """Draw the predictions of finished runs, and what their features tell apart.

    predictions.png: image, truth and every run side by side, with boxes where the first run differs most from the
    others, yellow where it is better and red where it is worse. agents-RUN.png: the agents that the rank loss would
    choose, and the pixels similar to single ones. contours.png: outlines on gray images, for data of two classes.
    pseudo_labels: the fraction of pixels kept during training and, where the masks of unlabeled images are known, the
    fraction of these that was right, over all classes and per class.

    \b
    rankmatch figures runs/rankmatch runs/unimatch runs/supervised --out figures/camvid
    rankmatch figures runs/table9/runs/*-l10-s0 --out figures/lucchi --images 2 --part val
    rankmatch figures runs/voc --out figures/voc --images 2007_000033,2007_000061 --weights best
    """
    from rankmatch_keras.figures.predictions import Picture, save_comparison, save_contours
    from rankmatch_keras.training.records import read_config
    from rankmatch_keras.training.reopening import open_data_of

    require_new_folder(out)
    configs = [read_config(run) for run in runs]
    _require_finished(runs)
    _require_same_data(runs, configs, moved=root is not None)
    labels = _labels(runs, configs)
    dataset = open_data_of(runs[0], configs[0], root)
    samples = _chosen(getattr(dataset, part), images, f"{part} set of {dataset.name}")
    pictures = [Picture(sample.name, sample.read_image(), sample.read_mask()) for sample in samples]

    predictions = {}
    for run, label, config in zip(runs, labels, configs, strict=True):
        say(f"{label}: {run}")
        predictions[label] = _look_at(run, label, config, pictures, weights, agents, out, dataset, len(runs))
    save_comparison(out / "predictions.png", pictures, predictions, dataset.class_names, dataset.palette)
    if dataset.num_classes == 2:
        save_contours(out / "contours.png", pictures, predictions, dataset.class_names)
    _draw_health(runs, labels, dataset, out)
    say(f"Images: {', '.join(picture.name for picture in pictures)}. In {out}: {_names(out)}")


def _look_at(run, label, config, pictures, weights, num_agents, out, dataset, num_runs):
    """Predict the images by one run and draw its agents; the model is freed afterwards."""
    from rankmatch_keras import evaluation, models
    from rankmatch_keras.data.sets.protocol import Protocol
    from rankmatch_keras.figures.agents import find_agents, save_agents
    from rankmatch_keras.training.reopening import protocol_of
    from rankmatch_keras.training.run_folder import Run

    predictor = models.load_predictor(getattr(Run(run), weights))
    protocol = protocol_of(config, dataset)
    # Figures show whole images, whatever part of them is scored.
    protocol = Protocol() if protocol.mode == "center_crop" else protocol
    predictions = [
        evaluation.predict_classes(predictor, picture.image, protocol, num_classes=dataset.num_classes)
        for picture in pictures
    ]
    try:
        network, stride = models.feature_model(predictor)
    except UserError as error:
        say(f"No agents of {label}: {error}", error=True)
        return predictions
    found = []
    for picture in pictures:
        features = network.predict_on_batch(picture.image[None])[0]  # (h, w, D)
        found.append(find_agents(features, stride, picture.truth.shape, num_agents))
    name = "agents.png" if num_runs == 1 else f"agents-{re.sub(r'[^A-Za-z0-9_.=-]+', '_', label).strip('_')}.png"
    save_agents(out / name, pictures, found, dataset.class_names, dataset.palette)
    return predictions


def _draw_health(runs, labels, dataset, out):
    from rankmatch_keras.figures.pseudo_labels import save_pseudo_labels
    from rankmatch_keras.training.records import read_rows
    from rankmatch_keras.training.run_folder import Run

    histories = {label: Run(run).read_history() for label, run in zip(labels, runs, strict=True)}
    checks = {label: read_rows(Run(run).pseudo_labels) for label, run in zip(labels, runs, strict=True)}
    try:
        save_pseudo_labels(out, histories, checks, dataset.class_names)
    except UserError as error:
        say(f"No picture of pseudo-labels: {error}", error=True)


def _require_finished(runs):
    from rankmatch_keras.training.run_folder import Run

    for run in runs:
        if not Run(run).scores.is_file():
            raise UserError("finished runs", f"{run}, which was interrupted", "Continue it with --resume first.")


def _require_same_data(runs, configs, moved):
    """Check that all runs have the same validation images; where the data have moved, their folder may differ."""
    for run, config in zip(runs, configs, strict=True):
        first, this = (_data_of(one, moved) for one in (configs[0], config))
        for name in {**first, **this}:
            if first.get(name) != this.get(name):
                raise UserError(
                    f"runs of one data set ({name})",
                    f"{_short(first.get(name))} in {runs[0]} and {_short(this.get(name))} in {run}",
                    "Draw them separately.",
                )


def _data_of(config, moved):
    data = config.get("data", {})
    arguments = {name: value for name, value in data.get("arguments", {}).items() if not (moved and name == "root")}
    return {"loader": data.get("loader"), "classes": data.get("classes"), **arguments}


def _short(value):
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _labels(runs, configs):
    """Return a different name for each run: its method, with labels and seed or its folder where that is not enough."""
    from rankmatch_keras.comparison.records import labels_of

    names = labels_of(configs)
    longer = [
        f"{name}, {len(config.get('split', {}).get('labeled', ()))} labels, seed {config['options'].get('seed')}"
        for name, config in zip(names, configs, strict=True)
    ]
    for candidates in (names, longer, [run.name for run in runs]):
        if len(set(candidates)) == len(runs):
            return candidates
    return [str(run) for run in runs]


def _chosen(samples, text, where):
    """Return samples by number, evenly spaced, or by name."""
    from rankmatch_keras.evaluation import evenly_spaced

    if not samples:
        raise UserError(f"images in the {where}", "none", "Choose another --part.")
    if text.strip().isdigit() and int(text) > 0:
        return evenly_spaced(list(samples), int(text))
    by_name = {sample.name: sample for sample in samples}
    chosen = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        fitting = [key for key in by_name if key == name or key.endswith(f"/{name}")]
        if len(fitting) != 1:
            remedy = did_you_mean(name, by_name, f"Give a name such as {next(iter(by_name))}.", cutoff=0.3)
            raise UserError(f"names of images in the {where}", f"{name!r}", remedy)
        chosen.append(by_name[fitting[0]])
    if not chosen:
        raise UserError("a number of images, or names", f"--images {text}", "Give e.g. --images 4.")
    return chosen


def _names(folder):
    return ", ".join(sorted(path.name for path in folder.iterdir()))
