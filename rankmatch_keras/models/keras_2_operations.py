"""TensorFlow operations that Keras 2 models call between layers (``TFOpLambda``), as Keras 3 operations."""

from dataclasses import dataclass
from typing import Any

from keras import ops

from rankmatch_keras.models.keras_2_adapters import NoChannels, ResizeImageLike
from rankmatch_keras.models.keras_2_layers import refuse


@dataclass(frozen=True)
class ShapeOf:
    """``tf.shape(tensor)[start:stop]`` of a tensor whose size may be known only when images arrive."""

    tensor: Any
    start: int | None = None
    stop: int | None = None

    def is_size(self):
        """Whether it is (height, width)."""
        return range(4)[self.start : self.stop] == range(1, 3)


def apply_operation(kind, config, name, arguments, options):
    """Calls the twin of a TensorFlow operation.

    Args:
        kind: "TFOpLambda" or "SlicingOpLambda".
        config: its Keras 2 configuration; "function" names the operation.
        name: name of the layer, for errors.
        arguments: positional arguments: symbolic tensors, ``ShapeOf``, constants.
        options: named arguments, the same.

    Returns:
        symbolic tensor or ``ShapeOf``.

    Raises:
        UserError: an operation or a use of it that is not known.
    """
    function = config.get("function")
    options = {key: value for key, value in options.items() if key != "name" and value is not None}
    if function not in OPERATIONS:
        raise refuse(kind, name, f"calls tf.{function}")
    try:
        return OPERATIONS[function](*arguments, **options)
    # Wrong arguments, and sizes that are unknown to an operation that must know them.
    except (TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise refuse(kind, name, f"calls tf.{function} in a way that is not known ({reason})") from error


def _resize(images, size, method="bilinear", antialias=False, preserve_aspect_ratio=False):
    # Not bicubic: each backend has another kernel.
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
        raise ValueError("slices something else than a shape")
    if slice_spec.get("step") not in (None, 1):
        raise ValueError("takes every second entry or so")
    return ShapeOf(value.tensor, slice_spec.get("start"), slice_spec.get("stop"))


def _reduce(operation):
    return lambda x, axis=None, keepdims=False: operation(x, axis=axis, keepdims=keepdims)


def _concat(values, axis=-1):
    return ops.concatenate(values, axis=axis)


def _relu(x, negative_slope=0.0):
    return ops.leaky_relu(x, negative_slope) if negative_slope else ops.relu(x)


def _pad(tensor, paddings, mode="CONSTANT", constant_values=0):
    mode = mode.lower()
    return ops.pad(tensor, paddings, mode, constant_values=constant_values if mode == "constant" else None)


def _plain(operation, *names):
    """The operation, of which only the arguments ``names`` are known."""

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
    "math.reduce_max": lambda input_tensor, **o: _reduce(ops.max)(input_tensor, **o),
    "math.reduce_mean": lambda input_tensor, **o: _reduce(ops.mean)(input_tensor, **o),
    "math.reduce_min": lambda input_tensor, **o: _reduce(ops.min)(input_tensor, **o),
    "math.reduce_sum": lambda input_tensor, **o: _reduce(ops.sum)(input_tensor, **o),
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
