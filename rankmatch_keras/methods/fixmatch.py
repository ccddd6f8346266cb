"""FixMatch, one strong view that learns from confident pseudo-labels, and the base of its descendants."""

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
    """Labels of a batch of images, with confidences and the labeling network's features; without gradient."""

    label: Any  # (B, H, W) int32
    confidence: Any  # (B, H, W) float32
    valid: Any  # (B, H, W) bool, False on padding
    features: Any  # (B, h, w, D) float


class Targets(NamedTuple):
    """Pseudo-labels that the stage of the weak view passes to that of the strong views; without gradient."""

    weak: PseudoLabels
    source: PseudoLabels | None  # of the images that boxes are cut from, where the batch brings them


class StrongView(NamedTuple):
    """A strong view with its pasted box, and the pseudo-labels pasted alike."""

    image: Any  # (B, H, W, C) float32
    target: PseudoLabels


def pseudo_label(outputs, valid) -> PseudoLabels:
    """Turn a segmenter's outputs on weak views into pseudo-labels."""
    label, confidence = pseudo_labels(outputs["logits"])
    return PseudoLabels(label, confidence, valid, ops.stop_gradient(outputs["features"]))


class WeakToStrong(Method):
    """Base of the methods whose strong views learn from pseudo-labels of the weak view.

    CutMix boxes are pasted from a second view of the same images where the batch brings one (`box_source="second_view"`
    of `data.training_batches`, labeled by an extra pass in inference mode without gradient), otherwise from the batch
    in reverse order (`"in_batch"`, no extra pass).

    The student labels itself, or an EMA teacher does. A step has two stages, as the pseudo-labels are all that the
    strong views need of the weak one.

    Args:
        segmenter: the network to train.
        threshold: smallest confidence of a pseudo-label that is kept, 0 to 1.
        ema_decay: decay of an EMA teacher that labels in the student's place, see `EMATeacher`; `None`: the
            student labels itself.
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
        """EMA teacher's network, where there is one."""
        return () if self.teacher is None else (self.teacher.network,)

    def stages(self):
        """Return a stage of labeled images and weak view, and one of the strong views."""
        return (self.weak_stage, self.strong_stage)

    def weak_stage(self, batch, carry) -> tuple[dict[str, Any], Targets]:
        """Compute the terms of labeled images and weak view, and the pseudo-labels."""
        raise NotImplementedError

    def strong_stage(self, batch, targets: Targets) -> tuple[dict[str, Any], None]:
        """Compute the terms of the strong views."""
        raise NotImplementedError

    def update_teacher(self):
        """Move the EMA teacher, if any, towards the student; at the beginning of each step."""
        if self.teacher is not None:
            self.teacher.update(self.segmenter, self.batches_per_step)

    def weak_decision(self, batch, outputs) -> PseudoLabels:
        """Return the pseudo-labels of the weak view, by the EMA teacher or by the student's own outputs."""
        if self.teacher is None:
            return self.pseudo_label(outputs, batch["valid"])
        with backend.step.no_gradient():
            return self.pseudo_label(self.teacher(batch["weak_image"]), batch["valid"])

    def pseudo_label(self, outputs, valid) -> PseudoLabels:
        """Turn outputs on weak views into pseudo-labels; for methods that correct them."""
        return pseudo_label(outputs, valid)

    def box_source(self, batch) -> PseudoLabels | None:
        """Return the pseudo-labels of the second view, or `None` where the batch brings none."""
        if "source_weak_image" not in batch:
            return None
        # No gradient flows through this pass, so it keeps no activations.
        with backend.step.no_gradient():
            network = self.segmenter if self.teacher is None else self.teacher
            outputs = network(batch["source_weak_image"], training=False)
            return self.pseudo_label(outputs, batch["source_valid"])

    def strong_view(self, batch, number: int, targets: Targets) -> StrongView:
        """Paste the boxes of strong view `number` into its images and their pseudo-labels."""
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
        """Compute the pixel consistency of the student's logits with the pseudo-labels (Eq. 2-3)."""
        return self.consistency_loss(target.label, target.confidence, target.valid, logits)

    def diagnose(self, weak: PseudoLabels, threshold=None) -> dict[str, Any]:
        """Return the fraction of valid pixels whose pseudo-label is kept, and the valid pixels' mean confidence."""
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
        segmenter: the network to train.
        threshold: smallest confidence of a pseudo-label that is kept.
        **kwargs: see `Method`.
    """

    def __init__(self, segmenter, **kwargs):
        super().__init__(segmenter, **kwargs)
        self.term_weights = {"supervised": 0.5, "strong_1": 0.5}

    def weak_stage(self, batch, carry):
        """Compute the supervised term, and pseudo-labels from the same pass."""
        self.update_teacher()
        source = self.box_source(batch)
        num_labeled = ops.shape(batch["labeled_image"])[0]
        images = ops.concatenate([batch["labeled_image"], batch["weak_image"]])
        outputs = self.segmenter(images, training=True)
        weak = self.weak_decision(batch, {name: value[num_labeled:] for name, value in outputs.items()})
        supervised = self.supervised_loss(batch["labeled_mask"], outputs["logits"][:num_labeled])
        return {"supervised": supervised, **self.diagnose(weak)}, Targets(weak, source)

    def strong_stage(self, batch, targets):
        """Compute the consistency term of the strong view."""
        view = self.strong_view(batch, 1, targets)
        logits = self.segmenter(view.image, training=True)["logits"]
        return {"strong_1": self.consistency(view.target, logits)}, None
