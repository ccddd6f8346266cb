"""The training step on TensorFlow. Imports nothing of the package, so that methods may use it."""

import contextlib

import keras
import tensorflow as tf


def train_step(method, data, mean=None):
    """Runs one optimizer step of `method` and returns the running means by name.

    Args:
        method: the method.
        data: the training batch, as `fit` and `train_on_batch` pass it.
        mean: where several replicas each run this step on their part of the batch: the function that takes the mean of
            each tensor of a list over them.
    """
    batch, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    with tf.GradientTape() as tape:
        losses = method.compute_losses(batch)
        scaled_loss = method.optimizer.scale_loss(losses["loss"])
    variables = method.trainable_variables
    gradients = tape.gradient(scaled_loss, variables)
    if mean is not None:
        gradients = mean(gradients)
        (values,) = mean([tf.stack([tf.cast(value, tf.float32) for value in losses.values()])])
        losses = dict(zip(losses, tf.unstack(values), strict=True))
    method.optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return method.log(losses)


def prepare(segmenters, optimizer):
    """Nothing to do: the compiler chooses the kernels."""


def no_gradient():
    """Nothing to do: a compiled graph keeps only the activations that a gradient needs."""
    return contextlib.nullcontext()


def gradient(function, value):
    """The gradient of a scalar function at a value, apart from that of the step.

    Args:
        function: from a structure like `value` to a scalar.
        value: a tensor or a structure of tensors.

    Returns:
        A structure like `value`, without gradient.
    """
    inputs = tf.nest.map_structure(tf.stop_gradient, value)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        result = function(inputs)
    found = tape.gradient(result, inputs, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return tf.nest.map_structure(tf.stop_gradient, found)


def default_jit_compile():
    """XLA slows this step down about fourfold on CPUs; elsewhere Keras decides."""
    return "auto" if tf.config.list_logical_devices("GPU") else False


def prepare_prediction(predictor):
    """Makes a model's predict function with XLA off, unless there is one; the model's setting is put back.

    On GPUs Keras would switch XLA on, which compiles anew for every image size where a plain graph serves all.

    Args:
        predictor: a `keras.Model`; anything else stays as it is.
    """
    if not isinstance(predictor, keras.Model) or getattr(predictor, "predict_function", None) is not None:
        return
    chosen = predictor.jit_compile
    predictor.jit_compile = False
    try:
        predictor.make_predict_function()
    finally:
        predictor.jit_compile = chosen
