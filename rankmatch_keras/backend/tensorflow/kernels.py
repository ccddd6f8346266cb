"""TensorFlow's own kernels in Keras' layers: the same numbers, in less time and memory.

- Batch normalization, under Keras several operations that each keep a feature map for the backward pass, is one that
  keeps only its input.
- The kernel gradient of a dilated convolution is one matrix product per window position, over the pixels that it sees:
  TensorFlow multiplies the padding too.
"""

import functools
import itertools

import keras
import tensorflow as tf

from rankmatch_keras.backend.plain_layers import is_plain, overlaps, sees_little


def use_tensorflow_kernels(model):
    """Let the layers of a model run in TensorFlow's own kernels; all numbers stay the same, up to rounding.

    Layers keep their class, weights and configuration, so that saved files do not change.

    Args:
        model: a built `keras.Model`.

    Returns:
        The names of the layers that were changed.
    """
    changed = [layer for layer in model._flatten_layers() if _kernel_of(layer) and is_plain(layer)]
    for layer in changed:
        layer.call = functools.partial(_kernel_of(layer), layer)
    return [layer.name for layer in changed]


def _kernel_of(layer):
    return KERNELS.get(type(layer)) if layer.compute_dtype == "float32" else None


def _batch_normalization(layer, inputs, training=None, mask=None):
    """Compute `BatchNormalization.call` for maps `(B, H, W, C)`."""
    if mask is not None:
        return keras.layers.BatchNormalization.call(layer, inputs, training=training, mask=mask)
    training = bool(training and layer.trainable)
    moving = () if training else (layer.moving_mean.value, layer.moving_variance.value)
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs, layer.gamma.value, layer.beta.value, *moving, epsilon=layer.epsilon, is_training=training
    )
    if training:
        # Keras averages the biased variance, TensorFlow returns the unbiased one.
        pixels = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], "float32")
        biased = variance * (pixels - 1.0) / pixels
        for average, value in ((layer.moving_mean, mean), (layer.moving_variance, biased)):
            average.assign(average * layer.momentum + value * (1.0 - layer.momentum))
    return outputs


def _convolution(layer, inputs):
    """Compute `Conv2D.call` for maps `(B, H, W, C)`."""
    if not _is_dilated(layer, inputs.shape[1:3]):
        return keras.layers.Conv2D.call(layer, inputs)
    outputs = dilated_convolution(inputs, tf.convert_to_tensor(layer.kernel), tuple(layer.dilation_rate))
    return outputs if layer.activation is None else layer.activation(outputs)


def _is_dilated(layer, size):
    odd = all(side % 2 for side in layer.kernel_size)
    keeps_size = layer.padding == "same" and tuple(layer.strides) == (1, 1)
    if not (odd and keeps_size) or None in size or layer.groups != 1 or layer.use_bias:
        return False
    return sees_little(tuple(size), tuple(layer.kernel_size), tuple(layer.dilation_rate))


def dilated_convolution(inputs, kernel, dilation):
    """Convolve `(B, H, W, C)` by `(kh, kw, C, F)`, both odd, with zero padding that keeps the size."""

    @tf.custom_gradient
    def convolve(inputs, kernel):
        outputs = tf.nn.conv2d(inputs, kernel, 1, "SAME", dilations=dilation)

        def gradients(upstream):
            to_inputs = tf.nn.conv2d_transpose(upstream, kernel, tf.shape(inputs), 1, "SAME", dilations=dilation)
            return to_inputs, _kernel_gradient(inputs, kernel.shape, upstream, dilation)

        return outputs, gradients

    return convolve(inputs, kernel)


def _kernel_gradient(inputs, shape, upstream, dilation):
    rows, columns = (overlaps(inputs.shape[1 + a], shape[a], dilation[a]) for a in (0, 1))
    products = []
    for (out_y, in_y), (out_x, in_x) in itertools.product(rows, columns):
        seen = tf.reshape(inputs[:, in_y, in_x], (-1, shape[2]))
        products.append(tf.matmul(seen, tf.reshape(upstream[:, out_y, out_x], (-1, shape[3])), transpose_a=True))
    return tf.reshape(tf.stack(products), shape)


KERNELS = {keras.layers.BatchNormalization: _batch_normalization, keras.layers.Conv2D: _convolution}
