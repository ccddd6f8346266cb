"""The training step on TensorFlow. Imports nothing of the package, so that methods may use it."""

import contextlib

import keras
import tensorflow as tf


def train_step(method, data):
    """Runs one optimizer step of `method` and returns the running means by name."""
    batch, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    with tf.GradientTape() as tape:
        losses = method.compute_losses(batch)
        scaled_loss = method.optimizer.scale_loss(losses["loss"])
    variables = method.trainable_variables
    method.optimizer.apply_gradients(zip(tape.gradient(scaled_loss, variables), variables, strict=True))
    return method.log(losses)


def prepare(segmenter, optimizer):
    """Nothing to do: the compiler chooses the kernels."""


def no_gradient():
    """Nothing to do: a compiled graph keeps only the activations that a gradient needs."""
    return contextlib.nullcontext()


def default_jit_compile():
    """XLA slows this step down about fourfold on CPUs; elsewhere Keras decides."""
    return "auto" if tf.config.list_logical_devices("GPU") else False
