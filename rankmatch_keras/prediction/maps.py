"""Maps of one image: classes, and on demand probabilities, confidence, entropy and margin."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.views.no_data import without_data
from rankmatch_keras.evaluation.inference import WHOLE, probability_blocks


@dataclass
class Maps:
    """What a model says of each pixel; a map that was not asked for is None. Pixels without data are NaN.

    Attributes:
        classes: uint8 (H, W), 255 where the image has no data.
        confidence: float32 (H, W), probability of that class.
        entropy: float32 (H, W) in 0..1: that of the probabilities, divided by its maximum log K.
        margin: float32 (H, W) in 0..1: the highest probability less the second.
        probabilities: float16 (K, H, W).
    """

    classes: np.ndarray
    confidence: np.ndarray | None = None
    entropy: np.ndarray | None = None
    margin: np.ndarray | None = None
    probabilities: np.ndarray | None = None


def predict_maps(
    predictor,
    image,
    protocol=WHOLE,
    window_batch=4,
    probabilities=False,
    uncertainty=False,
    confidence=False,
    missing=None,
):
    """Predict the maps of one image.

    Args:
        predictor: see `evaluation.predict_classes`, and so for the next three.
        image: the image.
        protocol: how the network sees it.
        window_batch: windows per batch.
        probabilities: whether to keep the probabilities of all classes.
        uncertainty: whether to compute entropy and margin.
        confidence: whether to keep the probability of the predicted class.
        missing: bool (H, W), further pixels without data than those that are NaN.

    Returns:
        `Maps`.
    """
    maps: Any = None
    for block in probability_blocks(predictor, image, protocol, window_batch):
        if maps is None:
            maps = Maps(np.empty(block.size, np.uint8))
            if confidence:
                maps.confidence = np.empty(block.size, np.float32)
            if uncertainty:
                maps.entropy, maps.margin = (np.empty(block.size, np.float32) for _ in range(2))
            if probabilities:
                maps.probabilities = np.empty((block.sums.shape[-1], *block.size), np.float16)
        place = block.rows, block.columns
        maps.classes[place] = np.argmax(block.sums, axis=-1)
        if probabilities or uncertainty or confidence:
            _fill(maps, place, block.sums / block.sums.sum(-1, keepdims=True))
    empty = without_data(image)
    for found in (one for one in (missing, empty) if one is not None):
        maps.classes[found] = IGNORE_INDEX
        for values in (maps.confidence, maps.entropy, maps.margin, maps.probabilities):
            if values is not None:
                values[..., found] = np.nan
    return maps


def _fill(maps, place, shares):
    """Write a block of probabilities (h, w, K) into the maps."""
    if maps.probabilities is not None:
        maps.probabilities[:, place[0], place[1]] = np.moveaxis(shares, -1, 0)
    if maps.confidence is not None:
        maps.confidence[place] = shares.max(-1)
    if maps.entropy is not None:
        maps.entropy[place], maps.margin[place] = entropy_and_margin(shares)


def entropy_and_margin(shares):
    """Return how unsure probabilities are: the entropy, 0..1, and the highest less the second.

    Args:
        shares: float (..., K), sums 1.

    Returns:
        Two float arrays (...); the entropy is divided by its maximum log K.
    """
    logs = np.log(np.maximum(shares, np.finfo(np.float32).tiny))
    second, best = np.moveaxis(np.partition(shares, -2, axis=-1)[..., -2:], -1, 0)
    return -(shares * logs).sum(-1) / np.log(shares.shape[-1]), best - second
