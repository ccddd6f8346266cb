"""Convolutions in a form that XLA compiles well on CPUs: the same numbers, in a fraction of the time.

- XLA's depthwise convolution is a loop without vector instructions; as a sum of shifted products it is fused into one.
- A convolution of 1x1 pixels is a matrix product.
- A dilated convolution is one matrix product per window position, over the pixels that it sees: XLA multiplies the
  padding too.
"""

import functools
import itertools

import jax
import keras
from jax import numpy as jnp
from keras import ops

from rankmatch_keras.backend.plain_layers import is_plain, overlaps, sees_little


def use_jax_kernels(model):
    """Let the convolutions of a model run as XLA's CPU code computes them fastest; all numbers stay, up to rounding.

    Layers keep their class, weights and configuration, so that saved files do not change. On GPUs nothing changes.

    Args:
        model: a built `keras.Model`.

    Returns:
        The names of the layers that were changed.
    """
    if jax.default_backend() != "cpu":
        return []
    changed = [layer for layer in model._flatten_layers() if type(layer) in KERNELS and is_plain(layer)]
    for layer in changed:
        layer.call = functools.partial(KERNELS[type(layer)], layer, layer.call)
    return [layer.name for layer in changed]


def _convolution(layer, keras_call, inputs):
    """Compute `Conv2D.call` for maps `(B, H, W, C)`."""
    kernel, strides = ops.convert_to_tensor(layer.kernel), tuple(layer.strides)
    if layer.groups != 1:
        return keras_call(inputs)
    if kernel.shape[:2] == (1, 1):
        outputs = inputs[:, :: strides[0], :: strides[1]] @ kernel[0, 0]
    elif _is_dilated(layer, inputs.shape[1:3]):
        outputs = dilated_convolution(inputs, kernel, tuple(layer.dilation_rate))
    else:
        return keras_call(inputs)
    return _finish(layer, outputs)


def _depthwise_convolution(layer, keras_call, inputs):
    """Compute `DepthwiseConv2D.call` for maps `(B, H, W, C)`."""
    if layer.depth_multiplier != 1:
        return keras_call(inputs)
    kernel = ops.convert_to_tensor(layer.kernel)[..., 0]
    if layer.padding == "same":
        inputs = _padded(inputs, layer)
    return _finish(layer, depthwise_convolution(inputs, kernel, tuple(layer.strides), tuple(layer.dilation_rate)))


def _finish(layer, outputs):
    if layer.use_bias:
        outputs = outputs + ops.convert_to_tensor(layer.bias)
    return outputs if layer.activation is None else layer.activation(outputs)


def _is_dilated(layer, size):
    odd = all(side % 2 for side in layer.kernel_size)
    keeps_size = layer.padding == "same" and tuple(layer.strides) == (1, 1)
    return odd and keeps_size and sees_little(tuple(size), tuple(layer.kernel_size), tuple(layer.dilation_rate))


def _padded(inputs, layer):
    """Pad maps with zeros as Keras' "same" does."""
    sides = []
    for size, taps, stride, dilation in zip(
        inputs.shape[1:3], layer.kernel_size, layer.strides, layer.dilation_rate, strict=True
    ):
        total = max((-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
        sides.append((total // 2, total - total // 2))
    return jnp.pad(inputs, ((0, 0), *sides, (0, 0)))


def depthwise_convolution(inputs, kernel, strides, dilation):
    """Convolve each channel by itself, without padding.

    Args:
        inputs: `(B, H, W, C)` float.
        kernel: `(kh, kw, C)`.
        strides: pixels between windows, of both axes.
        dilation: pixels between positions in a window, of both axes.

    Returns:
        `(B, h, w, C)`.
    """
    reach = [(taps - 1) * distance + 1 for taps, distance in zip(kernel.shape[:2], dilation, strict=True)]
    last = [(inputs.shape[1 + a] - reach[a]) // strides[a] * strides[a] for a in (0, 1)]  # of the windows' origins
    outputs = 0.0
    for i, j in itertools.product(*(range(taps) for taps in kernel.shape[:2])):
        y, x = i * dilation[0], j * dilation[1]
        seen = inputs[:, y : y + last[0] + 1 : strides[0], x : x + last[1] + 1 : strides[1]]
        outputs = outputs + seen * kernel[i, j]
    return outputs


def dilated_convolution(inputs, kernel, dilation):
    """Convolve `(B, H, W, C)` by `(kh, kw, C, F)`, both odd, with zero padding that keeps the size."""
    rows, columns = (overlaps(inputs.shape[1 + a], kernel.shape[a], dilation[a]) for a in (0, 1))
    outputs = 0.0
    for (i, (out_y, in_y)), (j, (out_x, in_x)) in itertools.product(enumerate(rows), enumerate(columns)):
        product = inputs[:, in_y, in_x] @ kernel[i, j]
        around = (_outside(out_y, inputs.shape[1]), _outside(out_x, inputs.shape[2]))
        outputs = outputs + jnp.pad(product, ((0, 0), *around, (0, 0)))
    return outputs


def _outside(part, size):
    return part.start, size - part.stop


KERNELS = {keras.layers.Conv2D: _convolution, keras.layers.DepthwiseConv2D: _depthwise_convolution}
