"""FixMatch for segmentation: one strong view learns from confident pseudo-labels of the weak view."""

from typing import Any, ClassVar, NamedTuple

import keras
from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.backend.replicas import ratio
from rankmatch_keras.layers import box_mask, mix, pseudo_labels
from rankmatch_keras.losses import PixelConsistencyLoss
from rankmatch_keras.methods.base import LABELED, Method
from rankmatch_keras.methods.teachers import EMATeacher


class PseudoLabels(NamedTuple):
    """What the teacher says of a batch of images: no gradient flows back through it."""

    label: Any  # (B, H, W) int32
    confidence: Any  # (B, H, W) float32
    valid: Any  # (B, H, W) bool, False on padding
    features: Any  # (B, h, w, D) float


class Targets(NamedTuple):
    """What the stage of the weak view leaves to that of the strong views: no gradient."""

    weak: PseudoLabels
    source: PseudoLabels | None  # of the images that boxes are cut from, where the batch brings them


class StrongView(NamedTuple):
    """A strong view with its pasted box, and the teacher's decision pasted alike."""

    image: Any  # (B, H, W, C) float32
    target: PseudoLabels


def pseudo_label(outputs, valid) -> PseudoLabels:
    """Turns the segmenter's outputs on weak views into the teacher's decision."""
    label, confidence = pseudo_labels(outputs["logits"])
    return PseudoLabels(label, confidence, valid, ops.stop_gradient(outputs["features"]))


class WeakToStrong(Method):
    """Base of the methods whose student is also its teacher: the weak view labels the strong views.

    CutMix boxes are pasted from a second view of the same images where the batch brings one
    (`box_source="second_view"` of `data.training_batches`, labelled by an extra pass in inference mode without
    gradient), otherwise from the batch in reverse order (`"in_batch"`, no extra pass).

    A step has two stages: the teacher's decisions are all that the strong views need of the weak one.

    Args:
        segmenter: the network that is trained.
        threshold: smallest confidence of a pseudo-label that counts, 0 to 1.
        ema_decay: decay of an averaged teacher that decides in the student's place, see `EMATeacher`; `None`:
            the student decides itself.
        **kwargs: see `Method`.
    """

    diagnostics: ClassVar[tuple[str, ...]] = ("mask_ratio", "confidence")
    required: ClassVar[tuple[str, ...]] = (*LABELED, "weak_image", "strong_image_1", "valid", "cutmix_box_1")

    def __init__(self, segmenter, *, threshold: float = 0.95, ema_decay: float | None = None, **kwargs):
        super().__init__(segmenter, **kwargs)
        self.threshold = threshold
        self.ema_decay = ema_decay
        self.teacher = None if ema_decay is None else EMATeacher(segmenter, ema_decay)
        self.consistency_loss = PixelConsistencyLoss(threshold)

    @property
    def teachers(self):
        """The averaged teacher's network, where there is one."""
        return () if self.teacher is None else (self.teacher.network,)

    def stages(self):
        """First labelled images and weak view, then the strong views."""
        return (self.weak_stage, self.strong_stage)

    def weak_stage(self, batch, carry) -> tuple[dict[str, Any], Targets]:
        """The terms of the labelled images and of the weak view, and the teacher's decisions."""
        raise NotImplementedError

    def strong_stage(self, batch, targets: Targets) -> tuple[dict[str, Any], None]:
        """The terms of the strong views."""
        raise NotImplementedError

    def update_teacher(self):
        """Moves the averaged teacher, if any, after the student; at the beginning of each step."""
        if self.teacher is not None:
            self.teacher.update(self.segmenter, self.batches_per_step)

    def weak_labels(self, batch, outputs) -> PseudoLabels:
        """The decision on the weak view: of the averaged teacher, or by the student's own outputs."""
        if self.teacher is None:
            return self.pseudo_label(outputs, batch["valid"])
        with backend.step.no_gradient():
            return self.pseudo_label(self.teacher(batch["weak_image"]), batch["valid"])

    def pseudo_label(self, outputs, valid) -> PseudoLabels:
        """What any outputs on weak views decide; for methods that correct them."""
        return pseudo_label(outputs, valid)

    def box_source(self, batch) -> PseudoLabels | None:
        """The teacher's decision on the second view, or `None` where the batch brings none."""
        if "source_weak_image" not in batch:
            return None
        # Nothing is learnt from this pass, so it keeps no activations.
        with backend.step.no_gradient():
            network = self.segmenter if self.teacher is None else self.teacher
            outputs = network(batch["source_weak_image"], training=False)
            return self.pseudo_label(outputs, batch["source_valid"])

    def strong_view(self, batch, number: int, targets: Targets) -> StrongView:
        """Pastes the boxes of strong view `number` into its images and into the teacher's decision."""
        weak, source = targets
        image, boxes = batch[f"strong_image_{number}"], batch[f"cutmix_box_{number}"]
        if source is None:
            source = PseudoLabels(*(ops.flip(value, axis=0) for value in weak))
            other_image = ops.flip(image, axis=0)
        else:
            other_image = batch[f"source_strong_image_{number}"]
        size, grid = ops.shape(image)[1:3], ops.shape(weak.features)[1:3]
        pixels, cells = box_mask(boxes, size), box_mask(boxes, size, grid)
        target = PseudoLabels(
            label=mix(weak.label, source.label, pixels),
            confidence=mix(weak.confidence, source.confidence, pixels),
            valid=mix(weak.valid, source.valid, pixels),
            features=mix(weak.features, source.features, cells),
        )
        return StrongView(mix(image, other_image, pixels), target)

    def consistency(self, target: PseudoLabels, logits):
        """Pixel consistency of the student's logits with the teacher's decision (Eq. 2-3)."""
        return self.consistency_loss(target.label, target.confidence, target.valid, logits)

    def diagnose(self, weak: PseudoLabels, threshold=None) -> dict[str, Any]:
        """Share of valid pixels whose pseudo-label counts, and mean confidence of the valid pixels."""
        valid = ops.cast(weak.valid, "float32")
        kept = ops.cast(weak.confidence >= (self.threshold if threshold is None else threshold), "float32")
        return {
            "mask_ratio": ratio(ops.sum(kept * valid), ops.sum(valid)),
            "confidence": ratio(ops.sum(weak.confidence * valid), ops.sum(valid)),
        }


