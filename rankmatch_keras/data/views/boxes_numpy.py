"""Draws CutMix boxes, in NumPy (METHODS: UniMatch, data pipeline); twin of `tf_data.boxes`."""

import numpy as np

# A candidate fits in about a third of the draws, so that 64 of them fail together about once in 10^11 boxes.
CANDIDATES = 64


def cutmix_box(
    rng: np.random.Generator,
    size: tuple[int, int],
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> np.ndarray:
    """Draw one box.

    Area and aspect ratio are uniform, the corner is uniform over the view, and all of them are drawn again
    until the box fits: the first of a fixed number of candidates that does is taken.

    Args:
        rng: the box's generator.
        size: height and width of the view.
        probability: how often there is a box.
        area: range of the box's share of the view.
        aspect: range of height / width.

    Returns:
        int32 (4,): y0, x0, y1, x1 with 0 <= y0 <= y1 <= height; all zero (nothing is mixed) otherwise.
    """
    wanted = rng.random() < probability
    areas = rng.uniform(*area, CANDIDATES) * size[0] * size[1]
    ratios = rng.uniform(*aspect, CANDIDATES)
    # (CANDIDATES, 2) each.
    corners = rng.integers(0, size, (CANDIDATES, 2))
    ends = corners + np.stack([np.sqrt(areas * ratios), np.sqrt(areas / ratios)], axis=1).astype(np.int64)
    fits = (ends <= size).all(axis=1)
    if not (wanted and fits.any()):
        return np.zeros(4, np.int32)
    first = fits.argmax()
    return np.concatenate([corners[first], ends[first]]).astype(np.int32)
