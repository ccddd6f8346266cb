"""CorrMatch: labels and predictions propagate along the correlations of pixels, above an adaptive threshold."""

from typing import Any, NamedTuple

import keras
from keras import layers, ops

from rankmatch_keras.backend.replicas import gather, ratio
from rankmatch_keras.layers import FeatureDropout, box_mask
from rankmatch_keras.layers.base import ConfigFromArguments, Float32Layer
from rankmatch_keras.layers.resize import resize_align_corners
from rankmatch_keras.losses.base import Loss
from rankmatch_keras.methods.fixmatch import Targets, WeakToStrong
from rankmatch_keras.methods.passes import rows
from rankmatch_keras.models.segmenter import class_count

EPSILON = 1e-12
MARGIN = 1e-4  # pixels halfway from minimum to maximum are common; rounding must not decide on them


class Spread(NamedTuple):
    """Carry from the stage of the weak view to that of the strong view; without gradient."""

    targets: Targets
    logits: Any  # (Bu, H, W, K) of the weak view
    rows: Any  # (Bu, M, h w), rows of its correlation


@keras.saving.register_keras_serializable("rankmatch_keras")
class CorrMatch(WeakToStrong):
    """FixMatch with feature dropout, propagated labels and propagated predictions (Sun et al., CVPR 2024, Section 3).

    `L = [L_sup / 2 + L_sup_c / 2 + (L_s + L_kl + L_fp + (L_wc + L_sc) / 2) / 4] / 2`. The terms with c teach the second
    output, the logits propagated by the correlation of the features (`CorrelationPropagation`), of labeled, weak and
    strong view. L_s and L_sc take the pseudo-labels of the strong view, grown over the regions that some rows of the
    correlation mark (`propagate_labels`); L_kl is the divergence of the strong view's probabilities from the weak
    view's. The confidence threshold is adaptive (`ClassConfidenceThreshold`).

    Differences from the publication: the correlation reads "features", the output of the segmenter's pyramid, in place
    of a projection of the encoder's last map; regions vote together rather than one after another; L_kl leaves out the
    pasted boxes, where the released program compares two different images; the threshold follows the pixels that are
    valid in the weak view, not in the pasted one.

    Args:
        segmenter: the network to train.
        threshold: the adaptive threshold before the first step.
        threshold_momentum: its momentum.
        num_regions: rows of the correlation whose regions may grow, sampled anew in each step.
        feature_dropout: fraction of channels dropped for L_fp.
        seed: int or `None`, of the dropped channels and the rows.
        **kwargs: see `WeakToStrong`.
    """

    diagnostics = (*WeakToStrong.diagnostics, "adaptive_threshold")
    own_threshold = True

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
        self.divergence = DivergenceLoss()
        self.term_weights = {
            **dict.fromkeys(("supervised", "supervised_correlation"), 1 / 4),
            **dict.fromkeys(("strong_1", "divergence", "feature_dropout"), 1 / 8),
            **dict.fromkeys(("weak_correlation", "strong_correlation"), 1 / 16),
        }

    @property
    def heads(self):
        """Convolutions of the correlation."""
        return (self.propagate,)

    def weak_stage(self, batch, carry):
        """Compute all terms of labeled images and weak view, and what the strong view needs."""
        source = self.box_source(batch)
        labeled = ops.shape(batch["labeled_image"])[0]
        encoded = self.passes.encode(self.segmenter, labeled=batch["labeled_image"], weak=batch["weak_image"])
        known, unlabeled = rows(encoded, 0, labeled), rows(encoded, labeled)
        dropped = self.drop_features(unlabeled)
        decoded = self.passes.decode(self.segmenter, labeled=known, weak=unlabeled, dropped=dropped)
        clean = ops.shape(encoded["canvas"])[0]
        logits, dropped_logits = decoded["logits"][:clean], decoded["logits"][clean:]
        weak = self.weak_decision(batch, {name: value[labeled:clean] for name, value in decoded.items()})
        self.adaptive_threshold.update(weak.label, weak.confidence, weak.valid, self.num_classes)
        second = self.propagate(decoded["features"][:clean], logits)
        sure = weak.confidence >= self.adaptive_threshold.value()
        terms = {
            "supervised": self.labeled_loss_of(batch, logits[:labeled]),
            "supervised_correlation": self.supervised_loss(batch["labeled_mask"], second.logits[:labeled]),
            "feature_dropout": self.consistency_loss(weak.label, sure, weak.valid, dropped_logits),
            "weak_correlation": self.consistency_loss(weak.label, sure, weak.valid, second.logits[labeled:]),
            **self.diagnose(weak, self.adaptive_threshold.value()),
            "adaptive_threshold": self.adaptive_threshold.value(),
        }
        kept_rows = ops.stop_gradient(
            ops.take(second.correlation[labeled:], self._draw_rows(second.correlation), axis=1)
        )
        return terms, Spread(Targets(weak, source), ops.stop_gradient(logits[labeled:]), kept_rows)

    def strong_stage(self, batch, spread):
        """Compute the terms of the strong view."""
        view = self.strong_view(batch, 1, spread.targets)
        outputs = self.passes(self.segmenter, strong=view.image)
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
            "strong_1": self.consistency_loss(label, grown, target.valid, outputs["logits"]),
            "divergence": self.divergence(spread.logits, ops.logical_and(sure, apart), target.valid, outputs["logits"]),
            "strong_correlation": self.consistency_loss(label, grown, target.valid, second.logits),
        }
        return terms, None

    def _draw_rows(self, correlation):
        """Sample rows, the same for all images: (M,) int32."""
        pixels = correlation.shape[1]
        draws = keras.random.uniform((self.num_regions,), seed=self.draw)
        return ops.cast(ops.floor(draws * pixels), "int32")


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassConfidenceThreshold(Float32Layer):
    """Moving average of the teacher's confidence in each class's most confident pixel (Sun et al., CVPR 2024, Eq. 8).

    `tau <- momentum * tau + (1 - momentum) * mean_c max {confidence of a valid pixel labeled c}`, the mean over the
    classes that the batch shows; without any valid pixel it stays. Its state is saved with the method.

    Args:
        initial: the threshold before the first step, 0 to 1.
        momentum: 0 to 1.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, initial: float = 0.85, momentum: float = 0.999, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= initial <= 1.0 or not 0.0 <= momentum <= 1.0:
            raise ValueError(f"Expected values from 0 to 1. Received: initial={initial}, momentum={momentum}")
        self.initial = initial
        self.momentum = momentum
        self.threshold = self.add_state("threshold", initial=initial)

    def value(self):
        """Return the threshold, a float32 scalar without gradient."""
        return ops.stop_gradient(ops.convert_to_tensor(self.threshold))

    def update(self, label, confidence, valid, num_classes: int):
        """Move the threshold by one batch of all replicas.

        Args:
            label: `(B, H, W)` int32, the teacher's classes.
            confidence: `(B, H, W)` float32 above 0.
            valid: `(B, H, W)` bool.
            num_classes: K.
        """
        sure = ops.where(valid, confidence, 0.0)[..., None] * ops.one_hot(label, num_classes, dtype="float32")
        surest = ops.max(gather(ops.max(sure, axis=(0, 1, 2))[None]), axis=0)  # (K,), 0 for an absent class
        present = ops.cast(surest > 0, "float32")
        mean = ops.sum(surest) / ops.maximum(ops.sum(present), 1.0)
        now = self.value()
        moved = self.momentum * now + (1.0 - self.momentum) * mean
        self.threshold.assign(ops.stop_gradient(ops.where(ops.max(present) > 0, moved, now)))


class Propagated(NamedTuple):
    """Result of `CorrelationPropagation`."""

    logits: Any  # (B, H, W, K) float32
    correlation: Any  # (B, h w, h w) float32, each row sums to 1


@keras.saving.register_keras_serializable("rankmatch_keras")
class CorrelationPropagation(ConfigFromArguments, layers.Layer):
    """Propagation of an image's logits to the pixels that look alike (Sun et al., CVPR 2024, Eq. 4-5).

    Two 1x1 convolutions of K channels turn the feature map into A and B; `C = softmax(A B^T / sqrt(K))` over the second
    pixel; the second output at pixel j is `sum_i C_ij z_i`, with the logits z at the grid of the features and without
    gradient. B has no bias, which the softmax would cancel.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.sender = layers.Conv2D(num_classes, 1, dtype=self.dtype_policy, name="sender")
        self.receiver = layers.Conv2D(num_classes, 1, use_bias=False, dtype=self.dtype_policy, name="receiver")

    def build(self, features_shape, logits_shape=None):
        """Build both convolutions for the channels of the feature map."""
        self.sender.build(features_shape)
        self.receiver.build(features_shape)
        self.built = True

    def call(self, features, logits):
        """Propagate the logits.

        Args:
            features: `(B, h, w, D)`, through which the gradient flows.
            logits: `(B, H, W, K)` float32.

        Returns:
            `Propagated`.
        """
        _, height, width, _ = ops.shape(features)
        flat = (-1, height * width, self.num_classes)
        sender, receiver = (
            ops.reshape(ops.cast(half(features), "float32"), flat) for half in (self.sender, self.receiver)
        )
        scores = ops.matmul(sender, ops.transpose(receiver, (0, 2, 1))) / self.num_classes**0.5
        correlation = ops.softmax(scores, axis=-1)  # (B, hw, hw)
        coarse = resize_align_corners(ops.stop_gradient(ops.cast(logits, "float32")), (height, width))
        spread = ops.matmul(ops.transpose(correlation, (0, 2, 1)), ops.reshape(coarse, flat))  # (B, hw, K)
        spread = ops.reshape(spread, (-1, height, width, self.num_classes))
        return Propagated(resize_align_corners(spread, ops.shape(logits)[1:3]), correlation)


