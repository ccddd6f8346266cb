"""CorrMatch: labels and predictions spread along the correlations of an image's pixels, above a moving threshold."""

from typing import Any, NamedTuple

import keras
from keras import ops

from rankmatch_keras.layers import FeatureDropout, box_mask
from rankmatch_keras.layers.class_confidence import ClassConfidenceThreshold
from rankmatch_keras.layers.correlation_propagation import (
    CorrelationPropagation,
    correlated_regions,
    propagate_labels,
)
from rankmatch_keras.losses.consistency import WeightedConsistencyLoss
from rankmatch_keras.losses.divergence import DivergenceLoss
from rankmatch_keras.methods.weak_to_strong import Teacher, WeakToStrong
from rankmatch_keras.models.segmenter import class_count


class Spread(NamedTuple):
    """What the stage of the weak view leaves to that of the strong view: no gradient."""

    teacher: Teacher
    logits: Any  # (Bu, H, W, K) of the weak view
    rows: Any  # (Bu, M, h w), rows of its correlation


@keras.saving.register_keras_serializable("rankmatch_keras")
class CorrMatch(WeakToStrong):
    """FixMatch with feature dropout, propagated labels and predictions (Sun et al., CVPR 2024, Section 3).

    `L = [L_sup / 2 + L_sup_c / 2 + (L_s + L_kl + L_fp + (L_wc + L_sc) / 2) / 4] / 2`. The terms with c teach the second
    output, the logits spread by the correlation of the features (`CorrelationPropagation`), of labelled, weak and
    strong view. L_s and L_sc take the pseudo-labels of the strong view, grown over the regions that some rows of the
    correlation mark (`propagate_labels`); L_kl is the divergence of the strong view's probabilities from the weak
    view's. What is sure is decided by a threshold that follows the confidence (`ClassConfidenceThreshold`).

    Beside the publication: the correlation reads "features", the output of the segmenter's pyramid, in place of a
    projection of the encoder's last map; regions vote together rather than one after another; L_kl leaves out the
    pasted boxes, where the released program compares two different images; the threshold counts the pixels that are
    valid in the weak view, not in the pasted one.

    Args:
        segmenter: the network that is trained.
        threshold: where the moving threshold begins.
        threshold_momentum: how slowly it moves.
        num_regions: rows of the correlation whose regions may grow, drawn anew in each step.
        feature_dropout: share of channels dropped for L_fp.
        seed: int or `None`, for the dropped channels and the rows.
        **kwargs: see `WeakToStrong`.
    """

    diagnostics = (*WeakToStrong.diagnostics, "adaptive_threshold")

    def __init__(
        self,
        segmenter,
        *,
        threshold: float = 0.85,
        threshold_momentum: float = 0.999,
        num_regions: int = 128,
        feature_dropout: float = 0.5,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(segmenter, threshold=threshold, **kwargs)
        self.threshold_momentum = threshold_momentum
        self.num_regions = num_regions
        self.feature_dropout = feature_dropout
        self.seed = seed
        self.adaptive_threshold = ClassConfidenceThreshold(threshold, threshold_momentum)
        self.drop_features = FeatureDropout(feature_dropout, seed=seed)
        self.draw = keras.random.SeedGenerator(seed)
        self.num_classes = class_count(segmenter)
        self.propagate = CorrelationPropagation(self.num_classes, name="propagation")
        self.propagate.build(segmenter.decoder.output["features"].shape)
        self.pixel_loss = WeightedConsistencyLoss("valid")
        self.divergence = DivergenceLoss()
        self.term_weights = {
            **dict.fromkeys(("supervised", "supervised_correlation"), 1 / 4),
            **dict.fromkeys(("strong_1", "divergence", "feature_dropout"), 1 / 8),
            **dict.fromkeys(("weak_correlation", "strong_correlation"), 1 / 16),
        }

    @property
    def heads(self):
        """The convolutions of the correlation."""
        return (self.propagate,)

    def weak_stage(self, batch, carry):
        """All terms of labelled images and weak view, the threshold, and what the strong view must know."""
        self.follow()
        source = self.box_source(batch)
        labeled = ops.shape(batch["labeled_image"])[0]
        encoded = self.segmenter.encode(ops.concatenate([batch["labeled_image"], batch["weak_image"]]), training=True)
        dropped = self.drop_features({name: value[labeled:] for name, value in encoded.items()})
        both = {name: ops.concatenate([encoded[name], dropped[name]]) for name in encoded}
        decoded = self.segmenter.decode(both, training=True)
        clean = ops.shape(encoded["canvas"])[0]
        logits, dropped_logits = decoded["logits"][:clean], decoded["logits"][clean:]
        weak = self.weak_decision(batch, {name: value[labeled:clean] for name, value in decoded.items()})
        self.adaptive_threshold.update(weak.label, weak.confidence, weak.valid, self.num_classes)
        second = self.propagate(decoded["features"][:clean], logits)
        sure = weak.confidence >= self.adaptive_threshold.value()
        terms = {
            "supervised": self.supervised_loss(batch["labeled_mask"], logits[:labeled]),
            "supervised_correlation": self.supervised_loss(batch["labeled_mask"], second.logits[:labeled]),
            "feature_dropout": self.pixel_loss(weak.label, sure, weak.valid, dropped_logits),
            "weak_correlation": self.pixel_loss(weak.label, sure, weak.valid, second.logits[labeled:]),
            **self.diagnose(weak, self.adaptive_threshold.value()),
            "adaptive_threshold": self.adaptive_threshold.value(),
        }
        rows = ops.stop_gradient(ops.take(second.correlation[labeled:], self._draw_rows(second.correlation), axis=1))
        return terms, Spread(Teacher(weak, source), ops.stop_gradient(logits[labeled:]), rows)

    def strong_stage(self, batch, spread):
        """The terms of the strong view."""
        view = self.strong_view(batch, 1, spread.teacher)
        outputs = self.segmenter(view.image, training=True)
        second = self.propagate(outputs["features"], outputs["logits"])
        target, (height, width) = view.target, ops.shape(batch["valid"])[1:]
        apart = ops.logical_not(box_mask(batch["cutmix_box_1"], (height, width)))
        sure = target.confidence >= self.adaptive_threshold.value()
        own = ops.logical_and(apart, target.valid)  # neither pasted nor padding
        regions = correlated_regions(spread.rows, ops.shape(outputs["features"])[1:3], (height, width))
        regions = ops.logical_and(regions, own[:, None])
        known = ops.logical_and(sure, target.valid)
        label, grown = propagate_labels(target.label, known, regions, self.adaptive_threshold.value(), self.num_classes)
        terms = {
            "strong_1": self.pixel_loss(label, grown, target.valid, outputs["logits"]),
            "divergence": self.divergence(spread.logits, ops.logical_and(sure, apart), target.valid, outputs["logits"]),
            "strong_correlation": self.pixel_loss(label, grown, target.valid, second.logits),
        }
        return terms, None

    def _draw_rows(self, correlation):
        """Indices of random rows, the same for all images: (M,) int32."""
        pixels = correlation.shape[1]
        draws = keras.random.uniform((self.num_regions,), seed=self.draw)
        return ops.cast(ops.floor(draws * pixels), "int32")
