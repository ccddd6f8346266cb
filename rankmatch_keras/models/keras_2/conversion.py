"""Conversion of a Keras 2 (tf-keras) segmentation model into a segmenter with equal outputs."""

from pathlib import Path

import keras
from keras import layers

from rankmatch_keras.errors import UserError
from rankmatch_keras.models.keras_2.adapters import NoChannels, PadToMultiple, ResizeTo, TwoClasses
from rankmatch_keras.models.keras_2.files import assign, read_model
from rankmatch_keras.models.keras_2.graph import Graph
from rankmatch_keras.models.keras_2.translation import refuse
from rankmatch_keras.models.predictor import CropLike
from rankmatch_keras.models.segmenter import Segmenter

MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128)
# Layers that only move or repeat pixels: a softmax before them is still the last one.
UPSAMPLING = ("UpSampling2D", "Resize", "ResizeImageLike", "Resizing", "Cropping2D")


def from_tf_keras(source, features=None, any_size=False):
    """Convert a functional Keras 2 segmentation model into a segmenter with the same weights.

    The last softmax is removed, because a segmenter yields logits; one channel z, with or without a sigmoid, becomes
    the two classes (0, z), whose softmax is the sigmoid. The model still sees the images that it did: normalize them
    as in its training. Program code in the file (`Lambda` layers) is refused, never run.

    Args:
        source: an `.h5` file of a whole model, a SavedModel folder that tf-keras wrote (needs TensorFlow for its
            variables), or a live `tf_keras` model.
        features: name of the layer whose output (B, h, w, D) the rank loss compares, the encoder's last; None for
            the last layer on the coarsest map before the classifier.
        any_size: whether to rebuild a model that was saved for one image size for all sizes. Otherwise such a model
            keeps seeing that size: other images are resized to it and their logits back.

    Returns:
        `Segmenter`. Where the model accepts only multiples of some size, e.g. 16, images are zero-padded at the
        bottom and right to the next one and the logits cropped.

    Raises:
        UserError: no such model, a layer or operation without a Keras 3 twin (it is named), or no layer `features`.
    """
    graph = _twin(source, any_size)
    model = keras.Model(graph.model.input, _logits(graph.model.output), name=graph.model.name)
    size = model.input_shape[1:3]
    fixed = size if None not in size else None
    multiple = 1 if fixed else _multiple(model)
    side = fixed or (256, 256)
    choice = default_features(model, side) if features is None else features
    if choice not in feature_layers(model):
        raise UserError(
            "the name of a layer between image and classifier, with a map as output, as features",
            f"{features!r}",
            f"Choose one of {', '.join(feature_layers(model)) or 'none: no layer fits'}.",
        )
    return Segmenter(*_halves(model, choice, fixed, multiple), name=model.name)


def _twin(source, any_size):
    """Return the graph in Keras 3, with its weights."""
    try:
        config, read_weights = read_model(source)
        graph = Graph(config, any_size)
        assign(graph.layers, read_weights(graph.layers))
        return graph
    except UserError:
        raise
    # For truncated or foreign files h5py, TensorFlow and Keras raise errors of any type.
    except Exception as error:
        place = source if isinstance(source, (str, Path)) else type(source).__name__
        reason = " ".join(f"{type(error).__name__} {error}".split())[:160]
        raise UserError(
            "a whole Keras 2 model", f"{place}, which cannot be read ({reason})", "Save it again with tf-keras."
        ) from error


def _logits(output):
    """Return the tensor before the last softmax or sigmoid, with two classes in place of one channel."""
    if len(output.shape) != 4:
        raise UserError("a model from images to (B, H, W, K)", f"the output shape {output.shape}", "Keep the map.")
    kind, channels = _activation(output), output.shape[-1]
    across = getattr(_operation(output), "axis", -1) not in (-1, 3)
    if kind == "sigmoid" and channels != 1 or kind == "softmax" and (channels == 1 or across):
        raise UserError(
            "a softmax over the classes, or a sigmoid of one channel, or none, at the end",
            f"a {kind} of {channels} channels",
            "Give the model another classifier: a segmenter's classes exclude each other.",
        )
    x = _without_activation(output) if kind else output
    below = x
    while type(_operation(below)).__name__ in UPSAMPLING:
        below = _node(below).input_tensors[0]
        if _activation(below) in ("softmax", "sigmoid"):
            raise refuse(
                type(_operation(below)).__name__,
                _operation(below).name,
                "is a softmax or sigmoid before the last upsampling, so that there are no logits",
            )
    if channels == 1:
        x = TwoClasses(name="two_classes")(x)
    return x


def _operation(tensor):
    return tensor._keras_history.operation


def _node(tensor):
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]


def _activation(tensor):
    """Return "softmax" or "sigmoid" if it made the tensor, else None."""
    operation = _operation(tensor)
    kind = type(operation).__name__.lower()
    own = getattr(getattr(operation, "activation", None), "__name__", None)
    return next((name for name in ("softmax", "sigmoid") if name in (kind, own)), None)


def _without_activation(tensor):
    operation = _operation(tensor)
    if isinstance(operation, layers.Layer) and operation.weights:
        if len(operation._inbound_nodes) > 1:
            raise refuse(type(operation).__name__, operation.name, "ends the model and is used elsewhere too")
        operation.activation = keras.activations.linear
        return tensor
    return _node(tensor).input_tensors[0]


