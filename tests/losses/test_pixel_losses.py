"""Cross-entropy, focal and Dice loss of labels and of pseudo-labels: slow twins in float64, and values by hand."""

import numpy as np
import pytest
from replicas_in_turn import InTurn

from rankmatch_keras.losses import SupervisedLoss, WeightedConsistencyLoss

KINDS = ("ce", "dice", "ce+dice", "focal")
CLASS_WEIGHTS = (0.5, 2.0, 1.0, 3.0)
every_kind = pytest.mark.parametrize("kind", KINDS)
weighted_or_not = pytest.mark.parametrize("class_weights", [None, CLASS_WEIGHTS], ids=["equal", "weighted"])
LOG3 = np.log(3.0)


@pytest.fixture
def case():
    """Masks with ignored pixels and no pixel of class 2, logits of four classes, and weights of pixels."""
    rng = np.random.default_rng(0)
    mask = rng.choice(np.int32([0, 1, 3, 255]), (2, 3, 5))
    return mask, rng.normal(scale=2.0, size=(2, 3, 5, 4)).astype("float32"), rng.uniform(size=mask.shape)


def dice_twin(pixels, class_weights):
    """Pixels are (label, weight, probabilities); classes without labeled pixels are left out."""
    losses, weights = [], []
    for number, class_weight in enumerate(class_weights):
        shown = sum(w for label, w, _ in pixels if label == number)
        if shown > 0:
            common = sum(w * p[number] for label, w, p in pixels if label == number)
            found = sum(w * p[number] ** 2 for _, w, p in pixels)
            losses.append(class_weight * (1 - (2 * common + 1e-5) / (found + shown + 1e-5)))
            weights.append(class_weight)
    return sum(losses) / sum(weights)


def twin(kind, label, weight, logits, class_weights, divisor=None):
    """Pixel by pixel; the divisor of the cross-entropies is the sum of all weights where none is given."""
    class_weights = np.ones(4) if class_weights is None else class_weights
    pixels = []
    for place in np.ndindex(label.shape):
        odds = np.exp(np.float64(logits[place]))
        pixels.append((label[place], np.float64(weight[place]), odds / odds.sum()))
    total = sum_of_weights = 0.0
    for number, w, p in pixels:
        if w > 0:
            focus = (1 - p[number]) ** 2 if kind == "focal" else 1.0
            total -= class_weights[number] * w * focus * np.log(p[number])
            sum_of_weights += class_weights[number] * w
    mean = total / (sum_of_weights if divisor is None else divisor)
    if kind in ("ce", "focal"):
        return mean
    dice = dice_twin(pixels, class_weights)
    return dice if kind == "dice" else (mean + dice) / 2


@every_kind
@weighted_or_not
def test_labels_against_a_twin(kind, class_weights, case, value_and_gradient, finite_differences):
    mask, logits, _ = case
    layer = SupervisedLoss(kind=kind, class_weights=class_weights)
    value, gradient = value_and_gradient(lambda z: layer(mask, z), logits)

    def slow(z):
        return twin(kind, mask, mask != 255, z, class_weights)

    assert value == pytest.approx(slow(logits), rel=1e-5)
    np.testing.assert_allclose(gradient, finite_differences(slow, logits), rtol=1e-4, atol=1e-6)
    assert (gradient[mask == 255] == 0).all()


@every_kind
@weighted_or_not
def test_pseudo_labels_against_a_twin(kind, class_weights, case, value_and_gradient, finite_differences):
    mask, logits, weight = case
    label, valid = np.where(mask == 255, 1, mask), mask != 255
    weight = np.where(weight < 0.3, 0.0, weight).astype("float32")
    layer = WeightedConsistencyLoss("valid", kind, class_weights)
    value, gradient = value_and_gradient(lambda z: layer(label, weight, valid, z), logits)

    def slow(z):
        return twin(kind, label, weight * valid, z, class_weights, divisor=valid.sum())

    assert value == pytest.approx(slow(logits), rel=1e-5)
    np.testing.assert_allclose(gradient, finite_differences(slow, logits), rtol=1e-4, atol=1e-6)


def test_one_pixel_by_hand():
    mask, logits = np.int32([[[0]]]), np.float32([[[[LOG3, 0.0]]]])  # probabilities 3/4 and 1/4
    expected = {"ce": np.log(4 / 3), "focal": np.log(4 / 3) / 16, "dice": 1 - 2 * (3 / 4) / (9 / 16 + 1)}
    expected["ce+dice"] = (expected["ce"] + expected["dice"]) / 2
    for kind in KINDS:
        assert float(SupervisedLoss(kind=kind)(mask, logits)) == pytest.approx(expected[kind], rel=1e-4), kind


