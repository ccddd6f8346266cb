"""EMA teacher: a network whose weights average those of a student over the steps."""

import keras
from keras import ops

from rankmatch_keras.models.copies import copy_network


class EMATeacher(keras.layers.Layer):
    """EMA teacher: the exponential moving average of a student's weights (Tarvainen and Valpola, NeurIPS 2017).

    `update`, called at the beginning of step t = 0, 1, ..., sets `teacher = d * teacher + (1 - d) * student` with `d =
    min(1 - 1 / (t + 1), decay)`: the first update is a copy, and the average is plain until it reaches the decay. No
    gradient reaches the teacher, its weights are not trainable variables, and they are saved with the method.

    Args:
        student: the segmenter or head that it follows; its structure is copied, and its weights to begin with.
        decay: 0 to 1.
        statistics: `"average"` for an EMA of the student's moving statistics of normalization, `"own"` for those of
            the teacher's own passes in training mode.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, student, decay: float = 0.99, statistics: str = "average", **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= decay <= 1.0:
            raise ValueError(f"Expected a decay from 0 to 1. Received: decay={decay}")
        if statistics not in ("average", "own"):
            raise ValueError(f"Expected statistics 'average' or 'own'. Received: statistics={statistics!r}")
        self.decay = decay
        self.statistics = statistics
        self.network = copy_network(student)
        for variable in self.network.variables:
            # Not `network.trainable`, which would freeze the normalization: some teachers run in training mode.
            variable.trainable = False
        self.updates = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="updates")
        self.built = True

    def update(self, student, batches_per_step: int = 1, restart=False):
        """Move the teacher towards the student; the first call copies it.

        Args:
            student: the segmenter as it is now.
            batches_per_step: calls per optimizer step, of which only the first moves the teacher.
            restart: bool or bool tensor, whether to copy the student again.
        """
        number = ops.where(restart, 0, ops.convert_to_tensor(self.updates))
        step = ops.cast(number // batches_per_step, "float32")
        decay = ops.minimum(1.0 - 1.0 / (step + 1.0), self.decay)
        decay = ops.where(number % batches_per_step == 0, decay, 1.0)
        for mine, its in zip(self.network.variables, student.variables, strict=True):
            if self._follows(its):
                value = ops.stop_gradient(ops.convert_to_tensor(its))
                keep = ops.cast(decay, value.dtype)
                mine.assign(ops.convert_to_tensor(mine) * keep + value * (1.0 - keep))
        self.updates.assign(number + 1)

    def _follows(self, variable):
        is_number = keras.backend.is_float_dtype(variable.dtype)  # states of random generators are not
        return is_number and (variable.trainable or self.statistics == "average")

    def call(self, images, training=False):
        """Run the teacher like its segmenter; in training mode with batch statistics."""
        return self.network(images, training=training)
