"""What the methods share whose student learns from an averaged teacher: the teacher, and the labelled stage."""

from typing import Any, ClassVar, NamedTuple

from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.layers import mix
from rankmatch_keras.methods.base import LABELED, Method
from rankmatch_keras.methods.teachers import AveragedTeacher


def partners(value):
    """What belongs to each image's partner: the batch in reverse order, which keeps pairs together on one replica."""
    return ops.flip(value, axis=0)


class View(NamedTuple):
    """Images as the student sees them, and what the teacher says of their pixels."""

    image: Any  # (B, H, W, C) float32
    label: Any  # (B, H, W) int32
    confidence: Any  # (B, H, W) float32
    valid: Any  # (B, H, W) bool, False on padding

    def pasted(self, source: "View", mask) -> "View":
        """These views with the pixels of others where the mask `(B, H, W)` is True."""
        return View(*(mix(mine, its, mask) for mine, its in zip(self, source, strict=True)))

    def partners(self) -> "View":
        """The partner of each."""
        return View(*(partners(value) for value in self))


class Taught(Method):
    """Base of the methods with an averaged teacher that always labels.

    Args:
        segmenter: the student.
        ema_decay: decay of the teacher, see `AveragedTeacher`.
        **kwargs: see `Method`.
    """

    required: ClassVar[tuple[str, ...]] = (*LABELED, "weak_image", "valid")
    # Whether the teacher labels in training mode and keeps statistics of its own: then they are not averaged.
    teacher_trains: ClassVar[bool] = False

    def __init__(self, segmenter, *, ema_decay: float = 0.99, **kwargs):
        super().__init__(segmenter, **kwargs)
        self.ema_decay = ema_decay
        self.teacher = AveragedTeacher(segmenter, ema_decay, "own" if self.teacher_trains else "average")

    @property
    def teachers(self):
        """The averaged teacher's network."""
        return (self.teacher.network,)

    def follow(self):
        """Moves the teacher after the student; at the beginning of each step."""
        self.teacher.update(self.segmenter, self.batches_per_step)

    def ask(self, images):
        """The teacher's logits `(B, H, W, K)`, without gradient."""
        with backend.step.no_gradient():
            return ops.stop_gradient(self.teacher(images, training=self.teacher_trains)["logits"])

    def labeled_stage(self, batch, _) -> tuple[dict[str, Any], None]:
        """The supervised term, in a pass of its own."""
        self.follow()
        logits = self.segmenter(batch["labeled_image"], training=True)["logits"]
        return {"supervised": self.supervised_loss(batch["labeled_mask"], logits)}, None
