"""The encoder `tiny`, for demonstrations and tests on small machines."""

import keras
from keras import layers

from rankmatch_keras.models.deeplab_v3_plus import BATCH_NORM


def tiny_encoder(channels=3):
    """Build a residual encoder of 0.17 million parameters, for demonstrations and tests on small machines.

    A stem of 16 channels at stride 2 and residual blocks of 24, 48 and 96 channels at strides 4, 8 and 16.

    Args:
        channels: number of image channels C.

    Returns:
        functional `keras.Model` from (B, H, W, C) to (B, H/16, W/16, 96); "stage_1_out" is the stride 4 map,
        "stage_2_out" that of stride 8.
    """
    image = keras.Input((None, None, channels), name="image")
    x = _conv_norm(image, 16, 3, 2, "stem")
    x = layers.ReLU(name="stem_out")(x)
    for i, filters in enumerate((24, 48, 96), start=1):
        x = _residual_block(x, filters, f"stage_{i}")
    return keras.Model(image, x, name="tiny")


def _residual_block(x, filters, name):
    """Apply two 3x3 convolutions, the first of stride 2, beside a 1x1 shortcut of stride 2."""
    shortcut = _conv_norm(x, filters, 1, 2, f"{name}_shortcut")
    x = _conv_norm(x, filters, 3, 2, f"{name}_1")
    x = layers.ReLU(name=f"{name}_1_relu")(x)
    x = _conv_norm(x, filters, 3, 1, f"{name}_2")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_out")(x)


def _conv_norm(x, filters, kernel_size, strides, name):
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(**BATCH_NORM, name=f"{name}_bn")(x)
