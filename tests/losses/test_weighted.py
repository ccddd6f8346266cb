import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers.replicas import Replicas, set_replicas
from rankmatch_keras.losses import PixelConsistencyLoss, WeightedConsistencyLoss, image_rate

LOG3 = np.log(3.0)
LABEL = np.array([[[0, 1, 0]], [[1, 0, 1]]], dtype="int32")
LOGITS = np.float32([[[[LOG3, 0.0], [LOG3, 0.0], [0.0, 0.0]]], [[[0.0, LOG3], [0.0, 0.0], [LOG3, 0.0]]]])
CROSS_ENTROPY = np.log([4 / 3, 4.0, 2.0, 4 / 3, 2.0, 4.0])
WEIGHT = np.float32([[[1.0, 0.0, 0.5]], [[0.25, 1.0, 0.0]]])
VALID = np.array([[[True, True, True]], [[True, False, True]]])
# The fifth pixel is padding.
TOTAL = CROSS_ENTROPY[0] + 0.5 * CROSS_ENTROPY[2] + 0.25 * CROSS_ENTROPY[3]


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
    assert float(WeightedConsistencyLoss(normalizer)(LABEL, WEIGHT, VALID, LOGITS)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("normalizer", ["all", "valid", "kept", "weight", "boosted"])
def test_nothing_to_learn_is_zero(normalizer):
    assert float(WeightedConsistencyLoss(normalizer)(LABEL, 0 * WEIGHT, VALID, LOGITS)) == 0.0
    assert float(WeightedConsistencyLoss(normalizer)(LABEL, WEIGHT, VALID & False, LOGITS)) == 0.0


def test_small_weights_still_make_a_mean():
    value = WeightedConsistencyLoss("weight")(LABEL, 1e-3 * WEIGHT, VALID, LOGITS)
    assert float(value) == pytest.approx(TOTAL / 1.75, rel=1e-5)


def test_valid_and_a_threshold_are_unimatchs_loss():
    confidence = np.float32(np.random.default_rng(0).uniform(size=LABEL.shape))
    expected = PixelConsistencyLoss(0.5)(LABEL, confidence, VALID, LOGITS)
    value = WeightedConsistencyLoss("valid")(LABEL, confidence >= 0.5, VALID, LOGITS)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)


def test_image_rate_weighs_whole_images():
    confidence = np.float32([[[0.9, 0.96, 0.97]], [[0.2, 0.95, 0.1]]])
    rate = ops.convert_to_numpy(image_rate(confidence, 0.95))
    np.testing.assert_allclose(rate[:, 0, 0], [2 / 3, 1 / 3], rtol=1e-6)
    value = WeightedConsistencyLoss("kept")(LABEL, ops.convert_to_tensor(rate), VALID, LOGITS)
    expected = (2 / 3 * CROSS_ENTROPY[:3].sum() + 1 / 3 * CROSS_ENTROPY[[3, 5]].sum()) / 5
    assert float(value) == pytest.approx(expected, rel=1e-6)


def test_gradient_follows_the_weights(value_and_gradient):
    _, gradient = value_and_gradient(lambda z: WeightedConsistencyLoss("all")(LABEL, WEIGHT, VALID, z), LOGITS)
    probability = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    expected = (probability - np.eye(2)[LABEL]) * (WEIGHT * VALID)[..., None] / 6
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
    whole = float(layer(LABEL, WEIGHT, VALID, LOGITS))
    try:
        for number in range(2):
            set_replicas(OneOf(number))
            own = slice(number, number + 1)
            parts.append(float(layer(LABEL[own], WEIGHT[own], VALID[own], LOGITS[own])))
    finally:
        set_replicas(Replicas())
    assert np.mean(parts) == pytest.approx(whole, rel=1e-6)


def test_wrong_normalizer():
    with pytest.raises(ValueError, match="Received: normalizer='mean'"):
        WeightedConsistencyLoss("mean")
