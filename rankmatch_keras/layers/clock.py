"""How far the training is, for what changes with it: the share that is done, and periods that take turns."""

import keras
from keras import ops

from rankmatch_keras.layers.base import Float32Layer


@keras.saving.register_keras_serializable("rankmatch_keras")
class Clock(Float32Layer):
    """Counts the batches of a run whose length is known; saved and resumed with the method.

    Args:
        total_steps: batches of the whole run, at least 1.

    Raises:
        ValueError: `total_steps` is smaller than 1.
    """

    def __init__(self, total_steps: int, **kwargs):
        super().__init__(**kwargs)
        if total_steps < 1:
            raise ValueError(f"Expected at least 1 step. Received: total_steps={total_steps}")
        self.total_steps = total_steps
        self.step = self.add_state("step", dtype="int32")

    def progress(self):
        """The share that is done, float32 from 0 up to 1."""
        step = ops.cast(ops.convert_to_tensor(self.step), "float32")
        return ops.minimum(step / float(self.total_steps), 1.0)

    def tick(self):
        """Counts one batch."""
        self.step.assign(ops.convert_to_tensor(self.step) + 1)


@keras.saving.register_keras_serializable("rankmatch_keras")
class Turns(Float32Layer):
    """Counts batches in periods of equal length; saved and resumed with the method.

    Args:
        every: batches of a period, at least 1.

    Raises:
        ValueError: `every` is smaller than 1.
    """

    def __init__(self, every: int, **kwargs):
        super().__init__(**kwargs)
        if every < 1:
            raise ValueError(f"Expected periods of at least 1 batch. Received: every={every}")
        self.every = every
        self.step = self.add_state("step", dtype="int32")

    def now(self):
        """The number of the period, int32 from 0 on, and whether this is its first batch, bool."""
        step = ops.convert_to_tensor(self.step)
        return step // self.every, step % self.every == 0

    def tick(self):
        """Counts one batch."""
        self.step.assign(ops.convert_to_tensor(self.step) + 1)
