"""Copies of functional models with some layers replaced; the original and its weights stay untouched."""

import keras


def clone_with(model, call):
    """Clones a functional model; ``call(layer, *args, **kwargs)`` makes and calls each layer's replacement."""
    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def copy_layer(layer, **changes):
    """A new layer of the same class and configuration, but for ``changes``; without weights."""
    return type(layer).from_config({**layer.get_config(), **changes})


def call_copy(layer, copy, *args, **kwargs):
    """Calls ``copy`` and gives it the weights of ``layer`` once the call has built it."""
    outputs = copy(*args, **kwargs)
    for target, source in zip(copy.weights, layer.weights, strict=True):
        target.assign(source.value)
    return outputs