@every_kind
def test_a_mean_with_class_weights_depends_on_their_ratio_alone(kind, case):
    mask, logits, _ = case
    values = [
        float(SupervisedLoss(kind=kind, class_weights=factor * np.array(CLASS_WEIGHTS))(mask, logits))
        for factor in (1.0, 1e-3)
    ]
    assert values[1] == pytest.approx(values[0], rel=1e-4)


@every_kind
@weighted_or_not
def test_nothing_labeled_is_zero_with_zero_gradient(kind, class_weights, case, value_and_gradient):
    mask, logits, weight = case
    supervised = SupervisedLoss(kind=kind, class_weights=class_weights)
    consistency = WeightedConsistencyLoss("valid", kind, class_weights)
    for function in (
        lambda z: supervised(np.full_like(mask, 255), z),
        lambda z: consistency(0 * mask, weight, mask > 255, z),
        lambda z: consistency(0 * mask, 0 * weight, mask >= 0, z),
    ):
        value, gradient = value_and_gradient(function, logits)
        assert value == 0.0
        np.testing.assert_array_equal(gradient, np.zeros_like(logits))


@every_kind
def test_pixels_of_a_class_of_weight_zero_teach_nothing_by_themselves(kind, case, value_and_gradient):
    mask, logits, _ = case
    layer = SupervisedLoss(kind=kind, class_weights=(0.0, 1.0, 1.0, 1.0))
    value, gradient = value_and_gradient(lambda z: layer(np.where(mask == 255, mask, 0), z), logits)
    assert value == 0.0 and (gradient == 0.0).all()


@every_kind
def test_certain_pixels_have_finite_gradients(kind, value_and_gradient):
    mask, logits = np.int32([[[0, 1]]]), np.float32([[[[1e4, 0.0], [1e4, 0.0]]]])  # right, and wrong
    value, gradient = value_and_gradient(lambda z: SupervisedLoss(kind=kind)(mask, z), logits)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_hard_examples_are_chosen_before_classes_are_weighted():
    # Probabilities of the true class 3/4, 1/2, 1/4: up to 0.6 the last two, of weights 1 and 3.
    mask, logits = np.int32([[[0, 0, 1]]]), np.float32([[[[LOG3, 0.0], [0.0, 0.0], [LOG3, 0.0]]]])
    value = SupervisedLoss(ohem=(0.6, 1), class_weights=(1.0, 3.0))(mask, logits)
    assert float(value) == pytest.approx((np.log(2) + 3 * np.log(4)) / 4, rel=1e-6)


@every_kind
@weighted_or_not
def test_mean_gradient_of_the_replicas_is_that_of_the_whole_batch(kind, class_weights, case, value_and_gradient):
    mask, logits, weight = case
    mask[0, :, 1:], mask[1, 0] = 255, 3  # few labeled pixels on the first, and a class that the other alone shows most
    supervised = SupervisedLoss(kind=kind, class_weights=class_weights)
    consistency = WeightedConsistencyLoss("weight", kind, class_weights)
    label, valid, weight = np.where(mask == 255, 1, mask), mask != 255, weight.astype("float32")
    for function in (
        lambda z, own: supervised(mask[own], z),
        lambda z, own: consistency(label[own], weight[own], valid[own], z),
    ):
        value, gradient = value_and_gradient(lambda z, f=function: f(z, slice(None)), logits)
        with InTurn(2) as replicas:
            replicas.learn(lambda i, f=function: f(logits[i : i + 1], slice(i, i + 1)))
            parts = [
                replicas.play(
                    number,
                    lambda i, f=function: value_and_gradient(lambda z: f(z, slice(i, i + 1)), logits[i : i + 1]),
                )
                for number in range(2)
            ]
        assert np.mean([part[0] for part in parts]) == pytest.approx(value, rel=1e-5)
        # Each image is on one replica: the mean of both gradients has half of its own.
        np.testing.assert_allclose(np.concatenate([part[1] for part in parts]) / 2, gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "mse"}, "Expected a loss in .*Received: 'mse'"),
        ({"class_weights": (1.0, -1.0)}, "at least 0, not all 0"),
        ({"class_weights": (0.0, 0.0)}, "at least 0, not all 0"),
        ({"class_weights": ()}, "at least 0, not all 0"),
    ],
)
@pytest.mark.parametrize("loss", [SupervisedLoss, WeightedConsistencyLoss])
def test_wrong_options(loss, arguments, message):
    with pytest.raises(ValueError, match=message):
        loss(**arguments)
