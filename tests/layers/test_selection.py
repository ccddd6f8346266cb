"""Selections of pseudo-labels and their alignment: slow twins in float64 over several batches."""

import numpy as np
import pytest
from keras import ops
from replicas_in_turn import InTurn

from rankmatch_keras.layers.selection import (
    ClassThreshold,
    ConfidenceWeight,
    DistributionAlignment,
    FixedThreshold,
    SquaredConfidence,
)

CLASSES, MOMENTUM, STEPS = 3, 0.8, 4
SELECTIONS = {
    "adaptive": lambda: ClassThreshold(CLASSES, momentum=MOMENTUM),
    "soft": lambda: ConfidenceWeight(CLASSES, momentum=MOMENTUM),
    "alignment": lambda: DistributionAlignment(CLASSES, 0.5, momentum=MOMENTUM),
}


def numpy(value):
    return np.float64(ops.convert_to_numpy(value))


def batch_of(seed):
    """Probabilities, labels, confidences and which pixels are no padding."""
    rng = np.random.default_rng(seed)
    odds = np.exp(rng.normal(scale=2.0, size=(2, 4, 5, CLASSES)) + [1.0, 0.0, -1.0])
    probabilities = (odds / odds.sum(-1, keepdims=True)).astype("float32")
    valid = rng.uniform(size=(2, 4, 5)) < 0.7
    return probabilities, probabilities.argmax(-1).astype("int32"), probabilities.max(-1), valid


def tensors(*arrays):
    return [ops.convert_to_tensor(array) for array in arrays]


def updated(layer, steps=range(STEPS), rows=slice(None)):
    for seed in steps:
        probabilities, _, confidence, valid = batch_of(seed)
        layer.update(*tensors(probabilities[rows], confidence[rows], valid[rows]))
    return layer


def moved(old, new):
    return MOMENTUM * old + (1 - MOMENTUM) * new


def state_of(layer):
    return [numpy(variable) for variable in layer.variables]


def test_thresholds_per_class_against_a_twin():
    layer, tau, p = SELECTIONS["adaptive"](), 1 / CLASSES, np.full(CLASSES, 1 / CLASSES)
    for seed in range(STEPS):
        probabilities, label, confidence, valid = batch_of(seed)
        layer.update(*tensors(probabilities, confidence, valid))
        tau = moved(tau, np.mean(np.float64(confidence)[valid]))
        p = moved(p, np.mean(np.float64(probabilities)[valid], axis=0))
        thresholds = tau * p / p.max()
        np.testing.assert_allclose(numpy(layer.thresholds()), thresholds, rtol=1e-5)
        weight = numpy(layer(*tensors(label, confidence)))
        np.testing.assert_array_equal(weight, confidence >= thresholds[label])
    assert 0 < weight.mean() < 1


def test_soft_weights_against_a_twin():
    layer, mu, v = SELECTIONS["soft"](), 1 / CLASSES, 1.0
    for seed in range(STEPS):
        probabilities, label, confidence, valid = batch_of(seed)
        layer.update(*tensors(probabilities, confidence, valid))
        counted = np.float64(confidence)[valid]
        mu, v = moved(mu, counted.mean()), moved(v, counted.var())
        expected = np.exp(-(np.minimum(confidence - mu, 0.0) ** 2) / (2 * v / 4))
        weight = numpy(layer(*tensors(label, confidence)))
        np.testing.assert_allclose(weight, expected, rtol=1e-5)
        assert weight.min() < 1.0 == weight.max()


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_alignment_against_a_twin(strength):
    layer = DistributionAlignment(CLASSES, strength, momentum=MOMENTUM)
    shown = found = np.full(CLASSES, 1 / CLASSES)
    for seed in range(STEPS):
        probabilities, _, confidence, valid = batch_of(seed)
        mask = np.random.default_rng(seed + 9).choice(np.int32([0, 1, 1, 1, 255]), valid.shape)
        layer.update_labeled(*tensors(mask, mask != 255))
        layer.update(*tensors(probabilities, confidence, valid))
        shown = moved(shown, np.bincount(mask[mask != 255], minlength=CLASSES) / (mask != 255).sum())
        found = moved(found, np.mean(np.float64(probabilities)[valid], axis=0))
        logits = np.log(probabilities)
        aligned = np.float64(probabilities) * (shown / found) ** strength
        odds = np.exp(numpy(layer(*tensors(logits))))
        np.testing.assert_allclose(
            odds / odds.sum(-1, keepdims=True), aligned / aligned.sum(-1, keepdims=True), rtol=1e-5
        )


