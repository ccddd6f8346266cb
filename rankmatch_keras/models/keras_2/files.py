"""Configuration and weights of Keras 2 models: an `.h5` file, a SavedModel folder, or a model in memory.

Only the configuration and variables of a SavedModel are read, never its TensorFlow program.
"""

import json
from pathlib import Path

import h5py
import numpy as np

from rankmatch_keras.errors import UserError
from rankmatch_keras.models.hdf5 import require_own_values
from rankmatch_keras.models.keras_2.graph import MODELS, layer_name

METADATA = "keras_metadata.pb"
INDEX = Path("variables", "variables.index")


def read_model(source):
    """Read configuration and weights.

    Args:
        source: path of an `.h5` file that `model.save` of Keras 2 wrote, or of a SavedModel folder with
            `keras_metadata.pb`; or a live `tf_keras` model.

    Returns:
        the configuration {"class_name", "config"}, and a function from the built layers ({path: layer}) to their
        weights {path: {variable name: array}}.

    Raises:
        UserError: no such file, or one without a configuration.
    """
    if not isinstance(source, (str, Path)):
        return _live_config(source), lambda layers: _live_weights(source, ())
    path = Path(source)
    if path.is_dir() and (path / METADATA).is_file() and (path / INDEX).is_file():
        config = _saved_config(path)
        return config, lambda layers: _saved_weights(path, config, layers)
    if path.is_file() and h5py.is_hdf5(path):
        require_own_values(path)
        return _h5_config(path), lambda layers: _h5_weights(path, layers)
    raise UserError(
        expected=f"an .h5 file of a whole Keras 2 model, or a SavedModel folder with {METADATA} and {INDEX}",
        found=f"{path}" if path.exists() else f"nothing at {path}",
        remedy="Save it with tf-keras: model.save('name.h5').",
    )


def assign(layers, weights):
    """Give built layers their weights.

    Args:
        layers: {path: Keras 3 layer}.
        weights: {path: {variable name: array}}.

    Raises:
        UserError: a weight is missing or has another shape (layer and variable are named).
    """
    for path, layer in layers.items():
        found = weights.get(path, {})
        for variable in layer.weights:
            value = found.get(variable.name, found.get(f"depthwise_{variable.name}"))
            if value is None or tuple(value.shape) != tuple(variable.shape):
                raise UserError(
                    expected=f"weight {variable.name!r} of layer {'/'.join(path)!r}, of shape {tuple(variable.shape)}",
                    found="none" if value is None else f"shape {tuple(value.shape)}",
                    remedy="Save the model again with tf-keras, as an .h5 file.",
                )
            variable.assign(value)


def _live_config(model):
    if hasattr(model, "get_config") and hasattr(model, "layers"):
        kind = "Sequential" if type(model).__name__ == "Sequential" else "Functional"
        try:
            return {"class_name": kind, "config": json.loads(json.dumps(model.get_config(), default=_plain))}
        except NotImplementedError:
            pass
    raise UserError("a functional tf_keras model, or a path", f"a {type(model).__name__}", "Give one of these.")


def _plain(value):
    """Return what Keras 2 writes for a dtype or shape in a configuration."""
    return value.as_list() if hasattr(value, "as_list") else getattr(value, "name", str(value))


def _live_weights(model, path):
    weights: dict[tuple, dict] = {}
    for layer in model.layers:
        here = (*path, layer.name)
        if hasattr(layer, "layers"):
            weights |= _live_weights(layer, here)
        else:
            names = [_variable(variable.name) for variable in layer.weights]
            weights[here] = dict(zip(names, layer.get_weights(), strict=True))
    return weights


def _variable(name):
    """Return the last part of a name such as conv/kernel:0."""
    return name.rpartition("/")[2].partition(":")[0]


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def _h5_config(path):
    with h5py.File(path, "r") as file:
        text = file.attrs.get("model_config")
    if text is None:
        raise UserError(
            "an .h5 file of a whole model", f"{path}, which holds only weights", "Save it with model.save, not weights."
        )
    return _json(_text(text), path)


