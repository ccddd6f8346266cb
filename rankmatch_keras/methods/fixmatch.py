"""FixMatch, one strong view that learns from confident pseudo-labels, and the base of its descendants."""

from typing import Any, ClassVar, NamedTuple

import keras
from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.backend.replicas import ratio
from rankmatch_keras.layers import box_mask, mix, pseudo_labels
from rankmatch_keras.layers.pixels import places_on_grid, sample_at
from rankmatch_keras.layers.selection import (
    SELECTIONS,
    ClassThreshold,
    ConfidenceWeight,
    DistributionAlignment,
    FixedThreshold,
    Selection,
    SquaredConfidence,
)
from rankmatch_keras.losses import WeightedConsistencyLoss
from rankmatch_keras.methods.base import LABELED, Method
from rankmatch_keras.methods.passes import rows
from rankmatch_keras.models.ema import EMATeacher
from rankmatch_keras.models.segmenter import class_count

BOXES = ("cutmix", "cutout", "none")
LABEL_VIEWS = ("weak", "image")
CONTEXT = ("context_image", "context_rows", "context_columns")


class PseudoLabels(NamedTuple):
    """Labels of a batch of images, with confidences and the labeling network's features; without gradient."""

    label: Any  # (B, H, W) int32
    confidence: Any  # (B, H, W) float32
    weight: Any  # (B, H, W) float32 in 0..1, how much each counts
    valid: Any  # (B, H, W) bool, False on padding
    features: Any  # (B, h, w, D) float
    probabilities: Any = None  # (B, H, W, K) float32, of soft labels

    def map(self, function, *others: "PseudoLabels") -> "PseudoLabels":
        """Apply a function to each map that there is, beside those of others."""
        fields = zip(self, *others, strict=True)
        return PseudoLabels(*(None if values[0] is None else function(*values) for values in fields))


class Targets(NamedTuple):
    """Pseudo-labels that the stage of the weak view passes to that of the strong views; without gradient."""

    weak: PseudoLabels
    source: PseudoLabels | None  # of the images that boxes are cut from, where the batch brings them


class StrongView(NamedTuple):
    """A strong view with its pasted box, and the pseudo-labels pasted alike."""

    image: Any  # (B, H, W, C) float32
    target: PseudoLabels


def make_selection(name: str, threshold: float, segmenter) -> Selection:
    """Make the selection of that name, see `WeakToStrong`.

    Raises:
        ValueError: an unknown name, or a threshold out of range.
    """
    if name not in SELECTIONS:
        raise ValueError(f"Expected selection in {SELECTIONS}. Received: selection={name!r}")
    if name == "threshold":
        return FixedThreshold(threshold)
    if name == "confidence":
        return SquaredConfidence()
    return (ClassThreshold if name == "adaptive" else ConfidenceWeight)(class_count(segmenter))


