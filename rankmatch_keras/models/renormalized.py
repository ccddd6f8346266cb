"""A backbone that takes images as another backbone expects them: both networks of a pair see the same batches."""

import keras

from rankmatch_keras.layers.normalization import ChannelNormalization
from rankmatch_keras.models.backbones import backbone_normalization, measured_normalization


def renormalized(backbone, own: str, other: str):
    """Puts in front of a backbone what turns another backbone's normalised images into its own.

    Args:
        backbone: model that ``create_backbone(own)`` made.
        own: its name.
        other: name of the backbone that the images are normalised for. Images of three channels are taken for 8-bit
            colour images, others for measured ones.

    Returns:
        functional ``keras.Model`` with the outputs of ``backbone``; itself where both expect the same.

    Raises:
        UserError: unknown name.
    """
    channels = backbone.input_shape[-1]
    normalization = _between(other, own, channels)
    if (
        normalization["reverse_channels"] is False
        and not any(normalization["mean"])
        and set(normalization["std"]) == {1.0}
    ):
        return backbone
    image = keras.Input(backbone.input_shape[1:], name="image")
    return keras.Model(image, backbone(ChannelNormalization(**normalization)(image)), name=backbone.name)


def _between(first, second, channels):
    """The normalisation that leads from images normalised by the first to such by the second."""
    if channels == 3:
        one, other = backbone_normalization(first), backbone_normalization(second)
    else:
        # Of the raw units nothing is left once both are divided by each other.
        one, other = (measured_normalization(name, (0.0,) * channels, (1.0,) * channels) for name in (first, second))
    # In the order of the first one's channels.
    order = slice(None, None, -1 if one["reverse_channels"] else 1)
    values = [tuple(of[key])[order] for key in ("mean", "std") for of in (one, other)]
    return {
        "mean": tuple((b - a) / s for a, b, s in zip(values[0], values[1], values[2], strict=True)),
        "std": tuple(b / a for a, b in zip(values[2], values[3], strict=True)),
        "reverse_channels": one["reverse_channels"] != other["reverse_channels"],
    }
