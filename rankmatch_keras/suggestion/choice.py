"""The rule that chooses: what the model is unsure of, far from all that is labeled or chosen already.

Images are chosen one after the other, each by

    x* = argmax over unlabeled x of  u(x) * min over c, labeled or chosen, of |f(x) - f(c)|

with the mean features f and the uncertainty

    u(x) = mean over pixels of  H(p) / log K * sum over classes k of  w_k p_k,    w_k = 1 / ln(1.02 + s_k).

p are the mean probabilities of image and mirror image. Their entropy H is the mean of the two entropies plus what the
two disagree by (their Jensen-Shannon divergence). s_k is the share of class k in the labeled pixels.

Without u this is the greedy k-center of Sener and Savarese (Active Learning for Convolutional Neural Networks: A
Core-Set Approach, ICLR 2018); with weights it is the heuristic of Dyer and Frieze (A Simple Heuristic for the p-Centre
Problem, Operations Research Letters 3, 1985). The class weights are those of ENet (Paszke et al., 2016): bounded, so
that a class without a label counts 14 times a class that fills a third of the labels, and not more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankmatch_keras.suggestion.scores import Scores

RULES = ("both", "uncertainty", "diversity")
FEW = 0.01  # of the labeled pixels: a class with less is named as a reason
SEEN = 0.002  # of the pixels of an image: a class with less may be noise


@dataclass(frozen=True)
class Pick:
    """A chosen image.

    Attributes:
        number: its place among the candidates.
        distance: to the nearest labeled image or image chosen before, when it was chosen; in units of the mean distance
            of all candidates to the nearest labeled image.
    """

    number: int
    distance: float


def class_weights(pixels: np.ndarray) -> np.ndarray:
    """Return the weight of each class, float (K,): the rarer in the labels, the larger.

    Args:
        pixels: (K,), labeled pixels of each class.
    """
    return 1.0 / np.log(1.02 + pixels / max(1, pixels.sum()))


def choose(
    features: np.ndarray, labeled: np.ndarray, uncertainty: np.ndarray, count: int, by: str = RULES[0]
) -> list[Pick]:
    """Choose images one after the other.

    Args:
        features: float (N, D), of the candidates.
        labeled: float (L, D), of the labeled images.
        uncertainty: float (N,), >= 0.
        count: how many to choose, at most N.
        by: "both", or "uncertainty" or "diversity" alone: the other factor of the product is 1 then.

    Returns:
        The images in the order of their choice; of equals the first.
    """
    nearest = np.min([_distances(features, one) for one in labeled], axis=0)
    unit = nearest.mean() or 1.0
    weights = np.ones(len(features)) if by == "diversity" else uncertainty
    free, picks = np.ones(len(features), bool), []
    for _ in range(count):
        values = weights if by == "uncertainty" else weights * nearest
        number = int(np.argmax(np.where(free, values, -1.0)))
        picks.append(Pick(number, float(nearest[number] / unit)))
        free[number] = False
        nearest = np.minimum(nearest, _distances(features, features[number]))
    return picks


def reason(pick: Pick, scores: Sequence[Scores], pixels: np.ndarray, class_names: Sequence[str]) -> str:
    """Say in words why an image was chosen.

    Args:
        pick: the image.
        scores: of all candidates.
        pixels: (K,), labeled pixels of each class.
        class_names: names of the K classes.
    """
    own = scores[pick.number]
    below = np.mean([other.uncertainty < own.uncertainty for other in scores])
    known = pixels / max(1, pixels.sum())
    rare = [k for k in np.argsort(known, kind="stable") if known[k] < FEW and own.shares[k] >= max(SEEN, known[k])]
    parts = [f"{pick.distance:.1f} times the usual distance to images labeled or chosen"]
    parts.append(f"less sure than {100 * below:.0f} % of the images")
    if rare:
        parts.append(f"may show {' and '.join(class_names[k] for k in rare[:3])}, hardly labeled")
    return "; ".join(parts)


def _distances(features, one):
    return np.linalg.norm(features - one, axis=1)
