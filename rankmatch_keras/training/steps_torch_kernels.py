"""PyTorch's own kernels for convolution, batch normalisation and the optimizer: the same numbers, less time and memory.

Under Keras a convolution copies its input twice and its kernel once per call, and batch normalisation is five
operations that each keep a feature map for the backward pass. PyTorch's kernels read channels-last maps as they are
and keep the input alone. Convolution kernels keep their shape but are stored in the order that these kernels read:
in Keras' order a 3x3 convolution of 304 channels takes three times as long. Imports nothing of the package.
"""

import functools

import keras
import torch
from torch.nn import functional


def use_torch_kernels(model):
    """Lets the convolutions and batch normalisations of a model run in PyTorch's kernels; all numbers stay.

    Layers keep their class, weights and configuration, so that saved files do not change. Layers that are not plain
    float32 ones on channels-last maps stay as they are.

    Args:
        model: a built `keras.Model`.

    Returns:
        The number of layers that were changed.
    """
    changed = 0
    for layer in model._flatten_layers():
        kernel = KERNELS.get(type(layer))
        if kernel is not None and _is_plain(layer):
            layer.call = functools.partial(kernel, layer)
            if kernel is _convolution:
                _store_outputs_first(layer.kernel)
            changed += 1
    return changed


def use_torch_update(optimizer):
    """Lets `training.SGD` move all variables in a few calls, and stores its velocities in their variables' order.

    Args:
        optimizer: a built optimizer; any but `training.SGD` stays as it is.

    Returns:
        Whether it was changed.
    """
    if not hasattr(optimizer, "head_multiplier"):
        return False
    for velocity in optimizer.momentums:
        _store_outputs_first(velocity)
    optimizer._backend_update_step = functools.partial(_update_all, optimizer)
    return True


def _store_outputs_first(variable):
    """Stores a kernel (kh, kw, in, out) in the order out, kh, kw, in; its shape and values stay."""
    if len(variable.shape) == 4:
        value = variable.value
        value.data = value.data.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)


@torch.no_grad()
def _update_all(optimizer, gradients, variables, learning_rate):
    """`SGD.update_step` of all variables together."""
    velocities = [optimizer.momentums[optimizer._get_variable_index(variable)].value.data for variable in variables]
    weights = [variable.value.data for variable in variables]
    torch._foreach_mul_(velocities, optimizer.momentum)
    torch._foreach_add_(velocities, list(gradients))
    torch._foreach_add_(velocities, weights, alpha=optimizer.l2)
    rates = [-float(learning_rate * optimizer.rate_factor(variable)) for variable in variables]
    for rate in set(rates):
        group = [i for i, other in enumerate(rates) if other == rate]
        torch._foreach_add_([weights[i] for i in group], [velocities[i] for i in group], alpha=rate)


def _is_plain(layer):
    if not layer.built or layer.compute_dtype != "float32":
        return False
    if isinstance(layer, keras.layers.BatchNormalization):
        special = layer.renorm or layer.synchronized or not (layer.scale and layer.center)
        return layer.input_spec.ndim == 4 and layer.axis in (-1, 3) and not special
    return layer.data_format == "channels_last" and not getattr(layer, "lora_enabled", False)


def _convolution(layer, inputs):
    """`Conv2D.call` for maps `(B, H, W, C)`."""
    kernel = layer.kernel.value.permute(3, 2, 0, 1)  # a view: (out, in / groups, kh, kw)
    return _convolve(layer, inputs, kernel, layer.groups)


def _depthwise_convolution(layer, inputs):
    """`DepthwiseConv2D.call` for maps `(B, H, W, C)`."""
    height, width, channels, multiplier = layer.kernel.shape
    kernel = layer.kernel.value.reshape(height, width, 1, channels * multiplier).permute(3, 2, 0, 1)
    return _convolve(layer, inputs, kernel, channels)


def _convolve(layer, inputs, kernel, groups):
    channels_first = inputs.permute(0, 3, 1, 2)  # a view: PyTorch's "channels last" memory format
    padding = (0, 0)
    if layer.padding == "same":
        channels_first, padding = _same_padding(channels_first, layer)
    bias = layer.bias.value if layer.use_bias else None
    outputs = functional.conv2d(
        channels_first, kernel, bias, tuple(layer.strides), padding, tuple(layer.dilation_rate), groups
    )
    outputs = outputs.permute(0, 2, 3, 1)
    return outputs if layer.activation is None else layer.activation(outputs)


def _same_padding(images, layer):
    """Keras' "same" padding: what the kernel can do by itself, and a padded copy where it is lopsided."""
    sides = []
    for size, kernel, stride, dilation in zip(
        images.shape[2:], layer.kernel_size, layer.strides, layer.dilation_rate, strict=True
    ):
        total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        sides.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = sides
    if top == bottom and left == right:
        return images, (top, left)
    return functional.pad(images, (left, right, top, bottom)), (0, 0)


def _batch_normalization(layer, inputs, training=None, mask=None):
    """`BatchNormalization.call` for maps `(B, H, W, C)`."""
    if mask is not None:
        return keras.layers.BatchNormalization.call(layer, inputs, training=training, mask=mask)
    channels_first = inputs.permute(0, 3, 1, 2)  # a view: PyTorch's "channels last" memory format
    gamma, beta = layer.gamma.value, layer.beta.value
    if not (training and layer.trainable):
        statistics = layer.moving_mean.value, layer.moving_variance.value
        outputs = functional.batch_norm(channels_first, *statistics, gamma, beta, False, 0.0, layer.epsilon)
        return outputs.permute(0, 2, 3, 1)
    outputs, mean, inverse_deviation = torch.native_batch_norm(
        channels_first, gamma, beta, None, None, True, 0.0, layer.epsilon
    )
    # Keras keeps the biased variance, PyTorch would keep the unbiased one.
    with torch.no_grad():
        variance = inverse_deviation.pow(-2) - layer.epsilon
        for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving.value * layer.momentum + value * (1.0 - layer.momentum))
    return outputs.permute(0, 2, 3, 1)


KERNELS = {
    keras.layers.Conv2D: _convolution,
    keras.layers.DepthwiseConv2D: _depthwise_convolution,
    keras.layers.BatchNormalization: _batch_normalization,
}
