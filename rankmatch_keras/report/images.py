"""Images of a run's report: which ones are shown, and what of each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankmatch_keras import data, evaluation
from rankmatch_keras.evaluation.mistakes import Mistake, predict_margins, surest_mistake
from rankmatch_keras.evaluation.overlays import overlay
from rankmatch_keras.report.page import picture_uri

TITLES = ("Image", "Truth", "Prediction")
CONTEXT = 0.25  # what is shown around a mistake on each side, relative to its size

Layers = tuple[tuple[str, str], ...]  # title and picture, a data URI, of the image, its truth and its prediction


@dataclass(frozen=True)
class Shown:
    """An image of the page.

    Attributes:
        name: name of the sample.
        score: its mean IoU, 0..1.
        layers: see `Layers`.
    """

    name: str
    score: float
    layers: Layers


@dataclass(frozen=True)
class Mistaken:
    """A confident mistake of the page.

    Attributes:
        name: name of the sample.
        truth: name of the class that is missed.
        prediction: name of the class that is predicted instead.
        mistake: where, and how sure.
        layers: see `Layers`; the part and what is around it.
    """

    name: str
    truth: str
    prediction: str
    mistake: Mistake
    layers: Layers


def chosen(scores: Sequence[float], number: int) -> list[tuple[str, list[int]]]:
    """Choose the worst images, those around the median and the best, each of them once.

    Args:
        scores: of all images; those without one (NaN) are left out.
        number: how many of each.

    Returns:
        Title and places in the list of scores of each group that is not empty.
    """
    ordered = sorted((place for place, one in enumerate(scores) if not math.isnan(one)), key=scores.__getitem__)
    worst, rest = ordered[:number], ordered[number:]
    best, rest = rest[max(0, len(rest) - number) :][::-1], rest[: max(0, len(rest) - number)]
    middle = max(0, (len(rest) - number) // 2)
    groups = [("Worst images", worst), ("Images in the middle", rest[middle : middle + number]), ("Best images", best)]
    return [(title, some) for title, some in groups if some]


def most_wrong(counts: np.ndarray, number: int) -> list[int]:
    """Return the places of the images with the most wrong pixels, the first ones first; at most so many.

    Args:
        counts: int (images, 3, K): pixels per class in both truth and prediction, in the truth, in the prediction.
        number: how many.
    """
    wrong = (counts[:, 1] - counts[:, 0]).sum(axis=-1)
    return [int(place) for place in np.argsort(-wrong, kind="stable")[:number] if wrong[place]]


def look(
    model: Any, sample: data.Sample, score: float, protocol: data.Protocol, dataset: data.SegmentationData
) -> tuple[Shown, Mistaken | None]:
    """Predict an image once; return how it is shown, and its most confident mistake, if there is one.

    Args:
        model: the predictor.
        sample: the image.
        score: its mean IoU.
        protocol: how it is scored; the whole image is shown, whatever part of it that is.
        dataset: its data set, for names and colors of classes.
    """
    image, truth = sample.read_image(), sample.read_mask()
    protocol = data.Protocol() if protocol.mode == "center_crop" else protocol
    classes, confidence, margin = predict_margins(model, image, truth, protocol)
    image = sample.shown(image)
    maps = (overlay(image, each, dataset.palette) for each in (truth, classes))
    pictures = (evaluation.to_display(image), *maps)
    shown = Shown(sample.name, score, _layers(pictures))
    mistake = surest_mistake(truth, classes, confidence, margin)
    if mistake is None:
        return shown, None
    rows, columns = (_with_context(*each) for each in zip((mistake.rows, mistake.columns), truth.shape, strict=True))
    missed, found = (dataset.class_names[number] for number in (mistake.truth, mistake.prediction))
    return shown, Mistaken(sample.name, missed, found, mistake, _layers(picture[rows, columns] for picture in pictures))


def _layers(pictures) -> Layers:
    return tuple((title, picture_uri(picture)) for title, picture in zip(TITLES, pictures, strict=True))


def _with_context(part: slice, side: int) -> slice:
    more = round(CONTEXT * (part.stop - part.start))
    return slice(max(0, part.start - more), min(side, part.stop + more))
