"""Pretrained colour networks on images of other than three channels."""

import keras
import numpy as np


def adapt_first_convolution(source, target, reverse_channels=False):
    """Gives a network for C channels the weights of the same network for three colours.

    All weights are copied but the kernel of the first convolution. With one channel it becomes the sum of the three
    colours' kernels, which is exactly what the colour network sees when a grey image is repeated three times. With C
    channels, channel i takes the kernel of colour i mod 3 (red, green, blue), times 3 / C, which keeps the size of
    the sum.

    Args:
        source: the network for three colours.
        target: the same network, built for C channels.
        reverse_channels: whether the source expects blue, green, red.

    Returns:
        ``target``.
    """
    first = next(layer for layer in source.layers if isinstance(layer, keras.layers.Conv2D))
    for old, new in zip(source.layers, target.layers, strict=True):
        values = old.get_weights()
        if old is first:
            values[0] = _adapted(values[0], new.get_weights()[0].shape[2], reverse_channels)
        new.set_weights(values)
    return target


def _adapted(kernel, channels, reverse_channels):
    """Kernel (h, w, 3, out) -> (h, w, channels, out)."""
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    kernel = kernel[:, :, ::-1] if reverse_channels else kernel
    return kernel[:, :, np.arange(channels) % 3] * (3.0 / channels)
