"""Base of the contrastive methods: an EMA teacher, and a representation of each pixel beside its logits."""

from typing import Any, ClassVar

import keras
from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.backend.replicas import ratio
from rankmatch_keras.layers import RandomBoxes, mix
from rankmatch_keras.layers.clock import Clock
from rankmatch_keras.layers.sampling import random_scores
from rankmatch_keras.losses import WeightedConsistencyLoss
from rankmatch_keras.methods.teachers import EMATeacher, MeanTeacherBase, partners
from rankmatch_keras.models.deeplab_v3_plus import representation_head
from rankmatch_keras.models.segmenter import class_count, decoded_channels


class ContrastiveBase(MeanTeacherBase):
    """Base of the methods with an EMA teacher whose pixels have representations beside logits.

    A head beside the classifier turns every `stride`-th pixel of the decoder's map (at stride 4, the classifier's
    input) into a vector; the publications run theirs at stride 4 or 8. The teacher has an EMA of the head. With
    probability 1/2 an unlabeled image receives a box of half its area from the image at the other end of the batch; the
    publications pair neighbors and sample once for the whole batch.

    A step has one stage, because labeled and unlabeled pixels are contrasted with each other.

    Args:
        segmenter: the network to train.
        total_steps: batches of the whole run.
        channels: length of the representations.
        stride: every `stride`-th pixel of the decoder's map has a representation.
        warm_up: fraction of the training, at its beginning, on labeled images alone.
        seed: int or `None`, of boxes and sampled pixels.
        **kwargs: see `Method`.
    """

    diagnostics: ClassVar[tuple[str, ...]] = ("mask_ratio",)
    head_layers: ClassVar[dict[str, Any]] = {"kernel_sizes": (1,)}
    teacher_trains = True
    normalizer: ClassVar[str] = "boosted"

    def __init__(
        self,
        segmenter,
        *,
        total_steps: int,
        channels: int = 256,
        stride: int = 2,
        warm_up: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(segmenter, total_steps=total_steps, **kwargs)
        if stride < 1 or not 0.0 <= warm_up <= 1.0:
            raise ValueError(
                f"Expected stride >= 1 and warm_up from 0 to 1. Received: stride={stride}, warm_up={warm_up}"
            )
        self.channels = channels
        self.stride = stride
        self.warm_up = warm_up
        self.seed = seed
        self.num_classes = class_count(segmenter)
        self.clock = Clock(total_steps)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.random_boxes = RandomBoxes((0.5, 0.5), probability=0.5, seed=seed)
        self.head = representation_head(decoded_channels(segmenter), channels, **self.head_layers)
        self.teacher_head = EMATeacher(self.head, self.ema_decay, self.teacher.statistics)
        self.consistency_loss = WeightedConsistencyLoss(self.normalizer)

    @property
    def teachers(self):
        """EMA networks of the segmenter and of its head, and the EMA that is evaluated."""
        return (*super().teachers, self.teacher_head.network)

    @property
    def heads(self):
        """Representation head."""
        return (self.head,)

    def update_teacher(self):
        """Move the teacher and its head towards the student's."""
        super().update_teacher()
        self.teacher_head.update(self.head, self.batches_per_step)

    def advance(self):
        """Advance the clock, and return the fraction of the training that was done before."""
        done = self.clock.progress()
        self.clock.tick()
        return done

    def student_outputs(self, **images) -> dict[str, Any]:
        """Return the student's outputs in training mode, with its `"representation"` `(B, h, w, D)`; see `Passes`."""
        return self._represented(self.passes(self.segmenter, **images), self.head, True)

    def teacher_outputs(self, training: bool, **images) -> dict[str, Any]:
        """Return the teacher's outputs without gradient, with its `"representation"`."""
        with backend.step.no_gradient():
            outputs = self.teacher_pass(training, **images)
            return self._represented(outputs, self.teacher_head, training)

    def _represented(self, outputs, head, training):
        pixels = outputs["decoded"][:, :: self.stride, :: self.stride]
        representation = ops.cast(head(pixels, training=training), "float32")
        return {**outputs, "pixels": pixels, "representation": representation}

    def boxes(self, batch):
        """Sample which pixels of each unlabeled image come from its partner: `(B, H, W)` bool."""
        batch_size, height, width, _ = ops.shape(batch["weak_image"])
        return self.random_boxes(batch_size, (height, width))

    def scores(self, representation, num_labeled):
        """Sample a number for each pixel of `(B, h, w, D)`, labeled images first: `(B * h * w,)`."""
        images, height, width, _ = ops.shape(representation)
        # Separately, as each half has its own part of the rows on every replica.
        parts = (
            random_scores(count, height * width, self.seed_generator) for count in (num_labeled, images - num_labeled)
        )
        return ops.concatenate([*parts])


def mask_and_known(batch, ignore_index):
    """Return the labeled masks with class 0 for ignored pixels, and which pixels are not ignored."""
    mask = ops.cast(batch["labeled_mask"], "int32")
    known = mask != ignore_index
    return ops.where(known, mask, 0), known


def paste_partners(values, boxes):
    """Fill the boxes of `(B, H, W)` or `(B, H, W, C)` with each image's partner."""
    return mix(values, partners(values), boxes)


def fraction_of_valid(marked, valid):
    """Return the fraction of the valid pixels that are marked, both `(B, H, W)` bool, over all replicas."""
    valid = ops.cast(valid, "float32")
    return ratio(ops.sum(ops.cast(marked, "float32") * valid), ops.sum(valid))