def correlated_regions(correlation, grid, size):
    """Turn rows of a correlation into regions: where a row, scaled from its minimum to its maximum, exceeds one half.

    Args:
        correlation: `(B, M, h w)` float, M rows.
        grid: `(h, w)`, ints.
        size: `(H, W)` of the regions, ints.

    Returns:
        `(B, M, H, W)` bool.
    """
    rows = ops.shape(correlation)[1]
    # As channels of one map, so that one resize does.
    maps = ops.reshape(ops.transpose(ops.stop_gradient(correlation), (0, 2, 1)), (-1, *grid, rows))
    maps = resize_align_corners(maps, size)
    low, high = ops.min(maps, axis=(1, 2), keepdims=True), ops.max(maps, axis=(1, 2), keepdims=True)
    return ops.transpose((maps - low) > (0.5 + MARGIN) * ops.maximum(high - low, EPSILON), (0, 3, 1, 2))


def propagate_labels(label, sure, regions, threshold, num_classes: int):
    """Give whole regions the class of their confident pixels where these are many and agree (Sun et al., Eq. 6-7).

    A region is taken if the fraction of its pixels that are confident reaches the threshold, and the fraction of the
    most frequent class among those exceeds it. All regions vote by the given labels; where several are taken, the last
    one wins.

    Args:
        label: `(B, H, W)` int32.
        sure: `(B, H, W)` bool.
        regions: `(B, M, H, W)` bool.
        threshold: float scalar, 0 to 1.
        num_classes: K.

    Returns:
        The new `label` and `sure`, of the same shapes, without gradient.
    """
    _, count, height, width = ops.shape(regions)
    inside = ops.reshape(ops.cast(regions, "float32"), (-1, count, height * width))
    votes = ops.one_hot(label, num_classes, dtype="float32") * ops.cast(sure, "float32")[..., None]
    votes = ops.matmul(inside, ops.reshape(votes, (-1, height * width, num_classes)))  # (B, M, K)
    voters, most = ops.sum(votes, axis=-1), ops.max(votes, axis=-1)  # (B, M)
    size = ops.sum(inside, axis=-1)
    taken = ops.logical_and(voters >= threshold * size, most > threshold * voters)
    winners = ops.cast(ops.argmax(votes, axis=-1), "int32")  # (B, M)
    taken = ops.logical_and(regions, taken[..., None, None])
    order = ops.reshape(ops.arange(1, count + 1, dtype="int32"), (1, count, 1, 1))
    last = ops.max(ops.where(taken, order, 0), axis=1)  # (B, H, W), 0 where none is taken
    flat = ops.reshape(ops.maximum(last - 1, 0), (-1, height * width))
    new = ops.reshape(ops.take_along_axis(winners, flat, axis=1), ops.shape(label))
    return ops.where(last > 0, new, label), ops.logical_or(sure, last > 0)


@keras.saving.register_keras_serializable("rankmatch_keras")
class DivergenceLoss(Loss):
    """Kullback-Leibler divergence of the student from the teacher, `L = sum w KL(p || q) [valid] / sum [valid]`."""

    def call(self, teacher_logits, weight, valid, logits):
        """Compute the loss of a batch.

        Args:
            teacher_logits: `(B, H, W, K)` float, of which p is the softmax, without gradient.
            weight: float or bool that broadcasts to `(B, H, W)`, w, without gradient.
            valid: `(B, H, W)` bool, False on padding.
            logits: `(B, H, W, K)` float, the student's, of which q is the softmax.

        Returns:
            Scalar float32; 0 where nothing is valid.
        """
        teacher = ops.log_softmax(ops.stop_gradient(ops.cast(teacher_logits, "float32")), axis=-1)
        student = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        divergence = ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)  # (B, H, W)
        valid = ops.cast(valid, "float32")
        return ratio(ops.sum(divergence * ops.cast(weight, "float32") * valid), ops.sum(valid))
