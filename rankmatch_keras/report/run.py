"""The report of a run: its scores, its best, worst and most wrong images, its curves, and what was trained on what."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankmatch_keras import data, evaluation
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.colors import full_palette
from rankmatch_keras.evaluation.metrics import iou_intervals
from rankmatch_keras.figures.pseudo_labels import save_pseudo_labels
from rankmatch_keras.prediction.models import load_trained
from rankmatch_keras.report.images import chosen, look, most_wrong
from rankmatch_keras.report.page import figure_uri, write_page
from rankmatch_keras.training.cost import summary
from rankmatch_keras.training.records import read_config, read_rows
from rankmatch_keras.training.reopening import open_data_of, protocol_of
from rankmatch_keras.training.run_folder import Run

MOST_CLASSES = 40  # with more, a matrix cannot be read
EXAMINED = 12  # images in which confident mistakes are looked for
# Options worth a line, in this order.
SHOWN_OPTIONS = (
    *("method", "recipe", "backbone", "weights", "crop", "batch", "steps", "optimizer", "learning_rate"),
    *("unlabeled_weight", "burn_in", "keep", "seed"),
)


@dataclass(frozen=True)
class Scored:
    """A network of a run with its scores.

    Attributes:
        run: the run directory.
        model: the predictor.
        network: name of its file.
        dataset: the data.
        part: which images were scored: "val" or "test".
        evaluator: what scored it, with the counts by image.
        scores: the scores.
    """

    run: Run
    model: Any
    network: str
    dataset: data.SegmentationData
    part: str
    evaluator: evaluation.Evaluator
    scores: evaluation.Scores


def score_run(
    folder: Path,
    part: str | None = None,
    limit: int | None = None,
    weights: str | None = None,
    root: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scored:
    """Score a run again, by its record.

    Args:
        folder: the run directory.
        part: which images are scored: "val" or "test"; by default those that the run ended with.
        limit: score so many of them, spread evenly; all by default.
        weights: "best" or "last"; by default the network that the run keeps.
        root: folder of the data set, where it has moved.
        progress: called with the images done and of all.

    Raises:
        UserError: the run, its data or its network cannot be used.
    """
    record = read_config(folder)
    dataset = open_data_of(folder, record, root)
    part = part or ("test" if dataset.test else "val")
    samples = getattr(dataset, part)
    if not samples:
        raise UserError(f"a {part} set", f"none in {dataset.name}", "Choose another --part.")
    trained = load_trained(folder, weights)
    protocol = protocol_of(record, dataset)
    evaluator = evaluation.Evaluator(samples, dataset.class_names, protocol, boundary=False, limit=limit)
    scores = evaluator.evaluate(trained.model, progress=progress)
    return Scored(Run(folder), trained.model, trained.path.name, dataset, part, evaluator, scores)


def write_report(scored: Scored, out: Path, number: int = 3) -> None:
    """Write the report of a run.

    Args:
        scored: the run and its scores.
        out: file to write.
        number: how many of the worst, of the middle and of the best images to show.
    """
    evaluator, scores, run, dataset = scored.evaluator, scored.scores, scored.run, scored.dataset
    record = read_config(run.folder)
    write_page(
        out,
        "run.html",
        title=run.folder.resolve().name,
        folder=str(run.folder),
        scores=scores,
        dataset=dataset.name,
        part={"val": "validation", "test": "test"}[scored.part],
        network=scored.network,
        classes=_classes(scores, evaluator, dataset.palette),
        interval=None if math.isnan(scores.mean_iou_interval[0]) else scores.mean_iou_interval,
        matrix=_matrix(evaluator.matrix, scores.class_names),
        **_images(scored, number),
        curves=_curves(run),
        health=_health(run, str(record["options"].get("method")), scores.class_names),
        facts=_facts(record, run),
        versions=record.get("versions", {}),
    )


def _images(scored: Scored, number: int) -> dict[str, Any]:
    """Return the images to show, and the confident mistakes; each image is predicted once."""
    evaluator = scored.evaluator
    samples = evaluation.evenly_spaced(evaluator.samples, evaluator.limit)
    groups = chosen([one.mean_iou for one in evaluator.image_scores], number)
    examined = most_wrong(np.asarray(evaluator.counts), EXAMINED)
    shown, mistakes = {}, []
    for place in sorted({*examined, *(place for _, places in groups for place in places)}):
        score = evaluator.image_scores[place].mean_iou
        shown[place], mistake = look(scored.model, samples[place], score, evaluator.protocol, scored.dataset)
        if place in examined and mistake is not None:
            mistakes.append(mistake)
    mistakes.sort(key=lambda one: -one.mistake.margin)
    return {
        "groups": [(title, [shown[place] for place in places]) for title, places in groups],
        "mistakes": mistakes[: 2 * number],
        "examined": len(examined),
    }


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
    if not run.history.exists():
        return None
    return figure_uri("curves", lambda path: evaluation.save_curves(path, run.history, title=""))


def _health(run: Run, method: str, class_names: Sequence[str]) -> str | None:
    """Draw how many pseudo-labels were kept and right; only where a run checked them."""
    checks = read_rows(run.pseudo_labels)
    if not checks:
        return None
    runs = {method: run.read_history()}, {method: checks}
    return figure_uri("pseudo_labels", lambda path: save_pseudo_labels(path.parent, *runs, class_names))


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
