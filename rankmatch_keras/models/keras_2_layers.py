"""Layers of Keras 2 configurations, translated into Keras 3 layers; a list of what is known, nothing else is built."""

import inspect

import keras

from rankmatch_keras.errors import UserError
from rankmatch_keras.models.keras_2_adapters import InferenceBatchNormalization

LAYERS = frozenset(
    "Conv2D DepthwiseConv2D SeparableConv2D Conv2DTranspose Dense BatchNormalization LayerNormalization "
    "GroupNormalization UnitNormalization Rescaling Activation ReLU LeakyReLU PReLU ELU Softmax "
    "MaxPooling2D AveragePooling2D GlobalAveragePooling2D GlobalMaxPooling2D UpSampling2D ZeroPadding2D Cropping2D "
    "Resizing Concatenate Add Subtract Multiply Average Maximum Minimum Reshape Flatten Permute "
    "Dropout SpatialDropout2D GaussianNoise GaussianDropout".split()
)
RANDOM = frozenset("Dropout SpatialDropout2D GaussianNoise GaussianDropout".split())
# Those that work at one image size only.
SIZE_BOUND = frozenset("Resizing Reshape Flatten".split())
# Not hard_sigmoid: it is another function in Keras 3.
ACTIVATIONS = frozenset(
    "linear relu relu6 elu selu gelu sigmoid softmax softplus softsign swish silu tanh leaky_relu mish "
    "exponential".split()
)
# How a layer was initialised, penalised or placed says nothing of what it computes.
LEFT_OUT = ("_initializer", "_regularizer", "_constraint")
IGNORED = frozenset("name trainable dtype batch_input_shape data_format ragged sparse autocast synchronized".split())


def refuse(kind, name, reason):
    """The error that names a layer which cannot be translated."""
    return UserError(
        expected="a Keras 2 model of plain layers and TensorFlow operations that Keras 3 has too",
        found=f"layer {name!r} ({kind}), which {reason}",
        remedy="Rebuild the model without it, or write Segmenter(encoder, decoder) in Keras 3.",
    )


def translate(kind, config, name, frozen=False):
    """Builds the Keras 3 twin of a Keras 2 layer, without its weights.

    Initialisers, regularisers and constraints are left out: the weights come from the file.

    Args:
        kind: Keras 2 class name.
        config: its Keras 2 configuration.
        name: name of the new layer.
        frozen: the model calls it with ``training=False``: a dropout does nothing then, a batch normalisation uses
            its moving statistics. (Keras 3 lets the model's own mode win, so that the layer must know.)

    Returns:
        ``keras.layers.Layer``.

    Raises:
        UserError: a class that is not known (``Lambda`` holds program code, which is never run), or an argument that
            Keras 3 does not have.
    """
    if kind not in LAYERS:
        code = "holds program code, which is never run" if kind == "Lambda" else "has no known twin in Keras 3"
        raise refuse(kind, name, code)
    if config.get("data_format", "channels_last") != "channels_last":
        raise refuse(kind, name, "puts channels first")
    if frozen and kind in RANDOM:
        return keras.layers.Identity(name=name)
    cls = InferenceBatchNormalization if frozen and kind == "BatchNormalization" else getattr(keras.layers, kind)
    known = set(inspect.signature(getattr(keras.layers, kind).__init__).parameters)
    arguments = {}
    for key, value in config.items():
        if key in IGNORED or key.endswith(LEFT_OUT):
            continue
        if key in known:
            arguments[key] = value
        elif (kind, key) in RENAMED:
            arguments[RENAMED[kind, key]] = value
        elif value not in (None, False, 0) and (key, value) not in (("groups", 1), ("implementation", 1)):
            raise refuse(kind, name, f"has the argument {key}={value!r}, which Keras 3 does not know")
    if arguments.get("interpolation") not in (None, "bilinear", "nearest"):
        raise refuse(kind, name, f"interpolates {arguments['interpolation']!r}, which differs between backends")
    if "activation" in arguments:
        arguments["activation"] = activation(kind, name, arguments["activation"])
    if isinstance(arguments.get("axis"), (list, tuple)) and len(arguments["axis"]) == 1:
        arguments["axis"] = arguments["axis"][0]
    layer = cls(**arguments, dtype=_dtype(config.get("dtype")), name=name)
    layer.trainable = bool(config.get("trainable", True))
    return layer


RENAMED = {("LeakyReLU", "alpha"): "negative_slope", ("ReLU", "alpha"): "negative_slope"}


def activation(kind, layer_name, value):
    """The name of an activation that Keras 3 has, from the ways in which Keras 2 writes it."""
    if isinstance(value, dict):
        value = value.get("config", value.get("class_name"))
    value = "linear" if value is None else value
    if value not in ACTIVATIONS:
        raise refuse(kind, layer_name, f"has the activation {value!r}")
    return value


def _dtype(value):
    """The name of a dtype or of a policy that Keras 2 saved as a dict."""
    return value["config"]["name"] if isinstance(value, dict) else value
