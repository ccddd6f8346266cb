"""Representation heads: small models that turn the decoder's map into vectors for contrast."""

import keras
from keras import layers

from rankmatch_keras.models.deeplab_v3_plus import conv_norm_relu


def decoded_channels(segmenter) -> int:
    """Channels of the map "decoded", which the classifier reads, or of the features that stand in for it."""
    outputs = segmenter.decoder.output
    return outputs.get("decoded", outputs["features"]).shape[-1]


def representation_head(
    input_channels: int, channels: int, kernel_sizes: tuple[int, ...], linear: bool = True, name: str = "representation"
):
    """Builds a head of convolutions with batch normalisation and ReLU.

    Args:
        input_channels: channels of the map that it reads.
        channels: channels D of every layer and of the representations.
        kernel_sizes: a convolution each.
        linear: whether a 1x1 convolution without activation follows.
        name: name of the model.

    Returns:
        functional ``keras.Model`` from ``(B, h, w, input_channels)`` to ``(B, h, w, channels)``.
    """
    maps = keras.Input((None, None, input_channels))
    x = maps
    for number, size in enumerate(kernel_sizes, start=1):
        x = conv_norm_relu(x, channels, size, f"{name}_{number}")
    if linear:
        x = layers.Conv2D(channels, 1, kernel_initializer="he_normal", name=f"{name}_linear")(x)
    return keras.Model(maps, x, name=name)
