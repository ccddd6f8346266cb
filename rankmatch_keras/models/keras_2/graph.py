"""Graph of a Keras 2 configuration, rebuilt from Keras 3 layers; nested models are flattened."""

import itertools
from typing import Any

import keras

from rankmatch_keras.errors import UserError
from rankmatch_keras.models.keras_2.translation import SIZE_BOUND, apply_operation, refuse, translate

MODELS = ("Functional", "Model", "Sequential")
CONSTANT = "_CONSTANT_VALUE"


class Graph:
    """Keras 3 twin of a functional or sequential Keras 2 model.

    Args:
        config: {"class_name": ..., "config": ...} as Keras 2 saves it.
        any_size: whether to build for unknown height and width, whatever the configuration says.

    Attributes:
        model: functional `keras.Model` from one image to one tensor, with new weights.
        layers: its layers by the path of names in the Keras 2 model, e.g. ("backbone", "conv_1").

    Raises:
        UserError: another kind of model, several inputs or outputs, or a layer that cannot be translated (it is named).
    """

    def __init__(self, config, any_size=False):
        if config.get("class_name") not in MODELS or "layers" not in (config.get("config") or {}):
            raise UserError(
                "a functional or sequential Keras 2 model",
                f"a {config.get('class_name')!r}",
                "A subclassed model has no configuration: rebuild it as a functional one.",
            )
        self.any_size = any_size
        self.layers: dict[tuple, keras.layers.Layer] = {}
        self._frozen: dict[tuple, bool] = {}
        self._names = {"image", "start"}
        image = keras.Input(self._image_shape(config["config"]), name="image")
        # Keeps a decoder that needs the image itself from taking the encoder's input tensor as its own.
        start = keras.layers.Identity(name="start")(image)
        self._named = {image._keras_history.operation, start._keras_history.operation}
        outputs = self._run(config, (), [start], None)
        if len(outputs) != 1:
            raise UserError("a model with one output", f"{len(outputs)}", "Keep the segmentation only.")
        self.model = keras.Model(image, outputs[0], name=config["config"].get("name", "keras_2"))

    def _image_shape(self, config):
        names = [entry[0] for entry in _references(config.get("input_layers", []))]
        inputs = [x for x in config["layers"] if layer_name(x) in names] or config["layers"][:1]
        shape = inputs[0]["config"].get("batch_input_shape")
        if len(inputs) != 1 or shape is None or len(shape) != 4 or shape[3] is None:
            raise UserError(
                "a model with one input (B, H, W, C)", f"{len(inputs)} of shape {shape}", "Rebuild it with one image."
            )
        height, width = (None, None) if self.any_size else shape[1:3]
        return (height, width, shape[3])

    def _run(self, config, path, inputs, training):
        """Return the outputs of a model's configuration on symbolic inputs."""
        inner = config["config"]
        if config["class_name"] == "Sequential":
            x = inputs
            for layer in inner["layers"]:
                if layer["class_name"] != "InputLayer":
                    x = self._call(layer, (*path, layer_name(layer)), x, {}, training)
            return x
        known: dict[tuple, Any] = {}  # (layer name, node index) -> list of its outputs
        for (name, *_), tensor in zip(_references(inner["input_layers"]), inputs, strict=True):
            known[name, 0] = [tensor]
        names = {layer_name(layer) for layer in inner["layers"]}
        waiting = [
            (layer, index, node)
            for layer in inner["layers"]
            for index, node in enumerate(layer.get("inbound_nodes", []), start=_first_node(layer))
        ]
        while waiting:
            ready = [entry for entry in waiting if all(key in known for key in _needed(entry[2], names))]
            if not ready:
                layer = waiting[0][0]
                raise refuse(layer["class_name"], layer_name(layer), "depends on a layer that is missing")
            for layer, index, node in ready:
                arguments, options = _arguments(node, names, known)
                layer_path = (*path, layer_name(layer))
                known[layer_name(layer), index] = self._call(layer, layer_path, arguments, options, training)
            waiting = [entry for entry in waiting if not any(entry is x for x in ready)]
        return [known[name, index][tensor] for name, index, tensor in _references(inner["output_layers"])]

    def _call(self, layer, path, arguments, options, training):
        """Return the list of outputs of one layer on positional and named arguments."""
        kind, config, name = layer["class_name"], layer["config"], path[-1]
        training = options.pop("training", None) if training is None else training
        if kind in MODELS:
            return self._run(layer, path, keras.tree.flatten(arguments), training)
        if kind in ("TFOpLambda", "SlicingOpLambda"):
            size = options.get("size", arguments[1] if len(arguments) > 1 else None)
            if self.any_size and config.get("function") == "image.resize" and isinstance(size, list):
                raise refuse(kind, name, f"resizes to {size}, so that only one image size works: leave out any_size")
            output = apply_operation(kind, config, name, arguments, options)
            self._name_operations(output, path)
            return [output]
        if any(value is not None for key, value in options.items() if key != "training"):
            raise refuse(kind, name, f"is called with {sorted(options)}")
        if self.any_size and kind in SIZE_BOUND:
            raise refuse(kind, name, "works at one image size: leave out any_size")
        twin = self._twin(kind, config, path, training)
        try:
            return keras.tree.flatten(twin(arguments[0] if len(arguments) == 1 else arguments))
        except ValueError as error:
            reason = " ".join(str(error).split())[:160]
            raise refuse(kind, name, f"does not fit its inputs ({reason})") from error

    def _twin(self, kind, config, path, training):
        """Return the Keras 3 layer of a path, the same one at each of its calls."""
        frozen = training is not None and not training
        if path not in self.layers:
            self.layers[path] = translate(kind, config, self._unused(path), frozen)
            self._named.add(self.layers[path])
            self._frozen[path] = frozen
        if training or self._frozen[path] != frozen:
            raise refuse(kind, path[-1], "is in training mode at all times, or at only one of its places")
        return self.layers[path]

    def _name_operations(self, output, path):
        """Name the new operations after the Keras 2 layer: Keras' own names would clash with those of layers."""
        waiting = [output] if isinstance(output, keras.KerasTensor) else []
        while waiting:
            operation = waiting.pop()._keras_history.operation
            if operation not in self._named:
                operation.name = self._unused(path)
                self._named.add(operation)
                waiting.extend(x for node in operation._inbound_nodes for x in node.input_tensors)

    def _unused(self, path):
        """Return the layer's own name, prefixed with those of the models around it where it is taken."""
        wanted = [path[-1]]
        for outer in reversed(path[:-1]):
            wanted.append(f"{outer}_{wanted[-1]}")
        numbered = (f"{wanted[-1]}_{i}" for i in itertools.count(1))
        name = next(x for x in itertools.chain(wanted, numbered) if x not in self._names)
        self._names.add(name)
        return name


