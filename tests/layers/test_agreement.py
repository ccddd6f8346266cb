import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers.agreement import class_weighted_iou, opposite_ranks


def twin(prediction, reference, valid, background):
    """Written as it is said, one image after the other."""
    values = []
    for p, r, v in zip(prediction, reference, valid, strict=True):
        p, r = p[v], r[v]
        classes = [c for c in np.unique(r) if c != background] or list(np.unique(r))
        shares = [(r == c).sum() for c in classes]
        ious = [((p == c) & (r == c)).sum() / ((p == c) | (r == c)).sum() for c in classes]
        values.append(np.average(ious, weights=shares) if classes else 0.0)
    return values


@pytest.mark.parametrize("background", [0, 2, None])
def test_like_its_twin(background):
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 4, (5, 6, 7)).astype("int32")
    prediction = np.where(rng.uniform(size=reference.shape) < 0.6, reference, rng.integers(0, 4, reference.shape))
    reference[1], prediction[2], reference[2] = 0, 0, 0  # background alone, in one and in both
    valid = rng.uniform(size=reference.shape) < 0.8
    valid[3] = False
    found = ops.convert_to_numpy(class_weighted_iou(prediction.astype("int32"), reference, valid, 4, background))
    np.testing.assert_allclose(found, twin(prediction, reference, valid, background), rtol=1e-5)
    assert found[2] == 1.0 and found[3] == 0.0


def test_by_hand():
    # Class 1: 2 of 3 pixels shared; class 2: 1 of 2. In the reference they have 3 and 1 pixels.
    reference, prediction = np.int32([[[1, 1, 1, 2, 0]]]), np.int32([[[1, 1, 2, 2, 0]]])
    found = class_weighted_iou(prediction, reference, np.ones((1, 1, 5), bool), 3)
    assert float(ops.convert_to_numpy(found)[0]) == pytest.approx((3 * 2 / 3 + 1 * 1 / 2) / 4)


@pytest.mark.parametrize(
    ("score", "partners"),
    [([0.1, 0.9, 0.5, 0.3], [1, 0, 3, 2]), ([0.1, 0.9, 0.5], [1, 0, 2]), ([1.0, 1.0, 1.0, 1.0], [3, 2, 1, 0])],
)
def test_the_easiest_meets_the_hardest(score, partners):
    assert ops.convert_to_numpy(opposite_ranks(ops.convert_to_tensor(np.float32(score)))).tolist() == partners
