"""Layers in a backend's own kernels give Keras' own outputs, gradients and statistics."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from rankmatch_keras.backend import step

BACKEND = keras.backend.backend()


def layer_of(name):
    """Return a new layer; one of each kind that a backend changes, and some that none may."""
    conv, depthwise = layers.Conv2D, layers.DepthwiseConv2D
    return {
        "1x1": lambda: conv(5, 1, activation="tanh"),
        "1x1 with stride": lambda: conv(5, 1, strides=2, padding="same", use_bias=False),
        "3x3": lambda: conv(5, 3, padding="same"),
        "dilated": lambda: conv(5, 3, padding="same", dilation_rate=5, use_bias=False),
        "dilated beyond the map": lambda: conv(5, (5, 1), padding="same", dilation_rate=7, use_bias=False),
        "dilated with bias": lambda: conv(5, 3, padding="same", dilation_rate=5, activation="relu"),
        "dilated, valid": lambda: conv(5, 3, dilation_rate=3, use_bias=False),
        "groups": lambda: conv(6, 1, groups=2),
        "depthwise": lambda: depthwise(3, padding="same", activation="tanh"),
        "depthwise with stride": lambda: depthwise(3, strides=2, padding="same", use_bias=False),
        "depthwise, valid": lambda: depthwise((3, 2), dilation_rate=(2, 3)),
        "depthwise, valid with stride": lambda: depthwise(3, strides=2, use_bias=False),
        "depthwise times two": lambda: depthwise(3, padding="same", depth_multiplier=2),
        "normalization": lambda: layers.BatchNormalization(momentum=0.9, epsilon=1e-3),
        "frozen normalization": lambda: layers.BatchNormalization(trainable=False),
    }[name]()


NAMES = [
    *("1x1", "1x1 with stride", "3x3", "dilated", "dilated beyond the map", "dilated with bias", "dilated, valid"),
    *("groups", "depthwise", "depthwise with stride", "depthwise, valid", "depthwise, valid with stride"),
    *("depthwise times two", "normalization", "frozen normalization"),
]


def network(name, channels=4):
    image = keras.Input((None, None, channels))
    model = keras.Model(image, layer_of(name)(image))
    rng = np.random.default_rng(0)
    for variable in model.variables:
        value = rng.normal(scale=0.3, size=tuple(variable.shape))
        variable.assign(0.5 + np.abs(value) if "variance" in variable.path else value)
    return model


def results(model, images, training):
    """Return outputs, statistics after the pass, and gradients of images and weights."""
    trainable = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]
    outputs, statistics = model.stateless_call(trainable, others, images, training=training)
    weight = ops.convert_to_tensor(np.random.default_rng(2).normal(size=tuple(outputs.shape)).astype("float32"))

    def loss(inputs):
        found, _ = model.stateless_call(inputs[1:], others, inputs[0], training=training)
        return ops.sum(found * weight)

    return [ops.convert_to_numpy(x) for x in (outputs, *statistics, *step.gradient(loss, [images, *trainable]))]


@pytest.mark.parametrize("size", [(12, 14), (11, 16)])  # padding both even and lopsided
@pytest.mark.parametrize("name", NAMES)
def test_outputs_gradients_and_statistics_are_unchanged(name, size):
    images = ops.convert_to_tensor(0.3 + np.random.default_rng(1).normal(size=(2, *size, 4)).astype("float32"))
    model = network(name)
    for training in (True, False):
        expected = results(model, images, training)
        step.prepare([model], keras.optimizers.SGD())
        for one, other in zip(results(model, images, training), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=2e-5 * max(1.0, np.abs(other).max()))


CHANGED = {
    "torch": {*NAMES},
    "tensorflow": {"3x3", "dilated", "dilated beyond the map", "dilated with bias", "dilated, valid", "1x1"}
    | {"1x1 with stride", "groups", "normalization", "frozen normalization"},
    "jax": {*NAMES} - {"normalization", "frozen normalization"},
}


@pytest.mark.parametrize("name", NAMES)
def test_which_layers_change(name):
    model = network(name)
    step.prepare([model], keras.optimizers.SGD())
    assert ("call" in vars(model.layers[-1])) == (name in CHANGED[BACKEND])
