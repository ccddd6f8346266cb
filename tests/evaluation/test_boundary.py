import numpy as np
import pytest

from rankmatch_keras.evaluation import BoundaryCounts, boundary
from rankmatch_keras.evaluation.boundary import boundary_distance

pytestmark = pytest.mark.once


def slow_boundary(region, distance):
    """Return the pixels of a region within a chessboard distance of a pixel outside the region or the image."""
    height, width = region.shape
    result = np.zeros_like(region)
    for y, x in zip(*np.nonzero(region), strict=True):
        for v in range(y - distance, y + distance + 1):
            for u in range(x - distance, x + distance + 1):
                inside = 0 <= v < height and 0 <= u < width and region[v, u]
                result[y, x] |= not inside
    return result


def slow_counts(mask, prediction, num_classes, ignore_index=255):
    valid = mask != ignore_index
    distance = max(1, int(round(0.02 * np.sqrt(mask.shape[0] ** 2 + mask.shape[1] ** 2))))
    counts = np.zeros((3, num_classes), int)
    for k in range(num_classes):
        truth = slow_boundary((mask == k) & valid, distance)
        predicted = slow_boundary((prediction == k) & valid, distance)
        counts[:, k] = (truth & predicted).sum(), truth.sum(), predicted.sum()
    return counts


def _blobs(height, width, num_classes, seed):
    """Make random class ids in patches, so that regions have an inside."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, num_classes, (height // 9 + 1, width // 9 + 1))
    return np.kron(small, np.ones((9, 9), int))[:height, :width]


def test_by_hand():
    """5 x 5 pixels, distance 1: the boundary of a single class is the outer ring, 25 - 9 = 16 pixels."""
    mask = np.zeros((5, 5), int)
    prediction = mask.copy()
    prediction[2, 2] = 1
    counts = BoundaryCounts(3)
    counts.update(mask, prediction)
    # The wrong center pixel puts all 24 others on the boundary of predicted class 0, and itself on that of class 1.
    assert counts.counts.tolist() == [[16, 0, 0], [16, 0, 0], [24, 1, 0]]
    np.testing.assert_array_equal(counts.iou(), [16 / 24, 0, np.nan])


def test_a_perfect_prediction_scores_one_even_beside_ignored_pixels():
    mask = _blobs(40, 50, 3, 0)
    mask[10:14] = 255
    counts = BoundaryCounts(3)
    counts.update(mask, np.where(mask == 255, 1, mask))
    assert counts.iou().tolist() == [1, 1, 1]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (30, 41), (75, 80)])
@pytest.mark.parametrize("ignore_index", [255, -1, 2])
def test_equals_the_slow_definition(size, ignore_index):
    mask, prediction = _blobs(*size, 4, 0), _blobs(*size, 4, 1)
    mask[np.random.default_rng(2).random(size) < 0.02] = ignore_index
    counts = BoundaryCounts(4, ignore_index)
    counts.update(mask, prediction.astype(np.uint8))
    np.testing.assert_array_equal(counts.counts, slow_counts(mask, prediction, 4, ignore_index))


def test_blocks_of_rows_change_nothing(monkeypatch):
    mask, prediction = _blobs(120, 90, 4, 3), _blobs(120, 90, 4, 4)
    whole, blocks = BoundaryCounts(4), BoundaryCounts(4)
    whole.update(mask, prediction)
    taken = []

    def three_rows(height, *_):
        for first in range(0, height, 3):
            taken.append(first)
            yield slice(first, min(first + 3, height))

    monkeypatch.setattr(boundary, "row_blocks", three_rows)
    blocks.update(mask, prediction)
    assert len(taken) == 40
    np.testing.assert_array_equal(blocks.counts, whole.counts)


def test_counts_add_up_over_images():
    one, two, both = BoundaryCounts(2), BoundaryCounts(2), BoundaryCounts(2)
    pairs = [(_blobs(20, 30, 2, seed), _blobs(20, 30, 2, seed + 9)) for seed in range(2)]
    one.update(*pairs[0])
    two.update(*pairs[1])
    for pair in pairs:
        both.update(*pair)
    np.testing.assert_array_equal(both.counts, one.counts + two.counts)


def test_arguments_are_not_modified():
    mask, prediction = _blobs(20, 30, 2, 0).astype(np.uint8), _blobs(20, 30, 2, 1).astype(np.uint8)
    mask[3] = 255
    before = mask.copy(), prediction.copy()
    BoundaryCounts(2).update(mask, prediction)
    np.testing.assert_array_equal((mask, prediction), before)


def test_distance():
    """2% of the diagonal: 625 on 500 x 375, 2290 on 2048 x 1024."""
    assert boundary_distance((375, 500)) == 12
    assert boundary_distance((1024, 2048)) == 46
    assert boundary_distance((3, 3)) == 1


@pytest.mark.parametrize("num_classes", [255, 256, 300])
def test_many_classes(num_classes):
    mask = np.full((3, 3), num_classes - 1)
    counts = BoundaryCounts(num_classes, ignore_index=-1)
    counts.update(mask, mask)
    assert counts.counts[:, -1].tolist() == [8, 8, 8]