@keras.saving.register_keras_serializable("rankmatch_keras")
class FixMatch(WeakToStrong):
    """`L = (L_sup + L_s) / 2` with one strong view (Sohn et al., NeurIPS 2020, as in UniMatch, CVPR 2023, Section 3.1).

    Args:
        segmenter: the network that is trained.
        threshold: smallest confidence of a pseudo-label that counts.
        **kwargs: see `Method`.
    """

    def __init__(self, segmenter, **kwargs):
        super().__init__(segmenter, **kwargs)
        self.term_weights = {"supervised": 0.5, "strong_1": 0.5}

    def weak_stage(self, batch, carry):
        """The supervised term, and pseudo-labels from the same pass."""
        self.update_teacher()
        source = self.box_source(batch)
        num_labeled = ops.shape(batch["labeled_image"])[0]
        images = ops.concatenate([batch["labeled_image"], batch["weak_image"]])
        outputs = self.segmenter(images, training=True)
        weak = self.weak_labels(batch, {name: value[num_labeled:] for name, value in outputs.items()})
        supervised = self.supervised_loss(batch["labeled_mask"], outputs["logits"][:num_labeled])
        return {"supervised": supervised, **self.diagnose(weak)}, Targets(weak, source)

    def strong_stage(self, batch, targets):
        """The consistency term of the strong view."""
        view = self.strong_view(batch, 1, targets)
        logits = self.segmenter(view.image, training=True)["logits"]
        return {"strong_1": self.consistency(view.target, logits)}, None
