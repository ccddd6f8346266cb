"""Stateless seeds: every random number of the pipeline is a function of where it is used.

Because no generator advances, the numbers do not depend on how many examples are made in parallel, and a run
can start at any step.
"""

import tensorflow as tf

# Pinned, because the automatic choice differs between devices.
ALGORITHM = "philox"


def fold(seed: tf.Tensor | tuple[int, int], *numbers: int | tf.Tensor) -> tf.Tensor:
    """Derive a seed: int32 or int64 (2,) and whole numbers -> int64 (2,); other numbers, other seeds."""
    folded = tf.cast(tf.convert_to_tensor(seed), tf.int64)
    for number in numbers:
        folded = tf.random.experimental.stateless_fold_in(folded, tf.cast(number, tf.int64), alg=ALGORITHM)
    return folded


def uniform(seed: tf.Tensor, *shape: int) -> tf.Tensor:
    """Draw float32 numbers uniform in [0, 1); one call for many is much cheaper than many calls."""
    return tf.random.stateless_uniform(shape, seed, dtype=tf.float32, alg=ALGORITHM)


def between(number: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """Map a number uniform in [0, 1) to one uniform in [low, high)."""
    return low + number * (high - low)


def below(number: tf.Tensor, high: int | tf.Tensor) -> tf.Tensor:
    """Map a float32 number uniform in [0, 1) to an int32 one uniform in 0..high-1 (high below 2^20)."""
    high = tf.cast(high, tf.int32)
    # The product may round up to `high` itself.
    return tf.minimum(tf.cast(number * tf.cast(high, tf.float32), tf.int32), high - 1)
