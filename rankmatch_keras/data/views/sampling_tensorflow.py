"""The door through which random numbers sampled in NumPy enter a TensorFlow graph."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def sample_in_graph(sample: Callable[..., Any], inputs: Sequence[tf.Tensor], example: Sequence[Any]) -> Any:
    """Bring random numbers that NumPy samples into the graph.

    Args:
        sample: a pure function whose result is a nest of numbers and arrays, alike but for the values.
        inputs: its arguments as tensors.
        example: arguments of one call that shows what the nest is like.

    Returns:
        The nest of tensors: bool, int32 and float32.
    """
    nest = sample(*example)
    leaves = [np.asarray(leaf) for leaf in tf.nest.flatten(nest)]
    types = [{"b": np.bool_, "i": np.int32, "f": np.float32}[leaf.dtype.kind] for leaf in leaves]

    def call(*values):
        found = tf.nest.flatten(sample(*values))
        return [np.asarray(leaf, kind) for leaf, kind in zip(found, types, strict=True)]

    tensors = tf.numpy_function(call, inputs, types, stateful=False)
    shaped = [tf.ensure_shape(tensor, leaf.shape) for tensor, leaf in zip(tensors, leaves, strict=True)]
    return tf.nest.pack_sequence_as(nest, shaped)
