import numpy as np
import pytest
from keras import ops

from rankmatch_keras.backend.replicas import Replicas, set_replicas
from rankmatch_keras.losses import (
    PixelConsistencyLoss,
    ProbabilityConsistencyLoss,
    WeightedConsistencyLoss,
    kept_fraction,
)

LOG3 = np.log(3.0)
LABEL = np.array([[[0, 1, 0, 1]]], dtype="int32")
LOGITS = np.float32([[[[LOG3, 0.0], [LOG3, 0.0], [0.0, 0.0], [0.0, 9.0]]]])
CROSS_ENTROPY = np.log([4 / 3, 4.0, 2.0, 1 + np.exp(-9.0)])


def pixel_loss(confidence, valid, threshold=0.95, logits=LOGITS):
    layer = PixelConsistencyLoss(threshold)
    return float(layer(LABEL, np.float32([[confidence]]), np.array([[valid]], dtype=bool), logits))


def test_confident_pixels_are_summed_and_valid_ones_divide():
    # Pixels 0 and 1 are sure; four are valid.
    value = pixel_loss([0.99, 0.96, 0.9, 0.5], [True] * 4)
    assert value == pytest.approx(CROSS_ENTROPY[:2].sum() / 4, rel=1e-6)


def test_padding_is_left_out_of_both_sums():
    # Pixel 1 is sure but padding: it leaves sum and divisor.
    value = pixel_loss([0.99, 0.96, 0.9, 0.5], [True, False, True, True])
    assert value == pytest.approx(CROSS_ENTROPY[0] / 3, rel=1e-6)


def test_confidence_equal_to_the_threshold_is_kept():
    assert pixel_loss([0.5, 0.0, 0.0, 0.0], [True] * 4, threshold=0.5) == pytest.approx(CROSS_ENTROPY[0] / 4, rel=1e-6)


def test_threshold_zero_is_the_mean():
    assert pixel_loss([0.0] * 4, [True] * 4, threshold=0.0) == pytest.approx(CROSS_ENTROPY.mean(), rel=1e-6)


@pytest.mark.parametrize(("confidence", "valid"), [([0.9] * 4, [True] * 4), ([0.99] * 4, [False] * 4)])
def test_nothing_to_learn_is_zero(confidence, valid):
    assert pixel_loss(confidence, valid) == 0.0


def test_gradient_is_softmax_minus_label_where_kept(value_and_gradient):
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


LOG3 = np.log(3.0)
WEIGHTED_LABEL = np.array([[[0, 1, 0]], [[1, 0, 1]]], dtype="int32")
WEIGHTED_LOGITS = np.float32([[[[LOG3, 0.0], [LOG3, 0.0], [0.0, 0.0]]], [[[0.0, LOG3], [0.0, 0.0], [LOG3, 0.0]]]])
WEIGHTED_CROSS_ENTROPY = np.log([4 / 3, 4.0, 2.0, 4 / 3, 2.0, 4.0])
WEIGHT = np.float32([[[1.0, 0.0, 0.5]], [[0.25, 1.0, 0.0]]])
VALID = np.array([[[True, True, True]], [[True, False, True]]])
# The fifth pixel is padding.
TOTAL = WEIGHTED_CROSS_ENTROPY[0] + 0.5 * WEIGHTED_CROSS_ENTROPY[2] + 0.25 * WEIGHTED_CROSS_ENTROPY[3]


@pytest.mark.parametrize(
    ("normalizer", "expected"),
    [
        ("all", TOTAL / 6),
        ("valid", TOTAL / 5),
        ("kept", TOTAL / 3),
        ("weight", TOTAL / 1.75),
        ("boosted", TOTAL / 3 * 6 / 3),
    ],
)
def test_normalizers(normalizer, expected):
    assert float(WeightedConsistencyLoss(normalizer)(WEIGHTED_LABEL, WEIGHT, VALID, WEIGHTED_LOGITS)) == pytest.approx(
        expected, rel=1e-6
    )


@pytest.mark.parametrize("normalizer", ["all", "valid", "kept", "weight", "boosted"])
def test_no_weight_is_zero(normalizer):
    assert float(WeightedConsistencyLoss(normalizer)(WEIGHTED_LABEL, 0 * WEIGHT, VALID, WEIGHTED_LOGITS)) == 0.0
    assert float(WeightedConsistencyLoss(normalizer)(WEIGHTED_LABEL, WEIGHT, VALID & False, WEIGHTED_LOGITS)) == 0.0


def test_small_weights_still_make_a_mean():
    value = WeightedConsistencyLoss("weight")(WEIGHTED_LABEL, 1e-3 * WEIGHT, VALID, WEIGHTED_LOGITS)
    assert float(value) == pytest.approx(TOTAL / 1.75, rel=1e-5)


def test_valid_with_a_threshold_is_the_loss_of_unimatch():
    confidence = np.float32(np.random.default_rng(0).uniform(size=WEIGHTED_LABEL.shape))
    expected = PixelConsistencyLoss(0.5)(WEIGHTED_LABEL, confidence, VALID, WEIGHTED_LOGITS)
    value = WeightedConsistencyLoss("valid")(WEIGHTED_LABEL, confidence >= 0.5, VALID, WEIGHTED_LOGITS)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)