def _json(text, path):
    try:
        return json.loads(text, object_hook=_sequence)
    except ValueError as error:
        raise UserError(
            "a model configuration", f"a broken one in {path} ({error})", "Save the model again."
        ) from error


def _sequence(value):
    """Unwrap tuples and shapes, which Keras 2 writes as objects with items."""
    return value["items"] if value.get("class_name") in ("__tuple__", "TensorShape") else value


def _h5_weights(path, layers):
    weights: dict[tuple, dict] = {}
    with h5py.File(path, "r") as file:
        groups = file["model_weights"]
        for group in groups:
            for name in (_text(n) for n in groups[group].attrs.get("weight_names", [])):
                here = _place(group, name.split("/")[:-1], layers, path)
                weights.setdefault(here, {})[_variable(name)] = np.asarray(groups[group][name])
    return weights


def _place(group, scopes, layers, file):
    """Return the path of the layer that owns a weight in the group of a top-level layer."""
    if (group,) in layers:
        return (group,)
    found = [path for path in layers if path[0] == group and scopes and path[-1] == scopes[-1]]
    if len(found) != 1:
        raise UserError(
            f"one layer {'/'.join(scopes)} in {group!r} of {file}", f"{len(found)}", "Give the layers unique names."
        )
    return found[0]


def _without_tensorflow(error):
    return UserError(
        "TensorFlow, which reads the variables of a SavedModel",
        f"it cannot be imported ({error})",
        "Install it (pip install tensorflow-cpu), or save the model as an .h5 file.",
    )


def _saved_config(path):
    """Return the configuration of the first object in keras_metadata.pb, which is the model."""
    try:
        from google.protobuf.empty_pb2 import Empty
        from google.protobuf.unknown_fields import UnknownFieldSet
    except ImportError as error:
        raise _without_tensorflow(error) from error

    def fields(message):  # without its schema, which only tf-keras has
        return [(field.field_number, field.data) for field in UnknownFieldSet(Empty.FromString(message))]

    try:
        nodes = [node for number, node in fields((path / METADATA).read_bytes()) if number == 1]
        values = dict(fields(nodes[0]))
        identifier, text = values[4].decode(), values[5].decode()
    except Exception as error:  # protobuf's DecodeError; KeyError, AttributeError, ... of other fields
        raise UserError(f"a {METADATA}", f"a broken one in {path}", "Save the model again.") from error
    metadata = _json(text, path)
    if identifier in ("_tf_keras_network", "_tf_keras_sequential") and metadata.get("class_name") in MODELS:
        return metadata
    raise UserError("a functional or sequential model", f"another kind in {path}", "Rebuild it as a functional one.")


def _saved_weights(path, config, layers):
    try:
        from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph
        from tensorflow.train import load_checkpoint
    except ImportError as error:
        raise _without_tensorflow(error) from error
    reader = load_checkpoint(str(path / "variables" / "variables"))
    objects = TrackableObjectGraph.FromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")).nodes
    weights = {}

    def children(node):
        return {child.local_name: objects[child.node_id] for child in node.children}

    def walk(model, node, prefix):
        count = 0  # Keras 2 numbers the layers that have weights
        for layer in model["config"]["layers"]:
            here = (*prefix, layer_name(layer))
            if not any(twin.weights for place, twin in layers.items() if place[: len(here)] == here):
                continue
            child = children(node).get(f"layer_with_weights-{count}")
            count += 1
            if child is None:
                continue
            if layer["class_name"] in MODELS:
                walk(layer, child, here)
            else:
                keys = {name: x.attributes[0].checkpoint_key for name, x in children(child).items() if x.attributes}
                weights[here] = {name: reader.get_tensor(key) for name, key in keys.items()}

    walk(config, objects[0], ())
    return weights
