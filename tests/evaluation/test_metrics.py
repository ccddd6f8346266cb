import math
import time

import numpy as np
import pytest

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import ConfusionMatrix, metrics
from rankmatch_keras.evaluation.metrics import iou_intervals, iou_of, mean_iou_interval, mean_of_present, resampled_sets

pytestmark = pytest.mark.once


def test_two_classes_by_hand():
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([[0, 0, 0, 1], [1, 255, 255, 0]]), np.array([[0, 0, 1, 1], [0, 0, 1, 0]]))
    # Six pixels count: truth 0 -> 0 three times, 0 -> 1 once, 1 -> 1 once, 1 -> 0 once.
    assert matrix.counts.tolist() == [[3, 1], [1, 1]]
    assert matrix.counts.dtype == np.int64
    # Class 0: I 3, U 3 + 1 + 1 = 5. Class 1: I 1, U 1 + 1 + 1 = 3.
    np.testing.assert_allclose(matrix.iou(), [3 / 5, 1 / 3], rtol=1e-15)
    assert matrix.mean_iou() == pytest.approx((3 / 5 + 1 / 3) / 2, rel=1e-15)
    assert matrix.pixel_accuracy() == pytest.approx(4 / 6, rel=1e-15)


def test_every_score_by_hand():
    """Class 0: both 3, truth 4, predicted 5. Class 1: 1, 2, 2. Class 2: 0, 2, 0. Class 3: 0, 0, 1. Class 4: absent."""
    matrix = ConfusionMatrix(5)
    matrix.update(np.array([0, 0, 0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 0, 0, 3]))
    assert matrix.class_counts().tolist() == [[3, 1, 0, 0, 0], [4, 2, 2, 0, 0], [5, 2, 0, 1, 0]]
    np.testing.assert_allclose(matrix.iou(), [3 / 6, 1 / 3, 0, 0, np.nan], rtol=1e-15)
    np.testing.assert_allclose(matrix.dice(), [6 / 9, 2 / 4, 0, 0, np.nan], rtol=1e-15)
    # Class 2 is never predicted, class 3 only predicted: 0, not absent.
    np.testing.assert_allclose(matrix.precision(), [3 / 5, 1 / 2, 0, 0, np.nan], rtol=1e-15)
    np.testing.assert_allclose(matrix.recall(), [3 / 4, 1 / 2, 0, 0, np.nan], rtol=1e-15)
    assert matrix.pixel_accuracy() == 4 / 8
    assert matrix.mean_iou() == pytest.approx((3 / 6 + 1 / 3) / 4)


def test_iou_of_many_rows_at_once():
    both, truth, prediction = np.array([[1, 0], [2, 0]]), np.array([[2, 0], [2, 1]]), np.array([[3, 0], [2, 0]])
    iou = iou_of(both, truth, prediction)
    np.testing.assert_array_equal(iou, [[1 / 4, np.nan], [1, 0]])
    np.testing.assert_array_equal(mean_of_present(iou), [1 / 4, 1 / 2])


def test_mean_of_nothing():
    assert math.isnan(mean_of_present([np.nan, np.nan]))
    assert math.isnan(mean_of_present(np.zeros((0,))))
    assert mean_of_present([np.nan, 0.5]) == 0.5


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    mask, prediction = rng.integers(0, 4, (7, 11)), rng.integers(0, 3, (7, 11), dtype=np.uint8)
    mask[mask == 3] = 255
    whole, blocks = ConfusionMatrix(3), ConfusionMatrix(3)
    whole.update(mask, prediction)
    monkeypatch.setattr(metrics, "BLOCK", 10)
    blocks.update(mask, prediction)
    np.testing.assert_array_equal(whole.counts, blocks.counts)
    # An error in the last block must not leave the first ones counted.
    mask[-1, -1] = 7
    with pytest.raises(UserError, match="found 7"):
        blocks.update(mask, prediction)
    np.testing.assert_array_equal(whole.counts, blocks.counts)


