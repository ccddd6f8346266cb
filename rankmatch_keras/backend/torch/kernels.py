"""PyTorch's own kernels in Keras' layers, and the optimizer's update: the same numbers, less time and memory.

- Convolutions, poolings and resizing run as in `torch.convolution`.
- Batch normalization, under Keras five operations that each keep a feature map for the backward pass, is one that keeps
  only its input.
- A ReLU works in the memory of its input if nothing else reads that.
- Zero padding is done by the layer behind it.
"""

import functools

import keras
import torch
from torch.nn import functional

from rankmatch_keras.backend.plain_layers import is_plain
from rankmatch_keras.backend.torch import convolution


def use_torch_kernels(model):
    """Let the layers of a model run in PyTorch's kernels; all numbers stay the same, up to rounding.

    Layers keep their class, weights and configuration, so that saved files do not change. Only layers with plain
    options on channels-last maps are changed.

    Args:
        model: a built `keras.Model`.

    Returns:
        The names of the layers that were changed.
    """
    calls = {
        id(x): functools.partial(_kernel_of(x), x) for x in model._flatten_layers() if _kernel_of(x) and is_plain(x)
    }
    for first, second in neighbors(model):
        if isinstance(first, keras.layers.ZeroPadding2D):
            calls |= _padding_inside(first, second, calls)
        elif _rectifier(second) is not None:
            calls |= _in_place(first, second, calls)
    changed = [layer for layer in model._flatten_layers() if id(layer) in calls]
    for layer in changed:
        fine_and_coarse = _kernel_of(layer) is _fine_convolution
        setattr(layer, "convolve" if fine_and_coarse else "call", calls[id(layer)])
        if fine_and_coarse or isinstance(layer, keras.layers.Conv2D):
            convolution.store_outputs_first(layer.kernel)
    return [layer.name for layer in changed]


def use_torch_update(optimizer):
    """Let `training.SGD` move all variables in a few calls, and store velocities in its variables' memory order.

    Args:
        optimizer: a built optimizer; only `training.SGD` is changed.

    Returns:
        Whether it was changed.
    """
    if not hasattr(optimizer, "head_multiplier"):
        return False
    for velocity in optimizer.momentums:
        convolution.store_outputs_first(velocity)
    optimizer._backend_update_step = functools.partial(_update_all, optimizer)
    return True


@torch.no_grad()
def _update_all(optimizer, gradients, variables, learning_rate):
    """Compute `SGD.update_step` of all variables together."""
    velocities = [optimizer.momentums[optimizer._get_variable_index(variable)].value.data for variable in variables]
    weights = [variable.value.data for variable in variables]
    torch._foreach_mul_(velocities, optimizer.momentum)
    torch._foreach_add_(velocities, list(gradients))
    torch._foreach_add_(velocities, weights, alpha=optimizer.l2)
    rates = [-float(learning_rate * optimizer.rate_factor(variable)) for variable in variables]
    for rate in set(rates):
        group = [i for i, other in enumerate(rates) if other == rate]
        torch._foreach_add_([weights[i] for i in group], [velocities[i] for i in group], alpha=rate)


def _padding_inside(padding, reader, calls):
    """Return the calls that let a layer do the zero padding before it; none if it cannot."""
    sides = padding.padding
    if any(before != after for before, after in sides) or padding.data_format != "channels_last":
        return {}
    before = tuple(side[0] for side in sides)
    if isinstance(reader, keras.layers.MaxPooling2D):
        fits = all(2 * side <= size for side, size in zip(before, reader.pool_size, strict=True))
        if not fits or reader.padding != "valid" or _rectifier(writer(padding)) is None:
            return {}
        call = functools.partial(convolution.max_pooling, reader, before=before)
    elif id(reader) in calls and getattr(reader, "padding", None) == "valid":
        call = functools.partial(calls[id(reader)], before=before)
    else:
        return {}
    return {id(padding): lambda inputs: inputs, id(reader): call}


