"""Splits a functional model into encoder and decoder at the output of one of its layers."""

import keras

from rankmatch_keras.errors import UserError


def feature_layers(model):
    """Names of the layers where a model can be split: those with a map as output before its last weights.

    Args:
        model: functional ``keras.Model`` from one image to logits.

    Returns:
        list of names, in the order of computation.
    """
    needed = _ancestors(model.output)
    classifier = [op for op in model.operations if isinstance(op, keras.layers.Layer) and op.weights and op in needed]
    before = _ancestors(classifier[-1].output) - {classifier[-1]} if classifier and _once(classifier[-1]) else set()
    return [
        op.name
        for op in model.operations
        if op in before
        and isinstance(op, keras.layers.Layer)
        and not isinstance(op, keras.layers.InputLayer)
        and _once(op)
        and isinstance(op.output, keras.KerasTensor)
        and len(op.output.shape) == 4
    ]


def default_features(model, size):
    """The last of ``feature_layers`` on the coarsest map (of more than one pixel), or None.

    Args:
        model: as above.
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
    """Splits the model.

    Args:
        model: functional ``keras.Model`` from one image to logits (B, h, w, K).
        features: name of the layer whose output is "features".

    Returns:
        encoder, from images to a dict of "features" and every other map that the rest needs ("skip_1", ...); and
        decoder, from that dict to {"logits", "features"}.

    Raises:
        UserError: something else than maps crosses the cut, or a layer with weights works on both sides.
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
    shared = [op.name for op in after if isinstance(op, keras.layers.Layer) and op.weights and not _once(op)]
    wrong = [f"beside which a tensor of shape {x.shape} is needed" for x in maps.values() if len(x.shape) != 4]
    wrong += [f"after which the layer {name!r} is used several times" for name in shared]
    if wrong:
        raise UserError(
            "a layer as features that splits the model into maps and what is made of them",
            f"{features!r}, {wrong[0]}",
            f"Choose another of {', '.join(feature_layers(model))}.",
        )
    encoder = keras.Model(model.input, maps, name="encoder")
    logits = keras.Model(list(maps.values()), model.output, name="head")
    inputs = {name: keras.Input(x.shape[1:], dtype=x.dtype, name=name) for name, x in maps.items()}
    # Not the input itself: a model that returns its input takes that tensor's place in the graph around it.
    features_out = keras.layers.Identity(name="features_out")(inputs["features"])
    outputs = {"logits": logits(list(inputs.values())), "features": features_out}
    return encoder, keras.Model(inputs, outputs, name="decoder")


def _once(operation):
    return len(operation._inbound_nodes) == 1


def _ancestors(tensor):
    """Operations that a tensor is computed with, its own included."""
    found, waiting = set(), [tensor]
    while waiting:
        operation, index, _ = waiting.pop()._keras_history
        if operation not in found:
            found.add(operation)
            for node in operation._inbound_nodes:
                waiting.extend(node.input_tensors)
    return found


def _descendants(model, tensor):
    """Operations that need a tensor, directly or not."""
    source = tensor._keras_history.operation
    found = {source}
    for op in model.operations:  # in the order of computation
        if any(x._keras_history.operation in found for node in op._inbound_nodes for x in node.input_tensors):
            found.add(op)
    return found - {source}