def test_rows_are_truth():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[2]]), np.array([[1]]))
    assert matrix.counts[2, 1] == 1
    assert matrix.counts.sum() == 1


def test_perfect_prediction():
    matrix = ConfusionMatrix(3)
    mask = np.array([[0, 1, 2], [2, 1, 0]])
    matrix.update(mask, mask)
    assert matrix.iou().tolist() == [1, 1, 1]
    assert matrix.mean_iou() == matrix.pixel_accuracy() == 1


def test_all_ignored_counts_nothing():
    matrix = ConfusionMatrix(2)
    matrix.update(np.full((3, 3), 255), np.zeros((3, 3), int))
    assert matrix.counts.sum() == 0
    assert np.isnan(matrix.iou()).all()
    assert math.isnan(matrix.mean_iou())
    assert math.isnan(matrix.pixel_accuracy())


def test_an_absent_class_stays_out_of_the_mean_but_a_false_alarm_counts():
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 3]))
    # Class 0: 2/2. Class 1: 1/2. Class 2 occurs nowhere. Class 3 is only predicted: 0/1.
    np.testing.assert_array_equal(matrix.iou(), [1, 0.5, np.nan, 0])
    assert matrix.mean_iou() == 0.5


def test_many_images_equal_one_and_a_slow_twin():
    rng = np.random.default_rng(0)
    masks, predictions = rng.integers(0, 5, (4, 9, 7)), rng.integers(0, 5, (4, 9, 7))
    masks[rng.random(masks.shape) < 0.2] = 255
    parts = [ConfusionMatrix(5) for _ in masks]
    for part, mask, prediction in zip(parts, masks, predictions, strict=True):
        part.update(mask.astype(np.uint8), prediction.astype(np.int32))
    joined = parts[0] + parts[1] + parts[2] + parts[3]
    twin = np.zeros((5, 5), int)
    for truth, predicted in zip(masks.ravel(), predictions.ravel(), strict=True):
        if truth != 255:
            twin[truth, predicted] += 1
    np.testing.assert_array_equal(joined.counts, twin)
    assert parts[0].counts.sum() == (masks[0] != 255).sum(), "adding must not change the parts"
    for k in range(5):
        union = ((masks == k) | (predictions == k)) & (masks != 255)
        assert joined.iou()[k] == ((masks == k) & (predictions == k)).sum() / union.sum()


def test_uint8_ids_do_not_overflow():
    matrix = ConfusionMatrix(200)
    matrix.update(np.array([199], np.uint8), np.array([198], np.uint8))
    assert matrix.counts[199, 198] == 1


def test_other_ignore_index():
    matrix = ConfusionMatrix(2, ignore_index=0)
    matrix.update(np.array([0, 1, 1]), np.array([1, 1, 0]))
    assert matrix.counts.tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("mask", "prediction", "message"),
    [
        ([[0, 2]], [[0, 0]], r"0\.\.1 .* in road\.png; found 2"),
        ([[0, -1]], [[0, 0]], "found -1"),
        ([[0, 1]], [[0, 2]], "the prediction; found 2"),
        ([[0, 1]], [[0, 255]], "the prediction; found 255"),
        ([[0, 1]], [[0]], "one shape"),
        ([[0.0, 1.0]], [[0, 1]], "float64"),
    ],
)
def test_mistakes_are_value_errors_and_count_nothing(mask, prediction, message):
    matrix = ConfusionMatrix(2)
    with pytest.raises(ValueError, match=message):
        matrix.update(np.array(mask), np.array(prediction), name="road.png")
    assert matrix.counts.sum() == 0


def test_predictions_on_ignored_pixels_may_be_out_of_range():
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([255, 1]), np.array([7, 1]))
    assert matrix.counts.tolist() == [[0, 0], [0, 1]]


