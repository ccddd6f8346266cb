"""Confident mistakes: the parts of images where a network is sure of a wrong class."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.evaluation.inference import WHOLE, probability_blocks

WINDOW = 0.28  # side of the part relative to the image's
LEAST = 0.02  # mean margin of a part that is worth a look


@dataclass(frozen=True)
class Mistake:
    """A part of an image, in pixels, and what is taken for what there.

    Attributes:
        rows: its rows.
        columns: its columns.
        truth: the class, by its id, that is missed most surely there.
        prediction: the class that is predicted instead.
        confidence: mean probability of that prediction on these pixels, 0..1.
        margin: mean over the part of how much more probable the wrong class is than the true one, 0..1.
    """

    rows: slice
    columns: slice
    truth: int
    prediction: int
    confidence: float
    margin: float


def predict_margins(predictor, image, truth, protocol=WHOLE, ignore_index=IGNORE_INDEX):
    """Predict an image, and by how much its true classes are missed.

    Args:
        predictor: `keras.Model` from raw images (B, H, W, C) to probabilities (B, H, W, K).
        image: (H, W, C), as read.
        truth: int (H, W), 0..K-1 or `ignore_index`.
        protocol: `data.Protocol`, but for "center_crop".
        ignore_index: value of pixels to ignore.

    Returns:
        classes int (H, W); their probabilities float32 (H, W); and margins float32 (H, W): that probability minus the
        true class's, 0 where the prediction is right and where the truth is ignored.
    """
    classes = np.empty(truth.shape, np.int32)
    confidence, margin = np.empty((2, *truth.shape), np.float32)
    for block in probability_blocks(predictor, image, protocol):
        place = block.rows, block.columns
        probabilities = block.sums / block.sums.sum(-1, keepdims=True)
        known = truth[place] != ignore_index
        true_class = np.where(known, truth[place], 0).astype(np.intp)[..., None]
        classes[place], confidence[place] = probabilities.argmax(-1), probabilities.max(-1)
        missed = confidence[place] - np.take_along_axis(probabilities, true_class, -1)[..., 0]
        margin[place] = np.where(known, missed, 0)
    return classes, confidence, margin


def surest_mistake(truth, classes, confidence, margin) -> Mistake | None:
    """Find the part of an image with the largest mean margin; the other arguments are as `predict_margins` has them.

    Returns:
        The part, `WINDOW` of the image's sides; `None` where the network is right, or not sure.
    """
    height, width = (max(1, round(WINDOW * side)) for side in truth.shape)
    means = ndimage.uniform_filter(margin.astype(np.float64), (height, width), mode="constant")
    # Windows within the image alone.
    inside = means[height // 2 :, width // 2 :][: truth.shape[0] - height + 1, : truth.shape[1] - width + 1]
    top, left = (int(place) for place in np.unravel_index(np.argmax(inside), inside.shape))
    if inside[top, left] < LEAST:
        return None
    rows, columns = slice(top, top + height), slice(left, left + width)
    missed, found, sure = _confusion(*(values[rows, columns] for values in (truth, classes, confidence, margin)))
    return Mistake(rows, columns, missed, found, sure, float(inside[top, left]))


def _confusion(truth, classes, confidence, margin):
    """Return the pair of classes with the largest sum of margins, and the mean confidence of it."""
    wrong = margin > 0
    pairs, place = np.unique(np.stack([truth[wrong], classes[wrong]]), axis=1, return_inverse=True)
    place = place.reshape(-1)
    largest = int(np.argmax(np.bincount(place, margin[wrong])))
    return int(pairs[0, largest]), int(pairs[1, largest]), float(confidence[wrong][place == largest].mean())
