"""Neural process against a slow one in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.models.neural_process import NeuralProcess, gaussian_divergence

X = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(2, 9, 6, 7)).astype("float32"))


@pytest.fixture
def layer():
    keras.utils.set_random_seed(0)
    layer = NeuralProcess(3, channels=4, hidden=8, draws=2, seed=0)
    layer.build(X.shape)
    return layer


def weights(layer):
    names = ("summary", "gaussian", "condition", "classifier")
    return {name: [ops.convert_to_numpy(v) for v in getattr(layer, name).weights] for name in names}


def attend(code, centers):
    found = np.zeros((len(code), code.shape[-1]))
    for image in range(len(code)):
        pixels = code[image, ::4, ::4].reshape(-1, code.shape[-1])
        for value in range(code.shape[-1]):
            for pixel in pixels:
                attention = np.exp(-((pixel[value] - centers[:, value]) ** 2))
                found[image, value] += (attention / attention.sum()) @ centers[:, value] / len(pixels)
    return found


@pytest.mark.once
def test_inference_averages_the_probabilities_of_fixed_samples(layer):
    code = ops.convert_to_numpy(layer.code(X))
    centers, parts = ops.convert_to_numpy(layer.context_centers), weights(layer)
    r = attend(code, centers)
    (w1, b1), (w2, b2) = parts["summary"], parts["gaussian"]
    gaussian = np.maximum(r @ w1 + b1, 0) @ w2 + b2
    mean, deviation = gaussian[:, :4], 0.1 + 0.9 * np.log1p(np.exp(gaussian[:, 4:]))
    noise = np.random.default_rng(7).normal(size=(1, 2, 4))
    hidden = ops.convert_to_numpy(layer.normalization(layer.convolution(X)))
    (w3, b3), (w4, b4) = parts["condition"], parts["classifier"]
    expected = np.zeros((2, 9, 6, 3))
    for draw in range(2):
        condition = np.concatenate([mean + deviation * noise[0, draw], r], axis=-1) @ w3 + b3
        logits = np.maximum(hidden + condition[:, None, None], 0) @ w4 + b4
        expected += np.exp(logits) / np.exp(logits).sum(-1, keepdims=True) / 2
    for _ in range(2):
        found = ops.convert_to_numpy(ops.exp(layer(X, training=False)["logits"]))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # An image's prediction does not depend on the others.
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.exp(layer(X[1:])["logits"])), expected[1:], rtol=1e-4, atol=1e-5
    )


def test_training_samples_again(layer):
    first, second = (ops.convert_to_numpy(layer(X, training=True)["logits"]) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    noise = ops.convert_to_numpy(layer._noise(np.zeros((500, 4)), training=True))
    assert noise.shape == (500, 2, 4) and abs(noise.mean()) < 0.05 and abs(noise.std() - 1.0) < 0.05


def test_divergence_of_gaussians_by_hand():
    found = gaussian_divergence(*(np.float32([[a, b]]) for a, b in ((1.0, 0.0), (1.0, 2.0), (0.0, 0.0), (2.0, 2.0))))
    # ln(2 / 1) + (1 + 1) / (2 * 4) - 1/2 of the first component, none of the second.
    assert ops.convert_to_numpy(found) == pytest.approx([np.log(2.0) + 0.25 - 0.5])


def test_divergence_compares_target_and_context(layer):
    code = layer.code(X)
    assert ops.convert_to_numpy(layer.divergence(code)) > 0
    layer.target_centers.assign(layer.context_centers)
    assert ops.convert_to_numpy(layer.divergence(code)) == pytest.approx(0.0, abs=1e-6)


def test_only_the_convolution_gives_the_map_a_gradient(layer, value_and_gradient):
    layer.convolution.kernel.assign(0.0 * layer.convolution.kernel)
    _, gradient = value_and_gradient(
        lambda x: ops.sum(layer(x)["logits"] ** 2) + 0.0 * ops.sum(x), ops.convert_to_numpy(X)
    )
    np.testing.assert_array_equal(gradient, 0.0)


def test_config_round_trip():
    layer = NeuralProcess(3, channels=4, hidden=8, draws=2, seed=5)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (copy.num_classes, copy.channels, copy.hidden, copy.draws, copy.seed) == (3, 4, 8, 2, 5)
