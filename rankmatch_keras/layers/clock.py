"""Counters of training steps: progress through the run, and alternating periods."""

import keras
from keras import ops

from rankmatch_keras.layers.base import Float32Layer


class Counter(Float32Layer):
    """Base of what counts batches; saved and resumed with the method."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.step = self.add_state("step", dtype="int32")

    def tick(self):
        """Count one batch."""
        self.step.assign(ops.convert_to_tensor(self.step) + 1)


@keras.saving.register_keras_serializable("rankmatch_keras")
class Clock(Counter):
    """Progress through a run of known length.

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

    def progress(self):
        """Return the fraction of the run that is done, float32 from 0 to 1."""
        step = ops.cast(ops.convert_to_tensor(self.step), "float32")
        return ops.minimum(step / float(self.total_steps), 1.0)

    def ramp(self, start: float, length: float):
        """Return 0 before the fraction `start` of the run, 1 from `start + length` on, a line between: float32."""
        done = self.progress() - start
        if length == 0.0:
            return ops.cast(done >= 0.0, "float32")
        return ops.clip(done / length, 0.0, 1.0)


@keras.saving.register_keras_serializable("rankmatch_keras")
class Turns(Counter):
    """Periods of equal length.

    Args:
        every: batches per period, at least 1.

    Raises:
        ValueError: `every` is smaller than 1.
    """

    def __init__(self, every: int, **kwargs):
        super().__init__(**kwargs)
        if every < 1:
            raise ValueError(f"Expected periods of at least 1 batch. Received: every={every}")
        self.every = every

    def now(self):
        """Return the number of the period, int32 from 0, and whether this is its first batch, bool."""
        step = ops.convert_to_tensor(self.step)
        return step // self.every, step % self.every == 0
