"""The network of the tests that are not about networks: few layers, so that a step of it is traced in seconds."""

import keras
from keras import layers

from rankmatch_keras.models import Segmenter


def small_segmenter(classes=3, channels=3, seed=0):
    """A segmenter of some ten thousand weights for images of 33 pixels.

    Its maps have strides 4 and 16, and as in every segmenter both halves have normalization and logits are float32.
    """
    keras.utils.set_random_seed(seed)
    image = keras.Input((None, None, channels))
    low = layers.ReLU()(_conv(image, 12, 7, 4, "low"))
    high = layers.ReLU()(_conv(low, 24, 5, 4, "high"))
    encoder = keras.Model(image, {"low": low, "high": high}, name="encoder")
    maps = {name: keras.Input((None, None, filters), name=name) for name, filters in (("low", 12), ("high", 24))}
    features = layers.ReLU()(_conv(maps["high"], 16, 1, 1, "features"))
    coarse = layers.Conv2D(classes, 1, dtype="float32", name="classifier")(features)
    # 33 pixels give 9 and 3 cells: 12 upsampled ones are cut to the 9 of the low map.
    coarse = layers.CenterCrop(9, 9, dtype="float32")(layers.UpSampling2D(4, dtype="float32")(coarse))
    fine = layers.Conv2D(classes, 3, padding="same", dtype="float32", name="fine")(maps["low"])
    logits = layers.Add(dtype="float32")([fine, coarse])
    decoder = keras.Model(maps, {"logits": logits, "features": features}, name="decoder")
    return Segmenter(encoder, decoder)


def _conv(x, filters, kernel_size, strides, name):
    convolution = layers.Conv2D(
        filters, kernel_size, strides=strides, padding="same", use_bias=False, name=f"{name}_conv"
    )
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(convolution(x))