def _multiple(model):
    """Return the smallest power of two whose multiples the model accepts as image sizes and keeps."""
    for multiple in MULTIPLES:
        first = -(-128 // multiple)
        if all(_keeps(model, multiple * k) for k in range(first, first + 4)):
            return multiple
    if all(_keeps(model, side, same=False) for side in range(128, 132)):
        return 1
    raise UserError(
        "a model that accepts all image sizes, or all multiples of one",
        f"{model.name!r}, whose maps do not fit together at any size",
        "Save it with a known image size.",
    )


def _keeps(model, side, same=True):
    try:
        shape = model.compute_output_shape((1, side, side, model.input_shape[-1]))
    except ValueError:  # maps that do not fit together
        return False
    return not same or tuple(shape[1:3]) == (side, side)


def _halves(model, features, fixed, multiple):
    encoder, decoder = split(model, features)
    if not fixed and multiple == 1:
        return encoder, decoder
    image = keras.Input((None, None, model.input_shape[-1]), name="image")
    if fixed:
        maps = encoder(ResizeTo(fixed, name="resize_image")(image))
        return keras.Model(image, maps, name="encoder"), decoder
    maps = dict(encoder(PadToMultiple(multiple, name="pad_image")(image)))
    # A map without channels tells the decoder the size of the image.
    maps["image_size"] = NoChannels(name="image_size")(image)
    inputs = {name: keras.Input(x.shape[1:], name=name) for name, x in maps.items()}
    outputs = decoder({name: x for name, x in inputs.items() if name != "image_size"})
    logits = CropLike(name="crop_to_image")(outputs["logits"], inputs["image_size"])
    decoder = keras.Model(inputs, {"logits": logits, "features": outputs["features"]}, name="decoder")
    return keras.Model(image, maps, name="encoder"), decoder


def feature_layers(model):
    """Return the names of the layers at which a model can be split: those that yield a map before its last weights.

    Args:
        model: functional `keras.Model` from one image to logits.

    Returns:
        list of names, in the order of computation.
    """
    needed = _ancestors(model.output)
    classifier = [op for op in model.operations if isinstance(op, layers.Layer) and op.weights and op in needed]
    before = _ancestors(classifier[-1].output) - {classifier[-1]} if classifier and _once(classifier[-1]) else set()
    return [
        op.name
        for op in model.operations
        if op in before
        and isinstance(op, layers.Layer)
        and not isinstance(op, layers.InputLayer)
        and _once(op)
        and isinstance(op.output, keras.KerasTensor)
        and len(op.output.shape) == 4
    ]


def default_features(model, size):
    """Return the last of `feature_layers` on the coarsest map (of more than one pixel), or None.

    Args:
        model: functional `keras.Model` from one image to logits.
        size: (height, width) of an image.
    """
    names = feature_layers(model)
    if not names:
        return None
    maps = keras.Model(model.input, [model.get_layer(name).output for name in names])
    shapes = maps.compute_output_shape((1, *size, model.input_shape[-1]))
    areas = {name: shape[1] * shape[2] for name, shape in zip(names, shapes, strict=True)}
    coarsest = min((area for area in areas.values() if area > 1), default=1)
    return [name for name in names if areas[name] == coarsest][-1]


def split(model, features):
    """Split a model into encoder and decoder at the output of one of its layers.

    Args:
        model: functional `keras.Model` from one image to logits (B, h, w, K).
        features: name of the layer whose output is "features".

    Returns:
        encoder, from images to a dict of "features" and every other map that the rest needs ("skip_1", ...); and
        decoder, from that dict to {"logits", "features"}.

    Raises:
        UserError: a tensor that is not a map crosses the cut, or a layer with weights is used on both sides.
    """
    cut = model.get_layer(features).output
    after = _descendants(model, cut)
    crossing: dict[int, keras.KerasTensor] = {}
    for op in model.operations:
        if op in after:
            for node in op._inbound_nodes:
                crossing |= {
                    id(x): x for x in node.input_tensors if x is not cut and x._keras_history.operation not in after
                }
    maps = {"features": cut}
    maps |= {f"skip_{i}": x for i, x in enumerate(crossing.values(), start=1)}
    shared = [op.name for op in after if isinstance(op, layers.Layer) and op.weights and not _once(op)]
    wrong = [f"beside which a tensor of shape {x.shape} is needed" for x in maps.values() if len(x.shape) != 4]
    wrong += [f"after which the layer {name!r} is used several times" for name in shared]
    if wrong:
        raise UserError(
            "a layer as features that splits the model into maps and their decoder",
            f"{features!r}, {wrong[0]}",
            f"Choose another of {', '.join(feature_layers(model))}.",
        )
    encoder = keras.Model(model.input, maps, name="encoder")
    logits = keras.Model(list(maps.values()), model.output, name="head")
    inputs = {name: keras.Input(x.shape[1:], dtype=x.dtype, name=name) for name, x in maps.items()}
    # Not the input itself: in a graph around it, a model that returns its input would replace that tensor.
    features_out = layers.Identity(name="features_out")(inputs["features"])
    outputs = {"logits": logits(list(inputs.values())), "features": features_out}
    return encoder, keras.Model(inputs, outputs, name="decoder")


def _once(operation):
    return len(operation._inbound_nodes) == 1


def _ancestors(tensor):
    """Return the operations that compute a tensor, its own included."""
    found, waiting = set(), [tensor]
    while waiting:
        operation, index, _ = waiting.pop()._keras_history
        if operation not in found:
            found.add(operation)
            for node in operation._inbound_nodes:
                waiting.extend(node.input_tensors)
    return found


def _descendants(model, tensor):
    """Return the operations that need a tensor, directly or not."""
    source = tensor._keras_history.operation
    found = {source}
    for op in model.operations:  # in the order of computation
        if any(x._keras_history.operation in found for node in op._inbound_nodes for x in node.input_tensors):
            found.add(op)
    return found - {source}
