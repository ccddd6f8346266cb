"""A report of a run: one HTML file that needs no network, no other file and no program but a browser."""

import base64
import io
import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from rankmatch_keras import evaluation
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.colors import full_palette
from rankmatch_keras.evaluation.evaluator import ImageScore
from rankmatch_keras.evaluation.metrics import iou_intervals
from rankmatch_keras.evaluation.overlays import overlay
from rankmatch_keras.evaluation.plots import draw_or_say
from rankmatch_keras.files import replacing
from rankmatch_keras.prediction.models import load_trained
from rankmatch_keras.texts import printable
from rankmatch_keras.training.cost import summary
from rankmatch_keras.training.records import read_config
from rankmatch_keras.training.reopening import open_data_of, protocol_of
from rankmatch_keras.training.run_folder import Run

WIDEST = 720  # pixels of a picture in the page
MOST_CLASSES = 40  # with more, a matrix cannot be read
# Options worth a line, in this order.
SHOWN_OPTIONS = (
    *("method", "recipe", "backbone", "weights", "crop", "batch", "steps", "optimizer", "learning_rate"),
    *("unlabeled_weight", "burn_in", "keep", "seed"),
)


@dataclass(frozen=True)
class Shown:
    """An image of the page.

    Attributes:
        name: name of the sample.
        score: its mean IoU, 0..1.
        layers: title and picture (a data URI) of the image, its truth and its prediction.
    """

    name: str
    score: float
    layers: tuple[tuple[str, str], ...]


def write_report(
    folder: Path,
    out: Path,
    part: str = "val",
    limit: int | None = None,
    shown: int = 3,
    weights: str | None = None,
    root: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> evaluation.Scores:
    """Score a run and write its report.

    Args:
        folder: the run directory.
        out: file to write.
        part: which images are scored: "val" or "test".
        limit: score so many of them, spread evenly; all by default.
        shown: how many of the worst, of the middle and of the best images to show.
        weights: "best" or "last"; by default the network that the run keeps.
        root: folder of the data set, where it has moved.
        progress: called with the images done and of all.

    Returns:
        The scores.

    Raises:
        UserError: the run, its data or its network cannot be used.
    """
    record = read_config(folder)
    dataset = open_data_of(folder, record, root)
    samples = getattr(dataset, part)
    if not samples:
        raise UserError(f"a {part} set", f"none in {dataset.name}", "Choose another --part.")
    trained = load_trained(folder, weights)
    evaluator = evaluation.Evaluator(
        samples, dataset.class_names, protocol_of(record, dataset), boundary=False, limit=limit
    )
    scores = evaluator.evaluate(trained.model, progress=progress)
    by_name = {sample.name: sample for sample in samples}

    def show(score: ImageScore) -> Shown:
        sample = by_name[score.name]
        image = sample.read_image()
        classes = evaluation.predict_classes(trained.model, image, scores.protocol)
        image = sample.shown(image)
        truth, prediction = (uri(overlay(image, each, dataset.palette)) for each in (sample.read_mask(), classes))
        layers = (("Image", uri(evaluation.to_display(image))), ("Truth", truth), ("Prediction", prediction))
        return Shown(score.name, score.mean_iou, layers)

    groups = [(title, [show(one) for one in some]) for title, some in chosen(evaluator.image_scores, shown)]
    page = _template().render(
        title=folder.resolve().name,
        scores=scores,
        dataset=dataset.name,
        part={"val": "validation", "test": "test"}[part],
        network=trained.path.name,
        classes=_classes(scores, evaluator, dataset.palette),
        interval=None if math.isnan(scores.mean_iou_interval[0]) else scores.mean_iou_interval,
        matrix=_matrix(evaluator.matrix, scores.class_names),
        groups=groups,
        curves=_curves(Run(folder)),
        facts=_facts(record, Run(folder)),
        versions=record.get("versions", {}),
    )
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return scores


def chosen(image_scores: Iterable[ImageScore], number: int) -> list[tuple[str, list[Any]]]:
    """Choose the worst images, those around the median and the best, each of them once.

    Args:
        image_scores: of all images; those without a score are left out.
        number: how many of each.
    """
    ordered = sorted((one for one in image_scores if not math.isnan(one.mean_iou)), key=lambda one: one.mean_iou)
    worst, rest = ordered[:number], ordered[number:]
    best, rest = rest[max(0, len(rest) - number) :][::-1], rest[: max(0, len(rest) - number)]
    middle = max(0, (len(rest) - number) // 2)
    groups = [("Worst images", worst), ("Images in the middle", rest[middle : middle + number]), ("Best images", best)]
    return [(title, some) for title, some in groups if some]


def uri(picture: np.ndarray) -> str:
    """Return an RGB picture, at most `WIDEST` wide, as a data URI."""
    image = Image.fromarray(picture)
    image.thumbnail((WIDEST, 4 * WIDEST))
    file = io.BytesIO()
    image.save(file, format="WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _template() -> jinja2.Template:
    # Names of classes and files are anybody's text: escaped everywhere.
    loader = jinja2.PackageLoader("rankmatch_keras.report", ".")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda value: "–" if value is None or math.isnan(value) else f"{100 * value:.1f}"
    environment.filters["plain"] = printable
    return environment.get_template("page.html")


def _classes(scores, evaluator, palette) -> list[dict[str, Any]]:
    """Return a row per class of the table."""
    pixels = evaluator.matrix.counts.sum(axis=1)
    colors = full_palette(palette)
    columns = (scores.iou, iou_intervals(evaluator.counts), scores.dice, scores.precision, scores.recall)
    return [
        {
            **{"name": name, "color": f"#{bytes(colors[number]).hex()}", "share": pixels[number] / pixels.sum()},
            **dict(zip(("iou", "interval", "dice", "precision", "recall"), row, strict=True)),
        }
        for number, (name, *row) in enumerate(zip(scores.class_names, *columns, strict=True))
    ]


def _matrix(matrix, names) -> list[tuple[str, list[float]]] | None:
    """Return for each class that occurs which part of its pixels is predicted as each class."""
    if len(names) > MOST_CLASSES:
        return None
    totals = matrix.counts.sum(axis=1, keepdims=True)
    shares = matrix.counts / np.maximum(totals, 1)
    return [(name, row.tolist()) for name, row, total in zip(names, shares, totals, strict=True) if total]


def _curves(run: Run) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "curves.png"
        if not run.history.exists() or not draw_or_say("curves", evaluation.save_curves, path, run.history, title=""):
            return None
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _facts(record, run: Run) -> list[tuple[str, str]]:
    """Return what was trained on what, as names and texts."""
    options, split = record["options"], record.get("split", {})
    cost = summary(run.read_history()) if run.history.exists() else {}
    facts = [
        ("labeled images", f"{len(split.get('labeled', ()))} (split {split.get('id', 'unknown')})"),
        ("unlabeled images", str(split.get("unlabeled", "unknown"))),
        *((name.replace("_", " "), str(options[name])) for name in SHOWN_OPTIONS if options.get(name) is not None),
        ("backend", str(record.get("backend", "unknown"))),
    ]
    seconds, step, memory = (cost.get(name) for name in ("train_seconds", "step_seconds", "peak_memory_gb"))
    if seconds and step:
        facts.append(("training", f"{seconds / 60:.1f} min, {step:.2f} s a step"))
    if memory:
        facts.append(("memory", f"{memory:.1f} GB"))
    return facts
