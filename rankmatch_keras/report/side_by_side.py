"""The same images under several methods: where one gains most over another, and where it loses most."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rankmatch_keras import data, evaluation, models
from rankmatch_keras.comparison.measures import LAST, Comparison
from rankmatch_keras.comparison.records import BASELINE, Labels, Record
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.overlays import overlay
from rankmatch_keras.report.page import picture_uri
from rankmatch_keras.training.reopening import open_data_of, protocol_of
from rankmatch_keras.training.run_folder import Run

COMPARED = 24  # images by default
WIDTH = 480  # pixels of a picture


@dataclass(frozen=True)
class Column:
    """A picture of a row: its title, the picture as a data URI, and the mean IoU of a prediction."""

    title: str
    picture: str
    score: float | None = None


@dataclass(frozen=True)
class Row:
    """An image under all methods.

    Attributes:
        name: name of the sample.
        difference: mean IoU of the method that is looked at minus that of the one it is compared with, -1..1.
        columns: image, truth, and the prediction of each method.
    """

    name: str
    difference: float
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class SideBySide:
    """Images under all methods.

    Attributes:
        labels: number of labeled images of the runs.
        seed: their seed.
        method: the method that is looked at.
        other: the one that it is compared with: the baseline, where there is one.
        images: how many images were compared.
        gains: where the method gains most.
        losses: where it loses most.
    """

    labels: Labels
    seed: int
    method: str
    other: str
    images: int
    gains: tuple[Row, ...]
    losses: tuple[Row, ...]


@dataclass(frozen=True)
class _Seen:
    """What a method predicts: mean IoU of each image, and every n-th pixel of its classes."""

    scores: np.ndarray
    classes: list[np.ndarray]


def side_by_side(
    comparison: Comparison,
    part: str | None = None,
    limit: int | None = None,
    number: int = 3,
    root: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SideBySide | None:
    """Predict the same images by the runs of one seed and number of labels.

    Args:
        comparison: the runs.
        part: which images: "val" or "test"; by default those that the runs ended with.
        limit: compare on so many images, spread evenly; `COMPARED` by default.
        number: how many gains, and how many losses.
        root: folder of the data set, where it has moved.
        progress: called with the predictions done and of all.

    Returns:
        The images; `None` where no two methods have a finished run of one seed and number of labels.

    Raises:
        UserError: the data or a network cannot be used.
    """
    cell = fewest_labels(comparison)
    if cell is None:
        return None
    (labels, seed), runs = cell
    first = next(iter(runs.values()))
    dataset = open_data_of(first.folder, first.config, root)  # type: ignore[arg-type]
    protocol = protocol_of(first.config, dataset)  # type: ignore[arg-type]
    # Whole images are shown, whatever part of them is scored.
    protocol = data.Protocol() if protocol.mode == "center_crop" else protocol
    part = part or ("test" if dataset.test else "val")
    samples = evaluation.evenly_spaced(getattr(dataset, part), limit or COMPARED)
    if not samples:
        raise UserError(f"a {part} set", f"none in {dataset.name}", "Choose another --part.")
    seen = {}
    for done, (method, record) in enumerate(runs.items()):
        advance = _advance(progress, done * len(samples), len(runs) * len(samples))
        seen[method] = _look(record, samples, protocol, dataset.num_classes, advance)
    method, other = pair_of(comparison, labels, list(runs))
    differences = seen[method].scores - seen[other].scores
    gains, losses = most_different(differences, number)
    rows = {place: _row(samples[place], place, seen, differences, dataset.palette) for place in (*gains, *losses)}
    shown = (tuple(rows[place] for place in places) for places in (gains, losses))
    return SideBySide(labels, seed, method, other, len(samples), *shown)


def fewest_labels(comparison: Comparison) -> tuple[tuple[Labels, int], dict[str, Record]] | None:
    """Return the runs to show: those with the fewest labels, and of the first seed that most methods have.

    Returns:
        Number of labels and seed, and the run of each method; `None` where no two methods share them.
    """
    for labels in comparison.labels:
        by_seed: dict[int, dict[str, Record]] = {}
        for method in comparison.methods:
            for record in comparison.runs_of(method, labels):
                if record.scores is not None and record.labels == labels:
                    by_seed.setdefault(record.seed, {})[method] = record
        if by_seed:
            seed = max(sorted(by_seed), key=lambda one: len(by_seed[one]))
            if len(by_seed[seed]) > 1:
                return (labels, seed), by_seed[seed]
    return None


def pair_of(comparison: Comparison, labels: Labels, methods: Sequence[str]) -> tuple[str, str]:
    """Return the methods to compare: the best one but the baseline, and the baseline; else the best and the first."""
    other = BASELINE if BASELINE in methods else methods[0]
    rest = [method for method in methods if method != other]
    return max(rest, key=lambda method: comparison.summary(LAST, method, labels).mean), other


def most_different(differences: np.ndarray, number: int) -> tuple[list[int], list[int]]:
    """Return the places of the largest gains, largest first, and of the largest losses; NaN is left out."""
    order = [int(place) for place in np.argsort(differences, kind="stable") if not np.isnan(differences[place])]
    gains = [place for place in reversed(order) if differences[place] > 0]
    return gains[:number], [place for place in order if differences[place] < 0][:number]


def _look(record, samples, protocol, num_classes, advance) -> _Seen:
    """Predict the images by a run; the model is freed afterwards."""
    model = models.load_predictor(Run(record.folder).chosen)
    scores, maps = [], []
    for sample in samples:
        classes = evaluation.predict_classes(model, sample.read_image(), protocol, num_classes=num_classes)
        matrix = evaluation.ConfusionMatrix(num_classes)
        matrix.update(sample.read_mask(), classes, name=sample.mask)
        scores.append(matrix.mean_iou())
        maps.append(_thinned(classes))
        advance()
    return _Seen(np.array(scores), maps)


def _row(sample, place: int, seen: Mapping[str, _Seen], differences, palette) -> Row:
    image = evaluation.to_display(_thinned(sample.shown(sample.read_image())))
    truth = overlay(image, _thinned(sample.read_mask()), palette)
    columns = [Column("Image", picture_uri(image, WIDTH)), Column("Truth", picture_uri(truth, WIDTH))]
    for method, one in seen.items():
        picture = picture_uri(overlay(image, one.classes[place], palette), WIDTH)
        columns.append(Column(method, picture, float(one.scores[place])))
    return Row(sample.name, float(differences[place]), tuple(columns))


def _thinned(pixels: np.ndarray) -> np.ndarray:
    """Return every n-th pixel, so that the width is about `WIDTH`: many maps are held at once."""
    step = max(1, pixels.shape[1] // WIDTH)
    return pixels[::step, ::step]


def _advance(progress, done: int, total: int) -> Callable[[], None]:
    """Return a function that counts one more prediction."""
    counts = iter(range(done + 1, total + 1))
    return lambda: progress(next(counts), total) if progress else None