def test_factors_of_the_alignment_are_limited():
    layer = DistributionAlignment(2, 1.0, momentum=0.0)
    layer.update_labeled(np.zeros((1, 1, 4), "int32"), np.ones((1, 1, 4), bool))  # class 0 alone
    layer.update(np.float32([[[[0.01, 0.99]] * 4]]), None, np.ones((1, 1, 4), bool))
    aligned = numpy(layer(np.zeros((1, 1, 1, 2), "float32")))
    np.testing.assert_allclose(aligned[0, 0, 0], np.log([10.0, 0.1]), rtol=1e-5)  # not 100, nor 0


@pytest.mark.parametrize("name", SELECTIONS)
def test_padding_is_left_out(name):
    probabilities, _, confidence, valid = batch_of(0)
    other = np.where(valid[..., None], probabilities, np.float32([0.0, 0.0, 1.0]))
    layers = [SELECTIONS[name]() for _ in range(2)]
    layers[0].update(*tensors(probabilities, confidence, valid))
    layers[1].update(*tensors(other, np.where(valid, confidence, np.float32(1.0)), valid))
    for one, two in zip(*map(state_of, layers), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_batch_of_padding_leaves_the_state_alone(name):
    layer = updated(SELECTIONS[name]())
    before, (probabilities, _, confidence, valid) = state_of(layer), batch_of(7)
    layer.update(*tensors(probabilities, confidence, valid & False))
    if name == "alignment":
        layer.update_labeled(*tensors(np.zeros(valid.shape, "int32"), valid & False))
    for old, new in zip(before, state_of(layer), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", ["adaptive", "soft"])
def test_weights_have_no_gradient(name, value_and_gradient):
    layer, (_, label, confidence, _) = updated(SELECTIONS[name]()), batch_of(0)
    _, gradient = value_and_gradient(lambda c: ops.sum(layer(*tensors(label), c)) + 0.0 * ops.sum(c), confidence)
    np.testing.assert_array_equal(gradient, np.zeros_like(confidence))


@pytest.mark.parametrize("name", SELECTIONS)
def test_replicas_learn_from_all_pixels(name):
    expected = state_of(updated(SELECTIONS[name]()))
    with InTurn(2) as replicas:
        replicas.learn(lambda i: updated(SELECTIONS[name](), rows=slice(i, i + 1)))
        for number in range(2):
            layer = replicas.play(number, lambda i: updated(SELECTIONS[name](), rows=slice(i, i + 1)))
            for one, two in zip(state_of(layer), expected, strict=True):
                np.testing.assert_allclose(one, two, rtol=1e-5)


def test_a_confidence_equal_to_a_fixed_threshold_counts():
    weight = numpy(FixedThreshold(0.5)(np.zeros((1, 1, 3), "int32"), np.float32([[[0.4, 0.5, 0.6]]])))
    assert weight.tolist() == [[[0.0, 1.0, 1.0]]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedThreshold(1.1), "threshold=1.1"),
        (lambda: ClassThreshold(3, momentum=-0.1), "momentum=-0.1"),
        (lambda: DistributionAlignment(3, strength=2.0), "strength=2.0"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=f"from 0 to 1. Received: {message}"):
        make()


def test_the_squared_confidence_by_hand():
    weight = SquaredConfidence()(*tensors(np.int32([[[0, 1, 2]]]), np.float32([[[0.5, 0.9, 1.0]]])))
    np.testing.assert_allclose(numpy(weight), [[[0.25, 0.81, 1.0]]], rtol=1e-6)
