import math

import numpy as np
import pytest

from rankmatch_keras.evaluation import ConfusionMatrix, bootstrap
from rankmatch_keras.evaluation.bootstrap import draws, mean_iou_interval

pytestmark = pytest.mark.once


def _counts(images=12, classes=4, seed=0):
    """Per-image counts and the matrices that they come from; the last class is rare."""
    rng = np.random.default_rng(seed)
    matrices = []
    for i in range(images):
        matrix = ConfusionMatrix(classes)
        present = classes if i % 4 == 3 else classes - 1
        truth = rng.integers(0, present, 200)
        matrix.update(truth, np.where(rng.random(200) < 0.3, rng.integers(0, present, 200), truth))
        matrices.append(matrix)
    return np.stack([matrix.class_counts() for matrix in matrices]), matrices


def test_equals_a_slow_loop_over_the_same_resamples():
    counts, matrices = _counts()
    means = []
    for times in np.concatenate(list(draws(len(matrices), 200, seed=5))):
        joined = ConfusionMatrix(4)
        for matrix, number in zip(matrices, times, strict=True):
            for _ in range(int(number)):
                joined = joined + matrix
        means.append(joined.mean_iou())
    expected = np.quantile(means, [0.025, 0.975])
    np.testing.assert_allclose(mean_iou_interval(counts, 200, seed=5), expected, rtol=1e-12)


def test_draws_are_sets_of_as_many_images(monkeypatch):
    whole = np.concatenate(list(draws(7, 100, seed=0)))
    assert whole.shape == (100, 7)
    assert (whole.sum(1) == 7).all()
    assert abs(whole.mean(0) - 1).max() < 0.35, "each image is drawn once on average"
    monkeypatch.setattr(bootstrap, "BLOCK", 30)
    assert [block.shape for block in draws(7, 10, seed=0)] == [(4, 7), (4, 7), (2, 7)]


def test_interval_by_hand():
    """Two images, all right and all wrong: resamples are both right (1/4), one of each (1/2), both wrong (1/4)."""
    right, wrong = np.array([[4], [4], [4]]), np.array([[0], [4], [4]])
    # Mixed: intersection 4, union 16 - 4 = 12.
    low, high = mean_iou_interval(np.stack([right, wrong]), 1000, seed=0)
    assert (low, high) == (0, 1)
    low, high = mean_iou_interval(np.stack([right, wrong]), 1000, seed=0, level=0.2)
    assert low == high == pytest.approx(1 / 3)


def test_it_holds_the_mean_and_narrows_with_the_images():
    few, many = _counts(12), _counts(300)
    widths = []
    for counts, matrices in (few, many):
        low, high = mean_iou_interval(counts)
        total = ConfusionMatrix(4)
        for matrix in matrices:
            total += matrix
        assert low < total.mean_iou() < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_the_seed_decides():
    counts, _ = _counts()
    assert mean_iou_interval(counts, seed=1) == mean_iou_interval(counts, seed=1)
    assert mean_iou_interval(counts, seed=1) != mean_iou_interval(counts, seed=2)


@pytest.mark.parametrize("counts", [np.ones((1, 3, 2)), np.zeros((0, 3, 2)), np.zeros((5, 3, 2))])
def test_no_interval_without_images_or_pixels(counts):
    assert all(math.isnan(limit) for limit in mean_iou_interval(counts))
