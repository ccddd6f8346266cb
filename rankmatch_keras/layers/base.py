"""Bases of the layers: configurations that follow from the constructor, float32 arithmetic, random numbers."""

import inspect
from typing import Any

import keras

from rankmatch_keras.backend.replicas import own_part, replicas

KERAS_ARGUMENTS = ("name", "trainable", "dtype")  # part of Keras' own configuration


class ConfigFromArguments:
    """Mixin for Keras objects whose configuration is their constructor's arguments.

    Every named argument, of the class and of the bases that its `**kwargs` reach, is an attribute of the same name.
    Layers, models, initializers and `keras.random.SeedGenerator` among them are serialized too. It stands before the
    Keras class: `class MyLayer(ConfigFromArguments, keras.layers.Layer)`.

    Example:

    >>> class Scale(ConfigFromArguments, keras.layers.Layer):
    ...     def __init__(self, factor=2.0, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.factor = factor
    >>> Scale(3.0, name="scale", dtype="float32").get_config()["factor"]
    3.0
    """

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments by name, in a form that can be saved."""
        return {name: _serialized(getattr(self, name)) for name in argument_names(type(self))}

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments and Keras' own."""
        return {**super().get_config(), **self.arguments()}  # type: ignore[misc]

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Make the object from `get_config()`."""
        config = dict(config)
        for name in argument_names(cls):
            if isinstance(config.get(name), dict) and "class_name" in config[name]:
                config[name] = keras.saving.deserialize_keras_object(config[name], custom_objects)
        return super().from_config(config)  # type: ignore[misc]


def argument_names(kind: type) -> tuple[str, ...]:
    """Return the named arguments of a class with `ConfigFromArguments`, those of its bases first."""
    names: list[str] = []
    for base in kind.__mro__[: kind.__mro__.index(ConfigFromArguments)]:
        if "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        named = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        names = [*(name for name in named if name not in (*names, *KERAS_ARGUMENTS)), *names]
        if all(p.kind != p.VAR_KEYWORD for p in parameters):
            break
    return tuple(names)


def _serialized(value):
    return keras.saving.serialize_keras_object(value) if hasattr(value, "get_config") else value


class Float32Layer(ConfigFromArguments, keras.layers.Layer):
    """Base of the layers that compute in float32 whatever the model's precision, and make any state at once."""

    def __init__(self, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.built = True

    def add_state(self, name: str, shape: tuple[int, ...] = (), initial: float = 0, dtype: str = "float32"):
        """Add a variable that no gradient reaches; it is saved and resumed with the method.

        Args:
            name: name of the variable.
            shape: its shape.
            initial: value of all its entries.
            dtype: its type.
        """
        initializer = keras.initializers.Constant(initial)
        return self.add_weight(name=name, shape=shape, dtype=dtype, initializer=initializer, trainable=False)


def random_source(seed) -> keras.random.SeedGenerator:
    """Return a `keras.random.SeedGenerator` as it is, or one made from an int or `None`."""
    return seed if isinstance(seed, keras.random.SeedGenerator) else keras.random.SeedGenerator(seed)


def uniform(shape, seed: keras.random.SeedGenerator, low: float = 0.0, high: float = 1.0):
    """Sample for each image of this replica, equal to what one replica would sample for the whole batch.

    Args:
        shape: `(B, ...)`, B the images of this replica.
        seed: source of the numbers; its state must be the same on all replicas.
        low: smallest number.
        high: upper end, not reached.

    Returns:
        Float32 of that shape.
    """
    everywhere = (shape[0] * replicas().count, *shape[1:])
    return own_part(keras.random.uniform(everywhere, low, high, dtype="float32", seed=seed))
