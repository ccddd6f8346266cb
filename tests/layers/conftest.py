"""Fixtures of the tests of layers."""

import keras
import pytest


@pytest.fixture
def compiled():
    """Wraps a function of tensors in the backend's compiler: `tf.function`, `jax.jit`, nothing on torch."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function
    if backend == "jax":
        import jax

        return jax.jit
    return lambda function: function
