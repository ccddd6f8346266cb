"""Sources of images: whether unlabeled images look like the labeled ones."""

from collections.abc import Sequence

import numpy as np

from rankmatch_keras.data.sets.pixel_statistics import channel_statistics, usual_short_side
from rankmatch_keras.data.sets.samples import Sample

LOOKED_AT = 30  # images of each kind that are compared
FAR = 0.75  # standard deviations between the channel means of two kinds of images
TIMES = 2.0  # between their standard deviations, or sides


def differences(labeled: Sequence[Sample], unlabeled: Sequence[Sample]) -> dict[str, str]:
    """Compare the look of labeled and unlabeled images: brightness and color, contrast, size.

    Pseudo-labels of another kind of image are mostly wrong. Channel means that lie more than `FAR` standard deviations
    apart are named, standard deviations and sides that differ by more than `TIMES`.

    Args:
        labeled: labeled samples, at least one.
        unlabeled: unlabeled samples, at least one, of the same type and number of channels.

    Returns:
        What differs, and the averages of both kinds as a phrase; empty if they look alike.
    """
    found = {}
    (mean, std), (other_mean, other_std) = (
        tuple(map(np.asarray, channel_statistics(samples, LOOKED_AT))) for samples in (labeled, unlabeled)
    )
    if (abs(mean - other_mean) > FAR * np.maximum(std, other_std)).any():
        found["brightness or color"] = _both(mean, other_mean)
    elif (np.maximum(std, other_std) > TIMES * np.minimum(std, other_std)).any():
        found["contrast"] = _both(std, other_std)
    sides = [usual_short_side(samples, LOOKED_AT) for samples in (labeled, unlabeled)]
    if max(sides) > TIMES * min(sides):
        found["short side in pixels"] = _both(sides[:1], sides[1:])
    return found


def _both(labeled, unlabeled):
    one, other = ("/".join(f"{value:.4g}" for value in values) for values in (labeled, unlabeled))
    return f"{one} and {other} on average"