def neighbors(model):
    """Yield pairs of layers of which the second is the only reader of the first one's output.

    Both are called once, and no functional model inside returns the map between them.

    Args:
        model: a built `keras.Model`.
    """
    layers = list(model._flatten_layers())
    functional = [layer for layer in layers if isinstance(layer, keras.Model) and hasattr(layer, "operations")]
    returned = {id(tensor) for inner in functional for tensor in inner.outputs}
    for layer in layers:
        readers = [node.operation for node in layer._outbound_nodes]
        if len(layer._inbound_nodes) == len(readers) == 1 and len(readers[0]._inbound_nodes) == 1:
            if not any(id(tensor) in returned for tensor in layer._inbound_nodes[0].output_tensors):
                yield layer, readers[0]


def writer(layer):
    """Return the layer that writes the input of a layer with one input, or None."""
    parents = layer._inbound_nodes[0].parent_nodes
    return parents[0].operation if len(parents) == 1 else None


def _rectifier(layer):
    """Return the in-place function for a ReLU layer; None for other layers."""
    kind = type(layer)
    if kind is keras.layers.Activation:
        return {keras.activations.relu: torch.relu_, keras.activations.relu6: _relu6_}.get(layer.activation)
    if kind is not keras.layers.ReLU or layer.negative_slope or layer.threshold:
        return None
    return {None: torch.relu_, 6.0: _relu6_}.get(layer.max_value)


def _relu6_(maps):
    return functional.relu6(maps, inplace=True)


def _in_place(layer, rectifier, calls):
    """Return the calls that let a ReLU work in the memory of its input; none if the layer before needs that."""
    function = _rectifier(rectifier)
    if isinstance(layer, keras.layers.BatchNormalization) and id(layer) in calls:
        # During training the normalization applies it, before its output becomes a view.
        call = functools.partial(_unless_done, rectifier.call)
        return {id(layer): functools.partial(calls[id(layer)], rectify=function), id(rectifier): call}
    if type(layer) is keras.layers.Add:
        return {id(rectifier): functools.partial(_on_fresh_map, rectifier.call, function)}
    return {}


def _unless_done(rectify, inputs):
    return inputs if getattr(inputs, "rectified", False) else rectify(inputs)


def _on_fresh_map(rectify, rectify_in_place, inputs):
    fresh = inputs.grad_fn is not None and not inputs._is_view()
    return rectify_in_place(inputs) if fresh else rectify(inputs)


def _batch_normalization(layer, inputs, training=None, mask=None, rectify=None):
    """Compute `BatchNormalization.call` for maps `(B, H, W, C)`; during training with the ReLU that follows."""
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
    # Keras averages the biased variance, PyTorch would average the unbiased one.
    with torch.no_grad():
        variance = inverse_deviation.pow(-2) - layer.epsilon
        for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving.value * layer.momentum + value * (1.0 - layer.momentum))
    if rectify is None:
        return outputs.permute(0, 2, 3, 1)
    outputs = rectify(outputs).permute(0, 2, 3, 1)
    outputs.rectified = True
    return outputs


def _resize_like(layer, inputs, reference):
    """Compute `ResizeLike.call`."""
    size = tuple(reference.shape[1:3])
    if inputs.device.type != "cpu" or size == tuple(inputs.shape[1:3]):
        return type(layer).call(layer, inputs, reference)
    return convolution.resize_align_corners(inputs, size)


def _fine_convolution(layer, fine, kernel):
    return convolution.plain_convolution(fine, kernel)


KERNELS = {
    keras.layers.Conv2D: convolution.convolution,
    keras.layers.DepthwiseConv2D: convolution.depthwise_convolution,
    keras.layers.BatchNormalization: _batch_normalization,
}
# Layers of the package by their registered names: the backend imports no other room.
KERNELS_BY_NAME = {
    "rankmatch_keras>FineCoarseConv2D": _fine_convolution,
    "rankmatch_keras>ResizeLike": _resize_like,
}


def _kernel_of(layer):
    """Return the function in place of a layer's call, or None."""
    kind = type(layer)
    return KERNELS.get(kind) or KERNELS_BY_NAME.get(keras.saving.get_registered_name(kind))
