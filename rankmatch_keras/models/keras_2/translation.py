"""Keras 3 twins of Keras 2 layers and TensorFlow operations; nothing beyond these lists is built."""

import inspect
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.models.keras_2.adapters import InferenceBatchNormalization, NoChannels, ResizeImageLike

LAYERS = frozenset(
    "Conv2D DepthwiseConv2D SeparableConv2D Conv2DTranspose Dense BatchNormalization LayerNormalization "
    "GroupNormalization UnitNormalization Rescaling Activation ReLU LeakyReLU PReLU ELU Softmax "
    "MaxPooling2D AveragePooling2D GlobalAveragePooling2D GlobalMaxPooling2D UpSampling2D ZeroPadding2D Cropping2D "
    "Resizing Concatenate Add Subtract Multiply Average Maximum Minimum Reshape Flatten Permute "
    "Dropout SpatialDropout2D GaussianNoise GaussianDropout".split()
)
RANDOM = frozenset("Dropout SpatialDropout2D GaussianNoise GaussianDropout".split())
# Layers that work at one image size only.
SIZE_BOUND = frozenset("Resizing Reshape Flatten".split())
# Without hard_sigmoid, which is another function in Keras 3.
ACTIVATIONS = frozenset(
    "linear relu relu6 elu selu gelu sigmoid softmax softplus softsign swish silu tanh leaky_relu mish "
    "exponential".split()
)
# Arguments of training, which do not change the outputs.
LEFT_OUT = ("_initializer", "_regularizer", "_constraint")
RENAMED = {("LeakyReLU", "alpha"): "negative_slope", ("ReLU", "alpha"): "negative_slope"}
IGNORED = frozenset("name trainable dtype batch_input_shape data_format ragged sparse autocast synchronized".split())


def refuse(kind, name, reason):
    """Return the error that names a layer that cannot be translated."""
    return UserError(
        expected="a Keras 2 model of plain layers and TensorFlow operations that Keras 3 has too",
        found=f"layer {name!r} ({kind}), which {reason}",
        remedy="Rebuild the model without it, or write Segmenter(encoder, decoder) in Keras 3.",
    )


