"""Training step on TensorFlow."""

import contextlib

import keras
import tensorflow as tf

from rankmatch_keras.backend.tensorflow.kernels import use_tensorflow_kernels


def train_step(method, data, mean=None):
    """Run one optimizer step of a method and return the running means by name.

    Args:
        method: the `Method`.
        data: the training batch, as `fit` and `train_on_batch` pass it.
        mean: averages each tensor of a list over the replicas that run this step together; None: there is one.
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


def gradient(function, value):
    """Compute the gradient of a scalar function at a value, apart from that of the step.

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


def no_gradient():
    """Return an empty context: a compiled graph keeps only the activations that a gradient needs."""
    return contextlib.nullcontext()


def prepare(networks, optimizer):
    """Let the networks run in TensorFlow's own kernels: the same numbers, faster and in less memory."""
    for network in networks:
        use_tensorflow_kernels(network)


def synchronize(method):
    """Do nothing: the variables hold the values of the last step."""


def prepare_prediction(predictor):
    """Make a model's predict function with XLA off, unless there is one; the model keeps its own setting.

    On GPUs Keras would switch XLA on, which compiles anew for every image size where a plain graph serves all.

    Args:
        predictor: a `keras.Model`; anything else is left alone.
    """
    if not isinstance(predictor, keras.Model) or getattr(predictor, "predict_function", None) is not None:
        return
    chosen = predictor.jit_compile
    predictor.jit_compile = False
    try:
        predictor.make_predict_function()
    finally:
        predictor.jit_compile = chosen


def default_jit_compile():
    """Return False on CPUs, where XLA slows this step down about fourfold; elsewhere Keras decides."""
    return "auto" if tf.config.list_logical_devices("GPU") else False
