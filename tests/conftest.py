"""What all tests share."""

import pathlib

import keras
import numpy as np
import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture
def checkout():
    """The folder of the project."""
    return CHECKOUT


@pytest.fixture
def golden():
    """Reads a file of reference numbers by its name."""
    return lambda name: np.load(CHECKOUT / "tests" / "golden" / f"{name}.npz")


@pytest.fixture
def value_and_gradient():
    """Value and gradient of a scalar function of one array, on the running backend."""
    return _value_and_gradient


def _value_and_gradient(function, array):
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tensor = tf.constant(array)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            value = function(tensor)
        return value.numpy(), tape.gradient(value, tensor).numpy()
    if backend == "torch":
        import torch

        tensor = torch.tensor(array, requires_grad=True)
        value = function(tensor)
        value.backward()
        return value.detach().numpy(), tensor.grad.numpy()
    import jax

    value, gradient = jax.value_and_grad(function)(array)
    return np.asarray(value), np.asarray(gradient)
