"""Views with a teacher's labels, and the base of the methods in which an EMA teacher always labels."""

from typing import Any, ClassVar, NamedTuple

from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.layers import mix
from rankmatch_keras.methods.base import LABELED, Method
from rankmatch_keras.methods.passes import joined
from rankmatch_keras.models.ema import EMATeacher

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

    required: tuple[str, ...] = (*LABELED, "weak_image", "valid")
    # Whether the teacher labels in training mode: then it keeps moving statistics of its own, not an EMA of them.
    teacher_trains: ClassVar[bool] = False

    def __init__(self, segmenter, *, ema_decay: float = 0.99, **kwargs):
        super().__init__(segmenter, **kwargs)
        self.ema_decay = ema_decay
        self.teacher = EMATeacher(segmenter, ema_decay, "own" if self.teacher_trains else "average")

    @property
    def teachers(self):
        """EMA teacher's network, and the EMA that is evaluated."""
        return (*super().teachers, self.teacher.network)

    def update_teacher(self):
        """Move the teacher towards the student."""
        self.teacher.update(self.segmenter, self.batches_per_step)

    def teacher_pass(self, training: bool, **images) -> dict[str, Any]:
        """Return the teacher's outputs; its passes in training mode are as the student's, see `Passes`."""
        return self.passes(self.teacher, **images) if training else self.teacher(joined(list(images.values())))

    def teacher_logits(self, **images):
        """Return the teacher's logits `(B, H, W, K)`, without gradient."""
        with backend.step.no_gradient():
            return ops.stop_gradient(self.teacher_pass(self.teacher_trains, **images)["logits"])

    def labeled_stage(self, batch, carry) -> tuple[dict[str, Any], None]:
        """Compute the supervised term in a pass of its own."""
        logits = self.passes(self.segmenter, labeled=batch["labeled_image"])[self.labeled_output]
        return {"supervised": self.supervised_loss(batch["labeled_mask"], logits)}, None
