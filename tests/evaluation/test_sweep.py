import numpy as np
import pytest

from rankmatch_keras.evaluation.resampling import Picture
from rankmatch_keras.evaluation.sweep import OneWindow, Resized, Sweep

pytestmark = pytest.mark.once


def count_windows(images):
    """A predictor of one class whose "probability" is 1: sums count the windows over each pixel."""
    return np.ones((*images.shape[:3], 1), np.float32)


def test_counts_of_windows_by_hand():
    sweep = Sweep(count_windows, Picture(np.zeros((4, 5, 1))), (0, 5), side=3)
    # Stride 2: rows 0-2, 2-3; columns 0-2, 2-4, 4.
    rows, columns = np.array([1, 1, 2, 1]), np.array([1, 1, 2, 1, 2])
    np.testing.assert_array_equal(sweep.rows(0, 4)[..., 0], rows[:, None] * columns)


def test_mirrored_windows_start_at_the_right():
    sweep = Sweep(count_windows, Picture(np.zeros((1, 6, 1))), (0, 6), side=3, flip=True)
    # Columns 0-2, 2-4, 4-5; and mirrored, i.e. counted from the right.
    once = np.array([1, 1, 2, 1, 2, 1])
    np.testing.assert_array_equal(sweep.rows(0, 1)[0, :, 0], once + once[::-1])


def test_rows_are_dropped_and_computed_when_asked_for():
    calls = []

    def predict(images):
        calls.append(images.shape)
        return count_windows(images)

    sweep = Sweep(predict, Picture(np.zeros((90, 4, 1))), (0, 4), side=9)
    most = 0
    for first in range(0, 90, 3):
        assert sweep.rows(first, first + 3).shape == (3, 4, 1)
        most = max(most, len(sweep._lines))
        assert len(calls) == min(first // 6 + 1, 15), "one window per 6 rows"
    assert most <= 9


def test_skipped_rows():
    """A scaled picture larger than its own size is read with gaps."""
    whole = Sweep(count_windows, Picture(np.zeros((40, 3, 1))), (0, 3), side=5).rows(0, 40)
    sweep = Sweep(count_windows, Picture(np.zeros((40, 3, 1))), (0, 3), side=5)
    for first in (0, 9, 17, 30, 38):
        np.testing.assert_array_equal(sweep.rows(first, first + 2), whole[first : first + 2])


@pytest.mark.parametrize("columns", [(0, 4), (3, 9), (9, 11), (10, 11)])
def test_strips_equal_the_whole(columns):
    image = np.random.default_rng(0).random((7, 11, 1)).astype(np.float32)

    def predict(images):
        return images * np.arange(1, images.shape[2] + 1, dtype=np.float32)[:, None]

    def make(columns):
        return Sweep(predict, Picture(image), columns, side=4, flip=True, window_batch=2)

    np.testing.assert_allclose(make(columns).rows(0, 7), make((0, 11)).rows(0, 7)[:, slice(*columns)], rtol=1e-6)


def test_windows_of_a_batch_are_of_one_size():
    shapes = []

    def predict(images):
        shapes.append(images.shape[:3])
        return count_windows(images)

    Sweep(predict, Picture(np.zeros((3, 14, 1))), (0, 14), side=3, flip=True, window_batch=4).rows(0, 3)
    # 7 windows each way: 6 of width 3, 1 of width 2.
    assert shapes == [(4, 3, 3), (4, 3, 3), (4, 3, 3), (2, 3, 2)]


def test_one_window_is_what_a_sweep_of_one_is():
    image = np.random.default_rng(0).random((5, 8, 2)).astype(np.float32)
    for scale in (1.0, 0.6):
        picture = Picture(image, scale)
        one, sweep = (kind(lambda images: images * 3, picture, (1, 4)) for kind in (OneWindow, Sweep))
        np.testing.assert_array_equal(one.rows(0, 2), sweep.rows(0, 2))
        np.testing.assert_array_equal(one.rows(1, 3), sweep.rows(1, 3))


def test_resized_rows():
    """Two rows from four of value 1: bilinear weights sum to 1."""
    ones = Picture(np.ones((2, 3, 1), np.float32), 2.0)
    resized = Resized(lambda columns: Sweep(count_windows, ones, columns), (2, 3), ones.size, (1, 3))
    np.testing.assert_allclose(resized.rows(0, 1), np.ones((1, 2, 1)))
    np.testing.assert_allclose(resized.rows(1, 2), np.ones((1, 2, 1)))
