import numpy as np
import pytest
from keras import ops

from rankmatch_keras.losses import PixelConsistencyLoss

LOG3 = np.log(3.0)
LABEL = np.array([[[0, 1, 0, 1]]], dtype="int32")
LOGITS = np.float32([[[[LOG3, 0.0], [LOG3, 0.0], [0.0, 0.0], [0.0, 9.0]]]])
CROSS_ENTROPY = np.log([4 / 3, 4.0, 2.0, 1 + np.exp(-9.0)])


def loss(confidence, valid, threshold=0.95, logits=LOGITS):
    layer = PixelConsistencyLoss(threshold)
    return float(layer(LABEL, np.float32([[confidence]]), np.array([[valid]], dtype=bool), logits))


def test_only_confident_pixels_count_but_all_valid_ones_divide():
    # Pixels 0 and 1 are sure; four are valid.
    value = loss([0.99, 0.96, 0.9, 0.5], [True] * 4)
    assert value == pytest.approx(CROSS_ENTROPY[:2].sum() / 4, rel=1e-6)


def test_padding_counts_neither_way():
    # Pixel 1 is sure but padding: it leaves sum and divisor.
    value = loss([0.99, 0.96, 0.9, 0.5], [True, False, True, True])
    assert value == pytest.approx(CROSS_ENTROPY[0] / 3, rel=1e-6)


def test_confidence_equal_to_the_threshold_counts():
    assert loss([0.5, 0.0, 0.0, 0.0], [True] * 4, threshold=0.5) == pytest.approx(CROSS_ENTROPY[0] / 4, rel=1e-6)


def test_threshold_zero_is_the_mean():
    assert loss([0.0] * 4, [True] * 4, threshold=0.0) == pytest.approx(CROSS_ENTROPY.mean(), rel=1e-6)


@pytest.mark.parametrize(("confidence", "valid"), [([0.9] * 4, [True] * 4), ([0.99] * 4, [False] * 4)])
def test_nothing_to_learn_is_zero(confidence, valid):
    assert loss(confidence, valid) == 0.0


def test_gradient_is_softmax_minus_label_where_counted(value_and_gradient):
    confidence, valid = np.float32([[[0.99, 0.96, 0.9, 0.99]]]), np.array([[[True, True, True, False]]])
    _, gradient = value_and_gradient(lambda z: PixelConsistencyLoss()(LABEL, confidence, valid, z), LOGITS)
    expected = np.zeros((1, 1, 4, 2))
    expected[0, 0, 0] = np.array([0.75 - 1.0, 0.25]) / 3
    expected[0, 0, 1] = np.array([0.75, 0.25 - 1.0]) / 3
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)


def test_certain_and_wrong_stays_finite(value_and_gradient):
    logits = np.float32([[[[1e4, 0.0]] * 4]])
    value, gradient = value_and_gradient(
        lambda z: PixelConsistencyLoss(0.0)(LABEL, np.ones((1, 1, 4), "float32"), np.ones((1, 1, 4), bool), z), logits
    )
    assert value == pytest.approx(5e3)  # half of the pixels are wrong by 1e4
    assert np.isfinite(gradient).all()


def test_valid_may_be_numbers():
    layer = PixelConsistencyLoss(0.0)
    value = layer(LABEL, np.ones((1, 1, 4), "float32"), ops.convert_to_tensor(np.float32([[[1, 0, 0, 1]]])), LOGITS)
    assert float(value) == pytest.approx(CROSS_ENTROPY[[0, 3]].mean(), rel=1e-5)


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_wrong_threshold(threshold):
    with pytest.raises(ValueError, match=f"Expected a threshold from 0 to 1. Received: threshold={threshold}"):
        PixelConsistencyLoss(threshold)