class WeakToStrong(Method):
    """Base of the methods whose strong views learn from pseudo-labels of the weak view.

    CutMix boxes are pasted from a second view of the same images where the batch brings one (`box_source="second_view"`
    of `data.training_batches`, labeled by an extra pass in inference mode without gradient), otherwise from the batch
    in reverse order (`"in_batch"`, no extra pass).

    The student labels itself in training mode, or an EMA teacher does in inference mode. A step has two stages, as the
    pseudo-labels are all that the strong views need of the weak one.

    Args:
        segmenter: the network to train.
        threshold: smallest confidence of a pseudo-label that is kept, 0 to 1; 0 keeps all.
        ema_decay: decay of an EMA teacher that labels in the student's place, see `EMATeacher`; `None`: the
            student labels itself.
        selection: `"threshold"`, or, beyond the articles, `"adaptive"` for thresholds per class that adapt themselves
            (`ClassThreshold`), `"soft"` for weights that fall off with the confidence (`ConfidenceWeight`),
            `"confidence"` for its square. None of these uses `threshold`.
        soft_labels: whether strong views learn the labeler's probabilities in place of its most probable class, which
            is what the articles take.
        alignment: strength, 0 to 1, with which pseudo-labels are aligned with how often the labels show each class
            (`DistributionAlignment`); 0 in the articles.
        boxes: what the boxes do: `"cutmix"`; beyond the articles `"cutout"`, which hides the pixels inside and leaves
            them out of the loss, or `"none"`.
        label_view: what is labeled: the `"weak"` view as published, or, beyond the articles, the `"image"` around it at
            its own size (`context` of `data.training_batches`), whose labels are cut out as the view is. There the
            labeler sees what it is evaluated on: nothing enlarged, shrunk or cut off.
        unlabeled_loss: loss of the pseudo-labels, `"ce"` as published, `"dice"`, `"ce+dice"` or `"focal"`; see
            `losses.base.pixel_loss`. It weights the classes by `class_weights` too.
        **kwargs: see `Method`.
    """

    diagnostics: ClassVar[tuple[str, ...]] = ("mask_ratio", "confidence")
    required: tuple[str, ...] = (*LABELED, "weak_image", "strong_image_1", "valid", "cutmix_box_1")
    # Whether a subclass decides by a threshold of its own which pseudo-labels count.
    own_threshold: ClassVar[bool] = False

    def __init__(
        self,
        segmenter,
        *,
        threshold: float = 0.95,
        ema_decay: float | None = None,
        selection: str = "threshold",
        soft_labels: bool = False,
        alignment: float = 0.0,
        boxes: str = "cutmix",
        label_view: str = "weak",
        unlabeled_loss: str = "ce",
        **kwargs,
    ):
        super().__init__(segmenter, **kwargs)
        if self.own_threshold and selection != "threshold":
            raise ValueError(
                f"{type(self).__name__} has an adaptive threshold of its own. "
                f"Expected selection='threshold'. Received: selection={selection!r}"
            )
        self.threshold = threshold
        self.ema_decay = ema_decay
        self.selection = selection
        self.soft_labels = soft_labels
        self.alignment = alignment
        if boxes not in BOXES:
            raise ValueError(f"Expected boxes in {BOXES}. Received: boxes={boxes!r}")
        self.boxes = boxes
        if label_view not in LABEL_VIEWS:
            raise ValueError(f"Expected label_view in {LABEL_VIEWS}. Received: label_view={label_view!r}")
        self.label_view = label_view
        if label_view == "image":
            self.required = (*self.required, *CONTEXT)
        self.unlabeled_loss = unlabeled_loss
        self.select = make_selection(selection, threshold, segmenter)
        self.align = DistributionAlignment(class_count(segmenter), alignment) if alignment else None
        # One EMA may label and be evaluated.
        shared = ema_decay is not None and ema_decay == self.average
        own = None if ema_decay is None or shared else EMATeacher(segmenter, ema_decay)
        self.teacher = self.averaged if shared else own
        self.consistency_loss = WeightedConsistencyLoss("valid", unlabeled_loss, self.class_weights)

    @property
    def teachers(self):
        """EMA teacher's network, and the EMA that is evaluated, where there are any."""
        own = () if self.teacher in (None, self.averaged) else (self.teacher.network,)
        return (*super().teachers, *own)

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
        """Move the EMA teacher, if any, towards the student, unless it is the EMA that is evaluated."""
        if self.teacher is not None and self.teacher is not self.averaged:
            self.teacher.update(self.segmenter, self.batches_per_step)

    def weak_kinds(self, batch, dropped: bool = False) -> dict[str, Any]:
        """Return the images of the weak stage's pass by kind.

        Args:
            batch: the training batch.
            dropped: whether the weak view is decoded with dropped features too.

        Returns:
            The labeled images, and the weak view, which joins them as published, wherever something depends on its
            pass: the student's own labels, dropped features, or batch and running statistics.
        """
        kinds = {"labeled": batch["labeled_image"]}
        alone = self.normalize == "separate" and self.statistics == "labeled"
        if self.teacher is None or dropped or not alone:
            kinds["weak"] = batch["weak_image"]
        return kinds

    def weak_decision(self, batch, outputs) -> PseudoLabels:
        """Return the pseudo-labels of the weak view, by the EMA teacher or by the student's own outputs."""
        if self.label_view == "image":
            with backend.step.no_gradient():
                return self.pseudo_label(*self.cut_out(batch, outputs and ops.shape(outputs["features"])[1:3]))
        if self.teacher is None:
            return self.pseudo_label(outputs, batch["valid"])
        with backend.step.no_gradient():
            return self.pseudo_label(self.teacher(batch["weak_image"]), batch["valid"])

    def cut_out(self, batch, grid=None) -> tuple[dict[str, Any], Any]:
        """Return the weak view's part of the outputs for the image around it, and where there is such a part.

        Args:
            batch: the training batch.
            grid: `(h, w)` of the view's own features; by default as many as those of the image around it.

        Returns:
            The logits `(B, H, W, K)` and features `(B, h, w, D)`, and bool `(B, H, W)`.
        """
        network = self.segmenter if self.teacher is None else self.teacher
        context, places = batch["context_image"], (batch["context_rows"], batch["context_columns"])
        outputs = network(context, training=False)
        size, cells = ops.shape(context)[1:3], ops.shape(outputs["features"])[1:3]
        coarse = map(places_on_grid, places, size, cells, grid or cells)
        rows, columns = (ops.logical_and(at >= 0.0, at <= side - 1.0) for at, side in zip(places, size, strict=True))
        valid = ops.logical_and(batch["valid"], ops.logical_and(rows[:, :, None], columns[:, None, :]))
        return {name: sample_at(outputs[name], *at) for name, at in (("logits", places), ("features", coarse))}, valid

    def pseudo_label(self, outputs, valid) -> PseudoLabels:
        """Turn a segmenter's outputs on weak views into pseudo-labels; for methods that correct them."""
        logits = ops.stop_gradient(outputs["logits"])
        if self.align is not None:
            self.align.update(ops.softmax(ops.cast(logits, "float32")), None, valid)
            logits = self.align(logits)
        label, confidence = pseudo_labels(logits)
        probabilities = None  # a map as large as the logits, made only where it is used
        if self.soft_labels or self.selection != "threshold":
            probabilities = ops.softmax(ops.cast(logits, "float32"))
            self.select.update(probabilities, confidence, valid)
        weight = self.select(label, confidence)
        features = ops.stop_gradient(outputs["features"])
        return PseudoLabels(label, confidence, weight, valid, features, probabilities if self.soft_labels else None)

    def labeled_loss_of(self, batch, logits):
        """Compute the supervised term; the alignment learns from its labels."""
        if self.align is not None:
            known = batch["labeled_mask"] != self.ignore_index
            self.align.update_labeled(batch["labeled_mask"], known)
        return self.supervised_loss(batch["labeled_mask"], logits)

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
        if self.boxes == "none":
            return StrongView(image, weak)
        if self.boxes == "cutout":
            inside = box_mask(boxes, ops.shape(image)[1:3])
            seen = ops.logical_and(weak.valid, ops.logical_not(inside))
            return StrongView(mix(image, ops.zeros_like(image), inside), weak._replace(valid=seen))
        if source is None:
            source = weak.map(lambda value: ops.flip(value, axis=0))
            other_image = ops.flip(image, axis=0)
        else:
            other_image = batch[f"source_strong_image_{number}"]
        size, grid = ops.shape(image)[1:3], ops.shape(weak.features)[1:3]
        pixels, cells = box_mask(boxes, size), box_mask(boxes, size, grid)
        target = weak._replace(features=None).map(lambda mine, its: mix(mine, its, pixels), source)
        target = target._replace(features=mix(weak.features, source.features, cells))
        return StrongView(mix(image, other_image, pixels), target)

    def consistency(self, target: PseudoLabels, logits):
        """Compute the pixel consistency of the student's logits with the pseudo-labels (Eq. 2-3)."""
        label = target.label if target.probabilities is None else target.probabilities
        return self.consistency_loss(label, target.weight, target.valid, logits)

    def diagnose(self, weak: PseudoLabels, threshold=None) -> dict[str, Any]:
        """Return the mean weight of the valid pixels, that is, the fraction kept, and their mean confidence."""
        valid = ops.cast(weak.valid, "float32")
        kept = weak.weight if threshold is None else ops.cast(weak.confidence >= threshold, "float32")
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
        source = self.box_source(batch)
        num_labeled = ops.shape(batch["labeled_image"])[0]
        outputs = self.passes(self.segmenter, **self.weak_kinds(batch))
        weak = self.weak_decision(batch, rows(outputs, num_labeled))
        supervised = self.labeled_loss_of(batch, outputs["logits"][:num_labeled])
        return {"supervised": supervised, **self.diagnose(weak)}, Targets(weak, source)

    def strong_stage(self, batch, targets):
        """Compute the consistency term of the strong view."""
        view = self.strong_view(batch, 1, targets)
        logits = self.passes(self.segmenter, strong=view.image)["logits"]
        return {"strong_1": self.consistency(view.target, logits)}, None
