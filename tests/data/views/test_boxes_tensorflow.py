import numpy as np
import tensorflow as tf

from rankmatch_keras.data.views.boxes_tensorflow import cutmix_box
from rankmatch_keras.data.views.seeds_tensorflow import fold


def boxes(size, count=2000, **kwargs):
    drawn = tf.data.Dataset.range(count).map(lambda n: cutmix_box(fold((5, 2), n), size, **kwargs))
    assert drawn.element_spec.shape == (4,) and drawn.element_spec.dtype == tf.int32
    return np.stack(list(drawn.as_numpy_iterator()))


def twin(rng, size):
    """The published loop: draw until the box fits."""
    while True:
        area = rng.uniform(0.02, 0.4) * size * size
        ratio = rng.uniform(0.3, 1 / 0.3)
        height, width = int(np.sqrt(area * ratio)), int(np.sqrt(area / ratio))
        y, x = rng.integers(size), rng.integers(size)
        if y + height <= size and x + width <= size:
            return y, x, y + height, x + width


def test_boxes_lie_inside_and_half_of_them_are_empty():
    y0, x0, y1, x1 = boxes((60, 90)).T
    empty = (y1 == y0) & (x1 == x0)
    assert 900 < empty.sum() < 1100
    assert (np.stack([y0, x0, y1, x1])[:, empty] == 0).all()
    assert (y0 >= 0).all() and (x0 >= 0).all() and (y1 <= 60).all() and (x1 <= 90).all()
    full = ~empty
    share = ((y1 - y0) * (x1 - x0))[full] / (60 * 90)
    ratio = (y1 - y0)[full] / (x1 - x0)[full]
    assert share.min() > 0.015 and share.max() < 0.401
    assert ratio.min() > 0.25 and ratio.max() < 4.0  # sides are cut to whole pixels


def test_distribution_is_that_of_the_published_loop():
    drawn = boxes((100, 100), probability=1.0)
    rng = np.random.default_rng(0)
    expected = np.array([twin(rng, 100) for _ in range(4000)])
    assert (drawn[:, 2] > drawn[:, 0]).all()
    for column in range(4):
        np.testing.assert_allclose(
            np.quantile(drawn[:, column], [0.1, 0.25, 0.5, 0.75, 0.9]),
            np.quantile(expected[:, column], [0.1, 0.25, 0.5, 0.75, 0.9]),
            atol=4,
        )


def test_same_seed_same_box():
    seed = fold((1, 2), 3)
    np.testing.assert_array_equal(cutmix_box(seed, (50, 50), 1.0), cutmix_box(seed, (50, 50), 1.0))