def test_kept_fraction_weights_whole_images():
    confidence = np.float32([[[0.9, 0.96, 0.97]], [[0.2, 0.95, 0.1]]])
    rate = ops.convert_to_numpy(kept_fraction(confidence, 0.95))
    np.testing.assert_allclose(rate[:, 0, 0], [2 / 3, 1 / 3], rtol=1e-6)
    value = WeightedConsistencyLoss("kept")(WEIGHTED_LABEL, ops.convert_to_tensor(rate), VALID, WEIGHTED_LOGITS)
    expected = (2 / 3 * WEIGHTED_CROSS_ENTROPY[:3].sum() + 1 / 3 * WEIGHTED_CROSS_ENTROPY[[3, 5]].sum()) / 5
    assert float(value) == pytest.approx(expected, rel=1e-6)


def test_gradient_follows_the_weights(value_and_gradient):
    _, gradient = value_and_gradient(
        lambda z: WeightedConsistencyLoss("all")(WEIGHTED_LABEL, WEIGHT, VALID, z), WEIGHTED_LOGITS
    )
    probability = np.exp(WEIGHTED_LOGITS) / np.exp(WEIGHTED_LOGITS).sum(-1, keepdims=True)
    expected = (probability - np.eye(2)[WEIGHTED_LABEL]) * (WEIGHT * VALID)[..., None] / 6
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("normalizer", ["all", "valid", "kept", "weight", "boosted"])
def test_the_mean_over_replicas_is_the_loss_of_the_whole_batch(normalizer):
    class OneOf(Replicas):
        """The other one sees the other image."""

        count = 2

        def __init__(self, number):
            self.number = number

        def sum(self, value):
            for total, parts in SUMS:
                if abs(float(ops.convert_to_numpy(value)) - parts[self.number]) < 1e-6:
                    return value * 0.0 + total
            raise AssertionError(f"unknown share {value}")

    # Pixels, valid, kept, sum of weights: of both, and of each.
    SUMS = [(6.0, (3.0, 3.0)), (5.0, (3.0, 2.0)), (3.0, (2.0, 1.0)), (1.75, (1.5, 0.25))]
    if normalizer == "valid":
        SUMS = SUMS[1:]
    layer, parts = WeightedConsistencyLoss(normalizer), []
    whole = float(layer(WEIGHTED_LABEL, WEIGHT, VALID, WEIGHTED_LOGITS))
    try:
        for number in range(2):
            set_replicas(OneOf(number))
            own = slice(number, number + 1)
            parts.append(float(layer(WEIGHTED_LABEL[own], WEIGHT[own], VALID[own], WEIGHTED_LOGITS[own])))
    finally:
        set_replicas(Replicas())
    assert np.mean(parts) == pytest.approx(whole, rel=1e-6)


def test_wrong_normalizer():
    with pytest.raises(ValueError, match="Received: normalizer='mean'"):
        WeightedConsistencyLoss("mean")


LOG3 = np.log(3.0)
# Probabilities (3/4, 1/4) and (1/2, 1/2) of the student, (1/4, 3/4) and (1/2, 1/2) of the teacher.
STUDENT = np.float32([[[[LOG3, 0.0], [0.0, 0.0]]]])
TEACHER = np.float32([[[[0.0, LOG3], [1.0, 1.0]]]])
ONES = np.ones((1, 1, 2), "float32")


@pytest.mark.parametrize(("classes", "expected"), [("sum", 0.5 / 2), ("mean", 0.25 / 2)])
def test_squares_by_hand(classes, expected):
    # One pixel differs by 1/2 in both classes.
    assert float(ProbabilityConsistencyLoss(classes)(TEACHER, ONES, STUDENT)) == pytest.approx(expected, rel=1e-6)


def test_weights_are_not_normalized():
    loss = ProbabilityConsistencyLoss("sum")
    assert float(loss(TEACHER, 0.3 * ONES, STUDENT)) == pytest.approx(0.3 * 0.25, rel=1e-6)
    assert float(loss(TEACHER, np.array([[[False, True]]]), STUDENT)) == 0.0


def test_only_the_student_learns(value_and_gradient):
    loss = ProbabilityConsistencyLoss("sum")
    _, gradient = value_and_gradient(lambda z: loss(TEACHER, ONES, z), STUDENT)
    # Of |p - q|^2 by the logits: 2 p_k ((p - q)_k - sum_j p_j (p - q)_j), here p - q = (1/2, -1/2).
    expected = 2 * np.array([0.75, 0.25]) * (np.array([0.5, -0.5]) - 0.25) / 2
    np.testing.assert_allclose(gradient[0, 0], [expected, [0.0, 0.0]], rtol=1e-5, atol=1e-7)
    _, gradient = value_and_gradient(lambda z: loss(z, ONES, STUDENT) + 0.0 * ops.sum(z), TEACHER)
    np.testing.assert_array_equal(gradient, 0.0)


def test_wrong_classes():
    with pytest.raises(ValueError, match="Received: classes='max'"):
        ProbabilityConsistencyLoss("max")