def layer_name(layer):
    """Return the name of a layer's configuration."""
    return layer.get("name") or layer["config"]["name"]


def _references(entries):
    """Return [[name, node, tensor], ...], however deeply they are nested in lists or dicts."""
    if isinstance(entries, dict):
        entries = list(entries.values())
    if len(entries) == 3 and isinstance(entries[0], str):
        return [entries]
    return [reference for entry in entries for reference in _references(entry)]


def _first_node(layer):
    """Return 1 for models with their own inputs: Keras 2 counts the call that built them."""
    inner = layer["config"].get("layers")
    return int(bool(inner) and layer["class_name"] in MODELS and inner[0]["class_name"] == "InputLayer")


def _is_reference(value, names):
    return isinstance(value, (list, tuple)) and len(value) in (3, 4) and value[0] in names if _starts(value) else False


def _starts(value):
    return isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], str)


def _needed(value, names):
    """Yield the keys of all outputs that a node's description refers to."""
    if _is_reference(value, names):
        yield value[0], value[1]
        yield from _needed(value[3:], names)
    elif isinstance(value, dict):
        yield from _needed(list(value.values()), names)
    elif isinstance(value, (list, tuple)) and not (_starts(value) and value[0] == CONSTANT):
        for entry in value:
            yield from _needed(entry, names)
    elif isinstance(value, (list, tuple)):
        yield from _needed(value[3:], names)


def _arguments(node, names, known):
    """Return the positional and named arguments of a call, from [[name, node, tensor, options], ...]."""
    options: dict[str, Any] = {}

    def resolve(value):
        if _starts(value) and (value[0] == CONSTANT or _is_reference(value, names)):
            if len(value) == 4:
                options.update({key: resolve(x) for key, x in value[3].items()})
            return value[2] if value[0] == CONSTANT else known[value[0], value[1]][value[2]]
        if isinstance(value, (list, tuple)):
            return [resolve(x) for x in value]
        return value

    first = resolve(node)
    if _starts(node):
        return [first], options
    # Operations list their first argument, layers all of theirs.
    return [first[0]] if len(first) == 1 else [first], options
