"""Copies of models: whole, with some layers replaced, or for another number of image channels."""

import keras
import numpy as np

from rankmatch_keras.errors import UserError


def copy_segmenter(segmenter, decoder: bool = True):
    """Make a segmenter of the same structure with its own variables.

    Args:
        segmenter: a built `Segmenter` or `DeepLabV3Plus`.
        decoder: whether the decoder's weights are copied too; otherwise they are newly initialized.

    Returns:
        A segmenter of the same class and configuration.

    Raises:
        UserError: the segmenter is not built, so there are no weights to copy.
    """
    if not segmenter.built:
        raise UserError("a built segmenter", "one without weights", "Call it once on an image.")
    copy = type(segmenter).from_config(segmenter.get_config())
    copy.encoder.set_weights(segmenter.encoder.get_weights())
    if decoder:
        copy.decoder.set_weights(segmenter.decoder.get_weights())
    return copy


def copy_decoder(segmenter):
    """Make a decoder of the same structure with newly initialized weights."""
    return type(segmenter.decoder).from_config(segmenter.decoder.get_config())


def copy_network(network):
    """Copy a segmenter, or a functional model such as a representation head, with its weights."""
    if hasattr(network, "encoder"):
        return copy_segmenter(network)
    copy = type(network).from_config(network.get_config())
    copy.set_weights(network.get_weights())
    return copy


def clone_with(model, call):
    """Clone a functional model; `call(layer, *args, **kwargs)` makes and calls the replacement of each layer."""
    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def copy_layer(layer, **changes):
    """Make a layer of the same class and configuration except for `changes`, without weights."""
    return type(layer).from_config({**layer.get_config(), **changes})


def call_copy(layer, copy, *args, **kwargs):
    """Call `copy`, which builds it, and give it the weights of `layer`."""
    outputs = copy(*args, **kwargs)
    for target, source in zip(copy.weights, layer.weights, strict=True):
        target.assign(source.value)
    return outputs


def adapt_first_convolution(source, target, reverse_channels=False):
    """Copy the weights of a three-channel network to the same network for C channels.

    Only the kernel of the first convolution changes. With one channel it becomes the sum of the three colors' kernels,
    which is exactly what the three-channel network computes on a gray image repeated three times. With C channels,
    channel i takes the kernel of color i mod 3 (red, green, blue), times 3 / C, which preserves the size of the sum.

    Args:
        source: the network for three channels.
        target: the same network, built for C channels.
        reverse_channels: whether the source expects blue, green, red.

    Returns:
        `target`.
    """
    first = next(layer for layer in source.layers if isinstance(layer, keras.layers.Conv2D))
    for old, new in zip(source.layers, target.layers, strict=True):
        values = old.get_weights()
        if old is first:
            values[0] = _adapted(values[0], new.get_weights()[0].shape[2], reverse_channels)
        new.set_weights(values)
    return target


def _adapted(kernel, channels, reverse_channels):
    """Turn a kernel (h, w, 3, out) into (h, w, channels, out)."""
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    kernel = kernel[:, :, ::-1] if reverse_channels else kernel
    return kernel[:, :, np.arange(channels) % 3] * (3.0 / channels)
