"""Random draws from a file: every framework draws other numbers from the same seed, parity needs the same ones."""

import math

import keras
from keras import ops

FUNCTIONS = ("normal", "categorical", "randint", "truncated_normal", "shuffle", "gamma", "binomial", "beta")


class Draws:
    """Stands in for `keras.random` with numbers of a table; which ones is decided by the seed generator's state.

    So the streams advance as they do in training, in compiled steps too, and two layers draw different numbers.

    Args:
        table: (n,) float32 of 0 up to 1.
    """

    def __init__(self, table):
        self.table = table

    def install(self):
        """Replaces the functions of `keras.random`; what is not covered raises instead of differing silently."""
        keras.random.uniform, keras.random.dropout = self.uniform, self.dropout
        for name in FUNCTIONS:
            setattr(keras.random, name, self._not_covered(name))

    def uniform(self, shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
        """`keras.random.uniform`."""
        state = ops.cast(seed.next(), "int32")
        # Small factors, so that nothing overflows.
        start = (state[0] % 1009) * 31 + (state[1] % 1009) * 977
        index = (start + ops.arange(math.prod(shape), dtype="int32")) % len(self.table)
        numbers = ops.take(ops.convert_to_tensor(self.table), index)
        return ops.cast(minval + (maxval - minval) * ops.reshape(numbers, shape), dtype or "float32")

    def dropout(self, inputs, rate, noise_shape=None, seed=None):
        """`keras.random.dropout`."""
        kept = self.uniform(noise_shape or inputs.shape, seed=seed) >= rate
        return ops.where(kept, inputs / (1.0 - rate), 0.0)

    def _not_covered(self, name):
        def fail(*args, **kwargs):
            raise NotImplementedError(f"keras.random.{name} draws other numbers on every backend: add it to {__file__}")

        return fail