def translate(kind, config, name, frozen=False):
    """Make the Keras 3 twin of a Keras 2 layer, without its weights.

    Initializers, regularizers and constraints are left out: the weights come from the file.

    Args:
        kind: Keras 2 class name.
        config: its Keras 2 configuration.
        name: name of the new layer.
        frozen: whether the model calls it with `training=False`: dropout then does nothing and batch normalization
            uses its moving statistics. (In Keras 3 the model's own mode wins, so the layer must know.)

    Returns:
        `keras.layers.Layer`.

    Raises:
        UserError: an unknown class (`Lambda` holds program code, which is never run), or an argument that Keras 3
            lacks.
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


def activation(kind, layer_name, value):
    """Return the name of an activation of Keras 3, from any of the forms in which Keras 2 writes it."""
    if isinstance(value, dict):
        value = value.get("config", value.get("class_name"))
    value = "linear" if value is None else value
    if value not in ACTIVATIONS:
        raise refuse(kind, layer_name, f"has the activation {value!r}")
    return value


def _dtype(value):
    """Return the name of a dtype, or of a policy that Keras 2 saved as a dict."""
    return value["config"]["name"] if isinstance(value, dict) else value


@dataclass(frozen=True)
class ShapeOf:
    """`tf.shape(tensor)[start:stop]` of a tensor whose size may be unknown until images arrive."""

    tensor: Any
    start: int | None = None
    stop: int | None = None

    def is_size(self):
        """Return whether it is (height, width)."""
        return range(4)[self.start : self.stop] == range(1, 3)


def apply_operation(kind, config, name, arguments, options):
    """Call the twin of a TensorFlow operation.

    Args:
        kind: "TFOpLambda" or "SlicingOpLambda".
        config: its Keras 2 configuration; "function" names the operation.
        name: name of the layer, for errors.
        arguments: positional arguments: symbolic tensors, `ShapeOf`, constants.
        options: named arguments, the same.

    Returns:
        symbolic tensor or `ShapeOf`.

    Raises:
        UserError: an unknown operation, or an unknown use of one.
    """
    function = config.get("function")
    options = {key: value for key, value in options.items() if key != "name" and value is not None}
    if function not in OPERATIONS:
        raise refuse(kind, name, f"calls tf.{function}")
    try:
        return OPERATIONS[function](*arguments, **options)
    # Wrong arguments, or unknown sizes where an operation must know them.
    except (TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise refuse(kind, name, f"calls tf.{function} in an unknown way ({reason})") from error


def _resize(images, size, method="bilinear", antialias=False, preserve_aspect_ratio=False):
    # Without bicubic, whose kernel differs between backends.
    if method not in ("bilinear", "nearest") or antialias or preserve_aspect_ratio:
        raise ValueError(f"method {method!r}, antialias {antialias}, preserve_aspect_ratio {preserve_aspect_ratio}")
    if not isinstance(size, ShapeOf):
        return ops.image.resize(images, tuple(size), method, data_format="channels_last")
    if not size.is_size():
        raise ValueError("not the size of a map")
    return ResizeImageLike(method)(images, NoChannels()(size.tensor))


def _transpose(a, perm, conjugate=False):
    if conjugate:
        raise ValueError("conjugate")
    return ops.transpose(a, perm)


def _slice(value, slice_spec):
    if not isinstance(value, ShapeOf) or not isinstance(slice_spec, dict) or value != ShapeOf(value.tensor):
        raise ValueError("slices a tensor that is not a shape")
    if slice_spec.get("step") not in (None, 1):
        raise ValueError("has a step")
    return ShapeOf(value.tensor, slice_spec.get("start"), slice_spec.get("stop"))


def _reduce(operation):
    return lambda input_tensor, axis=None, keepdims=False: operation(input_tensor, axis=axis, keepdims=keepdims)


def _concat(values, axis=-1):
    return ops.concatenate(values, axis=axis)


def _relu(x, negative_slope=0.0):
    return ops.leaky_relu(x, negative_slope) if negative_slope else ops.relu(x)


def _pad(tensor, paddings, mode="CONSTANT", constant_values=0):
    mode = mode.lower()
    return ops.pad(tensor, paddings, mode, constant_values=constant_values if mode == "constant" else None)


def _plain(operation, *names):
    """Wrap an operation whose arguments TensorFlow calls `names`, in this order."""

    def call(*arguments, **options):
        values = dict(zip(names, arguments, strict=False)) | options
        known = [values.pop(name) for name in names]
        return operation(*known, **values)

    return call


def _two(operation):
    return _plain(operation, "x", "y")


OPERATIONS = {
    "__operators__.add": _two(ops.add),
    "__operators__.getitem": _slice,
    "cast": lambda x, dtype: ops.cast(x, dtype),
    "clip_by_value": lambda t, clip_value_min, clip_value_max: ops.clip(t, clip_value_min, clip_value_max),
    "compat.v1.shape": lambda input, out_type=None: ShapeOf(input),
    "compat.v1.transpose": _transpose,
    "concat": _concat,
    "identity": _plain(lambda x: x, "input"),
    "image.resize": _resize,
    "math.add": _two(ops.add),
    "math.divide": _two(ops.true_divide),
    "math.exp": _plain(ops.exp, "x"),
    "math.maximum": _two(ops.maximum),
    "math.minimum": _two(ops.minimum),
    "math.multiply": _two(ops.multiply),
    "math.negative": _plain(ops.negative, "x"),
    "math.reduce_max": _reduce(ops.max),
    "math.reduce_mean": _reduce(ops.mean),
    "math.reduce_min": _reduce(ops.min),
    "math.reduce_sum": _reduce(ops.sum),
    "math.sigmoid": _plain(ops.sigmoid, "x"),
    "math.softplus": _plain(ops.softplus, "features"),
    "math.square": _plain(ops.square, "x"),
    "math.subtract": _two(ops.subtract),
    "math.tanh": _plain(ops.tanh, "x"),
    "math.truediv": _two(ops.true_divide),
    "nn.elu": _plain(ops.elu, "features"),
    "nn.gelu": lambda features, approximate=False: ops.gelu(features, approximate=approximate),
    "nn.leaky_relu": lambda features, alpha=0.2: ops.leaky_relu(features, alpha),
    "nn.relu": _plain(_relu, "features"),
    "nn.relu6": _plain(ops.relu6, "features"),
    "nn.sigmoid": _plain(ops.sigmoid, "x"),
    "nn.silu": lambda features, beta=1.0: (
        ops.silu(features) if beta == 1.0 else features * ops.sigmoid(beta * features)
    ),
    "nn.softmax": lambda logits, axis=-1: ops.softmax(logits, axis=axis),
    "nn.softplus": _plain(ops.softplus, "features"),
    "pad": _pad,
    "compat.v1.pad": _pad,
}
OPERATIONS["compat.v1.nn.softmax"] = OPERATIONS["nn.softmax_v2"] = OPERATIONS["nn.softmax"]
