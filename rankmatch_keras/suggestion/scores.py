"""What a trained model says of an image as a whole: how unsure it is, what it sees, and features to compare it by."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rankmatch_keras.data.views.no_data import without_data
from rankmatch_keras.evaluation.inference import predict_probabilities, probability_blocks
from rankmatch_keras.evaluation.windows import window_spans
from rankmatch_keras.prediction.folder import WHOLE_PIXELS, WINDOW, Settings
from rankmatch_keras.prediction.maps import entropy_and_margin


@dataclass(frozen=True, eq=False)
class Scores:
    """Means over the pixels of an image that have data.

    Attributes:
        entropy: that of the mean probabilities of the image and its mirror image, 0..1: divided by its maximum log K.
        margin: the highest of these probabilities less the second, 0..1.
        disagreement: share of pixels to which image and mirror image give different classes.
        uncertainty: entropy times the weight of the classes that may be there, see `choice.class_weights`.
        shares: float (K,), share of pixels predicted as each class.
    """

    entropy: float
    margin: float
    disagreement: float
    uncertainty: float
    shares: np.ndarray


class BothWays:
    """A predictor that also looks at the mirror image.

    Args:
        predictor: see `evaluation.predict_classes`; of K classes.
    """

    def __init__(self, predictor: Any):
        self.predictor = predictor
        self.output_shape = (None, None, None, 2 * predictor.output_shape[-1])

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Predict (B, H, W, C) -> (B, H, W, 2 K): the probabilities of each image, then those of its mirror image."""
        pairs = [
            (predict_probabilities(self.predictor, one), predict_probabilities(self.predictor, one[:, ::-1])[:, ::-1])
            for one in images
        ]
        return np.stack([np.concatenate(pair, axis=-1) for pair in pairs])


def score(predictor: Any, image: np.ndarray, weights: np.ndarray) -> Scores:
    """Score an image.

    Args:
        predictor: see `BothWays`.
        image: (H, W, C), uint8 or float32; larger ones are scored in windows.
        weights: float (K,), of the classes.
    """
    classes, missing = len(weights), without_data(image)
    sums, shares, count = np.zeros(4), np.zeros(classes), 0
    for block in probability_blocks(BothWays(predictor), image, Settings().protocol(image), window_batch=1):
        found = block.sums if missing is None else block.sums[~missing[block.rows, block.columns]]
        found = found.reshape(-1, 2 * classes)
        both = found[:, :classes] + found[:, classes:]
        both /= both.sum(-1, keepdims=True)
        entropy, margin = entropy_and_margin(both)
        differ = found[:, :classes].argmax(-1) != found[:, classes:].argmax(-1)
        sums += [each.sum(dtype=np.float64) for each in (entropy, margin, differ, entropy * (both @ weights))]
        shares += np.bincount(both.argmax(-1), minlength=classes)
        count += len(found)
    entropy, margin, disagreement, uncertainty = (sums / max(1, count)).tolist()
    return Scores(entropy, margin, disagreement, uncertainty, shares / max(1, count))


def pooled_features(features: Any, image: np.ndarray) -> np.ndarray:
    """Return the mean feature vector of an image, float64 (D,).

    Args:
        features: model from images to features, see `models.feature_model`.
        image: (H, W, C); of larger ones one window after the other is shown to the model.
    """
    height, width = image.shape[:2]
    side = WINDOW if height * width > WHOLE_PIXELS else max(height, width)
    total, count = np.zeros(1), 0
    for top, bottom in window_spans(height, side, "shift"):
        for left, right in window_spans(width, side, "shift"):
            found = np.asarray(features.predict_on_batch(image[None, top:bottom, left:right]), np.float64)
            total = total + found.sum((0, 1, 2))
            count += found[..., 0].size
    return total / count
