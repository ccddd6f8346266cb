"""Functional models that call their layers directly, without the checks that Keras makes at every call of a layer.

Keras converts, checks and records at each call what cannot change from call to call. On a CPU that takes about 0.3 ms a
layer, for small images more than the layer's own work. It also keeps every map of a pass until its end; here a map is
gone when its last reader has run.
"""

import functools
import inspect
from typing import Any, NamedTuple

import keras

PLAIN = keras.DTypePolicy("float32")
PACKAGES = ("keras", "rankmatch_keras")


class Call(NamedTuple):
    """One call of a layer or operation in a functional model; tensors go by their `id` in the model's graph."""

    operation: Any
    direct: bool  # whether its `call` is run as it is
    takes_training: bool
    reads: tuple[int | list[int], ...] | None  # its arguments; None: `arguments` must say
    arguments: Any
    writes: tuple[int, ...]
    read_last: tuple[int, ...]  # tensors that nothing after it needs


def use_direct_calls(model):
    """Let the functional models inside a model call their layers directly; all numbers stay the same.

    Layers of other packages, with mixed precision, or whose inputs are not float32, are called as before.

    Args:
        model: a built `keras.Model`.

    Returns:
        The names of the functional models that were changed.
    """
    changed = [part for part in model._flatten_layers() if _is_functional(part) and part.dtype_policy == PLAIN]
    for part in changed:
        part.call = functools.partial(_run, part, _calls(part))
    return [part.name for part in changed]


def _is_functional(layer):
    return isinstance(layer, keras.Model) and type(layer).call.__qualname__ == "Functional.call"


def _calls(model):
    """List the calls of a functional model in an order in which each finds its inputs."""
    nodes = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
    nodes = [node for node in nodes if node.operation and not node.is_input]
    needed = {id(tensor) for tensor in model.outputs}
    calls: list[Call] = []
    for node in reversed(nodes):
        tensors = {id(tensor) for tensor in (*node.input_tensors, *node.outputs)}
        calls.append(_call(node, tuple(tensors - needed)))
        needed |= tensors
    return calls[::-1]


def _call(node, read_last):
    operation = node.operation
    return Call(
        operation,
        _is_direct(operation, node.input_tensors),
        "training" in inspect.signature(type(operation).call).parameters,
        _reads(node.arguments),
        node.arguments,
        tuple(id(tensor) for tensor in node.outputs),
        read_last,
    )


def _is_direct(operation, inputs):
    """Tell whether nothing that Keras does around a layer's `call` matters."""
    return (
        isinstance(operation, keras.Layer)
        and type(operation).__module__.split(".")[0] in PACKAGES
        and operation.built
        and operation.dtype_policy == PLAIN
        and operation.activity_regularizer is None
        and all(tensor.dtype == "float32" for tensor in inputs)
    )


def _reads(arguments):
    """Return the positional tensors and lists of tensors of a call, or None where it has other arguments."""
    reads: list[int | list[int]] = []
    for value in arguments.args:
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, keras.KerasTensor) for part in parts):
            return None
        reads.append([id(part) for part in parts] if isinstance(value, list) else id(value))
    return None if arguments.kwargs else tuple(reads)


def _run(model, calls, inputs, training=None, mask=None, **kwargs):
    """Compute `Functional.call`."""
    values = model._standardize_inputs(inputs)
    masks = [value for value in keras.tree.flatten(mask) if value is not None]
    if masks or kwargs or any(value is None for value in values):
        return type(model).call(model, inputs, training=training, mask=mask, **kwargs)
    tensors = {id(tensor): value for tensor, value in zip(model.inputs, values, strict=True)}
    del inputs, values
    for call in calls:
        _run_call(call, tensors, training)
    outputs = keras.tree.pack_sequence_as(model._outputs_struct, [tensors[id(tensor)] for tensor in model.outputs])
    return outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else outputs


def _run_call(call, tensors, training):
    if call.reads is None:
        arguments, options = call.arguments.fill_in(tensors)
    else:
        arguments = [[tensors[x] for x in read] if isinstance(read, list) else tensors[read] for read in call.reads]
        options = {}
    if call.takes_training and training is not None:
        options = {**options, "training": training}
    outputs = (call.operation.call if call.direct else call.operation)(*arguments, **options)
    found = [outputs] if len(call.writes) == 1 else keras.tree.flatten(outputs)
    tensors.update(zip(call.writes, found, strict=True))
    for tensor in call.read_last:
        del tensors[tensor]
