import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers import pseudo_labels
from rankmatch_keras.layers.pseudo_labels import masked_quantiles, pixel_entropy


def test_label_and_confidence_against_softmax():
    logits = np.random.default_rng(0).normal(scale=3.0, size=(2, 3, 4, 5)).astype("float32")
    probability = np.exp(np.float64(logits)) / np.exp(np.float64(logits)).sum(-1, keepdims=True)
    label, confidence = (ops.convert_to_numpy(x) for x in pseudo_labels(logits))
    assert label.dtype == np.int32 and confidence.dtype == np.float32
    np.testing.assert_array_equal(label, probability.argmax(-1))
    np.testing.assert_allclose(confidence, probability.max(-1), rtol=1e-6)


def test_by_hand():
    # softmax(log 3, 0) = 3/4, 1/4; two equal logits give 1/2 and the first class.
    label, confidence = pseudo_labels(np.float32([[[[np.log(3), 0.0], [1.0, 1.0]]]]))
    assert ops.convert_to_numpy(label).tolist() == [[[0, 0]]]
    np.testing.assert_allclose(ops.convert_to_numpy(confidence), [[[0.75, 0.5]]], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_extreme_logits(dtype):
    label, confidence = pseudo_labels(ops.cast([[[[-1e4, 1e4, 0.0]]]], dtype))
    assert keras.backend.standardize_dtype(confidence.dtype) == "float32"
    assert int(label[0, 0, 0]) == 1 and float(confidence[0, 0, 0]) == 1.0


def test_no_gradient(value_and_gradient):
    logits = np.random.default_rng(1).normal(size=(1, 2, 2, 3)).astype("float32")
    # The zero term connects the input, as every backend wants something to differentiate.
    _, gradient = value_and_gradient(lambda z: ops.sum(pseudo_labels(z)[1]) + 0.0 * ops.sum(z), logits)
    np.testing.assert_array_equal(gradient, np.zeros_like(logits))


def test_quantiles_match_numpy():
    values = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    mask = values > -0.5
    shares = (0.0, 0.2, 0.77, 1.0)
    found = [float(value) for value in masked_quantiles(values, mask, *shares)]
    np.testing.assert_allclose(found, np.quantile(values[mask], shares), rtol=1e-5, atol=1e-6)
    (nothing,) = masked_quantiles(values, np.zeros_like(mask), 0.5)
    assert float(nothing) == pytest.approx(1e30)


def test_entropy_in_nats():
    found = ops.convert_to_numpy(pixel_entropy(np.float32([[[[0.0, 0.0], [1000.0, 0.0], [np.log(3.0), 0.0]]]])))
    expected = [np.log(2), 0.0, -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))]
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-6)