def test_adding_matrices_of_other_classes_is_refused():
    with pytest.raises(UserError, match="same classes"):
        ConfusionMatrix(2) + ConfusionMatrix(3)
    with pytest.raises(TypeError):
        ConfusionMatrix(2) + 1


def test_no_classes():
    with pytest.raises(UserError, match="num_classes=0"):
        ConfusionMatrix(0)


def test_fast():
    rng = np.random.default_rng(0)
    mask, prediction = rng.integers(0, 21, (1000, 1000)), rng.integers(0, 21, (1000, 1000))
    matrix = ConfusionMatrix(21)
    started = time.perf_counter()
    matrix.update(mask, prediction)
    assert time.perf_counter() - started < 1  # about 10 ms; a Python loop takes over a second


def _counts(images=12, classes=4, seed=0):
    """Make per-image counts and their matrices; the last class is rare."""
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
    means, classes = [], []
    for times in np.concatenate(list(resampled_sets(len(matrices), 200, seed=5))):
        joined = ConfusionMatrix(4)
        for matrix, number in zip(matrices, times, strict=True):
            for _ in range(int(number)):
                joined = joined + matrix
        means.append(joined.mean_iou())
        classes.append(joined.iou())
    expected = np.quantile(means, [0.025, 0.975])
    np.testing.assert_allclose(mean_iou_interval(counts, 200, seed=5), expected, rtol=1e-12)
    assert np.isnan(classes).any() and not np.isnan(classes).all()  # the rare class is in some of the sets
    expected = [np.quantile(column[~np.isnan(column)], [0.025, 0.975]) for column in np.transpose(classes)]
    np.testing.assert_allclose(iou_intervals(counts, 200, seed=5), expected, rtol=1e-12)


def test_intervals_of_classes_that_are_not_there():
    counts = np.zeros((3, 3, 2), np.int64)
    counts[:, :, 0] = 4
    assert iou_intervals(counts)[0].tolist() == [1.0, 1.0] and np.isnan(iou_intervals(counts)[1]).all()
    assert np.isnan(iou_intervals(counts[:1])).all() and np.isnan(mean_iou_interval(counts[:1])).all()


def test_resampled_sets_have_as_many_images(monkeypatch):
    whole = np.concatenate(list(resampled_sets(7, 100, seed=0)))
    assert whole.shape == (100, 7)
    assert (whole.sum(1) == 7).all()
    assert abs(whole.mean(0) - 1).max() < 0.35, "each image is drawn once on average"
    monkeypatch.setattr(metrics, "SAMPLED_BLOCK", 30)
    assert [block.shape for block in resampled_sets(7, 10, seed=0)] == [(4, 7), (4, 7), (2, 7)]


def test_interval_by_hand():
    """Two images, all right and all wrong: resamples are both right (1/4), one of each (1/2), both wrong (1/4)."""
    right, wrong = np.array([[4], [4], [4]]), np.array([[0], [4], [4]])
    # Mixed: intersection 4, union 16 - 4 = 12.
    low, high = mean_iou_interval(np.stack([right, wrong]), 1000, seed=0)
    assert (low, high) == (0, 1)
    low, high = mean_iou_interval(np.stack([right, wrong]), 1000, seed=0, level=0.2)
    assert low == high == pytest.approx(1 / 3)


def test_the_interval_holds_the_mean_and_narrows_with_more_images():
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


def test_the_interval_depends_on_the_seed_only():
    counts, _ = _counts()
    assert mean_iou_interval(counts, seed=1) == mean_iou_interval(counts, seed=1)
    assert mean_iou_interval(counts, seed=1) != mean_iou_interval(counts, seed=2)


@pytest.mark.parametrize("counts", [np.ones((1, 3, 2)), np.zeros((0, 3, 2)), np.zeros((5, 3, 2))])
def test_no_interval_without_images_or_pixels(counts):
    assert all(math.isnan(limit) for limit in mean_iou_interval(counts))
