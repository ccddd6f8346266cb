"""EMA teacher, and the base of the methods in which it always labels."""

from typing import Any, ClassVar, NamedTuple

import keras
from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.layers import mix
from rankmatch_keras.methods.base import LABELED, Method
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


AveragedTeacher = EMATeacher  # its name in earlier versions


def partners(value):
    """Return the values of each image's partner: the batch in reverse order, which keeps pairs on one replica."""
    return ops.flip(value, axis=0)


class View(NamedTuple):
    """Images as the student sees them, with the teacher's labels of their pixels."""

    image: Any  # (B, H, W, C) float32
    label: Any  # (B, H, W) int32
    confidence: Any  # (B, H, W) float32
    valid: Any  # (B, H, W) bool, False on padding

    def pasted(self, source: "View", mask) -> "View":
        """Return these views with the pixels of others where the mask `(B, H, W)` is True."""
        return View(*(mix(mine, its, mask) for mine, its in zip(self, source, strict=True)))

    def partners(self) -> "View":
        """Return the partner of each."""
        return View(*(partners(value) for value in self))


class MeanTeacherBase(Method):
    """Base of the methods in which an EMA teacher always labels.

    Args:
        segmenter: the student.
        ema_decay: decay of the teacher, see `EMATeacher`.
        **kwargs: see `Method`.
    """

    required: ClassVar[tuple[str, ...]] = (*LABELED, "weak_image", "valid")
    # Whether the teacher labels in training mode: then it keeps moving statistics of its own, not an EMA of them.
    teacher_trains: ClassVar[bool] = False

    def __init__(self, segmenter, *, ema_decay: float = 0.99, **kwargs):
        super().__init__(segmenter, **kwargs)
        self.ema_decay = ema_decay
        self.teacher = EMATeacher(segmenter, ema_decay, "own" if self.teacher_trains else "average")

    @property
    def teachers(self):
        """EMA teacher's network."""
        return (self.teacher.network,)

    def update_teacher(self):
        """Move the teacher towards the student; at the beginning of each step."""
        self.teacher.update(self.segmenter, self.batches_per_step)

    def teacher_logits(self, images):
        """Return the teacher's logits `(B, H, W, K)`, without gradient."""
        with backend.step.no_gradient():
            return ops.stop_gradient(self.teacher(images, training=self.teacher_trains)["logits"])

    def labeled_stage(self, batch, carry) -> tuple[dict[str, Any], None]:
        """Compute the supervised term in a pass of its own."""
        self.update_teacher()
        logits = self.segmenter(batch["labeled_image"], training=True)["logits"]
        return {"supervised": self.supervised_loss(batch["labeled_mask"], logits)}, None
