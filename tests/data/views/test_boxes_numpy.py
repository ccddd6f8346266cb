import numpy as np
import pytest

from rankmatch_keras.data.views.boxes_numpy import cutmix_box


def boxes(size, count=2000, **kwargs):
    drawn = np.stack([cutmix_box(np.random.default_rng(n), size, **kwargs) for n in range(count)])
    assert drawn.shape == (count, 4) and drawn.dtype == np.int32
    return drawn


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


def test_distribution_is_that_of_tf_data():
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("keras_cv")
    from scipy.stats import ks_2samp

    from rankmatch_keras.data.views import boxes_tensorflow as tf_boxes
    from rankmatch_keras.data.views.seeds_tensorflow import fold

    drawn = tf.data.Dataset.range(2000).map(lambda n: tf_boxes.cutmix_box(fold((5, 2), n), (60, 90)))
    theirs, ours = np.stack(list(drawn.as_numpy_iterator())), boxes((60, 90))
    for derive in (lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]), lambda b: b[:, 0] + b[:, 2], lambda b: b[:, 1]):
        assert ks_2samp(derive(ours), derive(theirs)).pvalue > 1e-3
    assert [b.max(0).tolist() for b in (ours, theirs)][0][2:] == [60, 90]


def test_same_generator_same_box():
    first, second = (cutmix_box(np.random.default_rng(7), (50, 50), 1.0) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_view_of_one_pixel():
    assert boxes((1, 1), 20, probability=1.0).max() <= 1
