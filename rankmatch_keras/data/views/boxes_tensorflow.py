"""Draws CutMix boxes (METHODS: UniMatch, data pipeline)."""

import tensorflow as tf

from rankmatch_keras.data.views.seeds_tensorflow import below, between, uniform

# A candidate fits in about a third of the draws, so that 64 of them fail together about once in 10^11 boxes.
CANDIDATES = 64


def cutmix_box(
    seed: tf.Tensor,
    size: tuple[int, int],
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> tf.Tensor:
    """Draw one box.

    Area and aspect ratio are uniform, the corner is uniform over the view, and all of them are drawn again
    until the box fits: the first of a fixed number of candidates that does is taken.

    Args:
        seed: stateless seed, (2,).
        size: height and width of the view.
        probability: how often there is a box.
        area: range of the box's share of the view.
        aspect: range of height / width.

    Returns:
        int32 (4,): y0, x0, y1, x1 with 0 <= y0 <= y1 <= height; all zero (nothing is mixed) otherwise.
    """
    draws = tf.unstack(uniform(seed, 5, CANDIDATES))
    areas = between(draws[0], *area) * float(size[0] * size[1])
    ratios = between(draws[1], *aspect)
    heights = tf.cast(tf.sqrt(areas * ratios), tf.int32)
    widths = tf.cast(tf.sqrt(areas / ratios), tf.int32)
    tops, lefts = below(draws[2], size[0]), below(draws[3], size[1])
    boxes = tf.stack([tops, lefts, tops + heights, lefts + widths], axis=1)
    fits = (boxes[:, 2] <= size[0]) & (boxes[:, 3] <= size[1])
    wanted = (draws[4][0] < probability) & tf.reduce_any(fits)
    # argmax of a 0/1 vector is the first 1.
    first = boxes[tf.argmax(tf.cast(fits, tf.int32))]
    return tf.where(wanted, first, tf.zeros_like(first))
