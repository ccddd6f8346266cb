"""Exchange among replicas with only one of them; tests/distributed compares two with one."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the step of TensorFlow", allow_module_level=True)

import tensorflow as tf

from rankmatch_keras.backend.tensorflow import replicas


def synchronized_layer():
    layer = keras.layers.BatchNormalization(momentum=0.0, epsilon=0.0)
    model = keras.Sequential([keras.Input((5, 7, 2)), layer])
    assert replicas.use_synchronized_batch_norm(model) == 1
    return layer


def test_moments_far_from_zero_keep_their_digits():
    x = 3000.0 + np.random.default_rng(0).normal(size=(4, 5, 7, 2)).astype("float32")
    layer = synchronized_layer()
    layer(x, training=True)
    # E[x^2] - E[x]^2 in float32 would be wrong by about 1 here.
    np.testing.assert_allclose(layer.moving_variance.numpy(), x.astype("float64").var((0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(layer.moving_mean.numpy(), x.astype("float64").mean((0, 1, 2)), rtol=1e-6)


def test_outputs_and_gradients_are_those_of_the_plain_layer():
    x = tf.constant(np.random.default_rng(1).normal(size=(4, 5, 7, 2)), tf.float32)
    slope = tf.constant(np.random.default_rng(2).normal(size=(4, 5, 7, 2)), tf.float32)
    found = []
    for layer in (synchronized_layer(), keras.layers.BatchNormalization(momentum=0.0, epsilon=0.0)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
            loss = tf.reduce_sum(outputs * slope)
        found.append((outputs.numpy(), tape.gradient(loss, x).numpy()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_configuration_stays():
    assert synchronized_layer().get_config()["synchronized"] is False


def test_one_replica_is_everyone():
    values = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(replicas.everyone(values), [[[1.0, 2.0], [3.0, 4.0]]])
    np.testing.assert_array_equal(replicas.everyone(tf.constant(5)), [5])
    np.testing.assert_array_equal(replicas.mean([values])[0], values)


def test_own_updates_move_weights_like_keras():
    found = []
    for own in (True, False):
        variable = keras.Variable([1.0, 2.0])
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
        optimizer.build([variable])
        if own:
            replicas.use_own_updates(optimizer)
        for gradient in ([1.0, 0.0], [3.0, 2.0]):
            optimizer.apply([tf.constant(gradient)], [variable])
        found.append(variable.numpy())
    # The mean of the gradients is (2, 1).
    np.testing.assert_allclose(found, [[0.8, 1.9]] * 2, rtol=1e-6)
