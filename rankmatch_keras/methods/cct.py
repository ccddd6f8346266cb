"""CCT: auxiliary decoders on perturbed encoder maps learn the main decoder's prediction on the clean ones."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.layers import FeatureDropout
from rankmatch_keras.layers.base import uniform
from rankmatch_keras.layers.clock import Clock
from rankmatch_keras.layers.feature_dropout import Perturbation, each_map
from rankmatch_keras.layers.pixels import on_grid
from rankmatch_keras.losses import ProbabilityConsistencyLoss
from rankmatch_keras.methods.base import LABELED, Method
from rankmatch_keras.methods.passes import rows
from rankmatch_keras.models.copies import copy_decoder
from rankmatch_keras.models.segmenter import CANVAS

SMALLEST_OBJECT = 50  # pixels
TINY = 1e-8
RAMP = 0.1  # fraction of the run in which the weight grows


def keep_where(maps, mask):
    """Zero the maps where a mask `(B, H, W)` bool of the image is False."""

    def kept(value):
        return value * ops.cast(on_grid(mask, value.shape[1:3])[..., None], value.dtype)

    return each_map(maps, kept)


@keras.saving.register_keras_serializable("rankmatch_keras")
class FeatureNoise(Perturbation):
    """Multiplication by 1 + n, n uniform in -0.3 to 0.3 for each value of a map, the same for all images."""

    limit = 0.3

    def call(self, maps, logits=None):
        """Perturb the maps, see the class."""
        return each_map(maps, lambda value: value * ops.cast(1.0 + self._noise(value.shape[1:]), value.dtype))

    def _noise(self, shape):
        return self.sample((1, *shape), -self.limit, self.limit)


@keras.saving.register_keras_serializable("rankmatch_keras")
class FeatureDrop(Perturbation):
    """Zeros at the most active places, where a map's mean over channels reaches U(0.7, 0.9) of its image's maximum."""

    def call(self, maps, logits=None):
        """Perturb the maps, see the class."""
        share = self.sample((), 0.7, 0.9)

        def dropped(value):
            attention = ops.mean(ops.cast(value, "float32"), axis=-1, keepdims=True)  # (B, h, w, 1)
            limit = ops.max(attention, axis=(1, 2), keepdims=True) * share
            return value * ops.cast(attention < limit, value.dtype)

        return each_map(maps, dropped)


@keras.saving.register_keras_serializable("rankmatch_keras")
class ObjectMasking(Perturbation):
    """Zeros wherever another class than 0, the background, is predicted."""

    def call(self, maps, logits):
        """Perturb the maps, see the class."""
        return keep_where(maps, ops.argmax(logits, axis=-1) == 0)


@keras.saving.register_keras_serializable("rankmatch_keras")
class ContextMasking(Perturbation):
    """Zeros wherever class 0, the background, is predicted."""

    def call(self, maps, logits):
        """Perturb the maps, see the class."""
        return keep_where(maps, ops.argmax(logits, axis=-1) > 0)


@keras.saving.register_keras_serializable("rankmatch_keras")
class GuidedCutout(Perturbation):
    """Zeros in a random box within the prediction of each class but 0, of 0.4 of the sides of its bounding box.

    The publication takes each contour's bounding box by a library on the host; here all pixels of a class in an image
    share one, and classes of fewer than 50 pixels are left alone.
    """

    share = 0.4

    def call(self, maps, logits):
        """Perturb the maps, see the class."""
        boxes, counted = bounding_boxes(ops.argmax(logits, axis=-1), logits.shape[-1])
        draws = uniform((ops.shape(logits)[0], logits.shape[-1] - 1, 2), self.seed_generator)
        return keep_where(maps, ops.logical_not(self.cut(boxes, counted, draws, logits.shape[1:3])))

    def cut(self, boxes, counted, draws, size):
        """Mark the pixels of the boxes to cut.

        Args:
            boxes: `(B, K - 1, 4)` int32, `y0, x0, y1, x1`, ends excluded.
            counted: `(B, K - 1)` bool, whether the class is there.
            draws: `(B, K - 1, 2)` in 0 to 1, the place of each cut in its bounding box.
            size: `(H, W)`.

        Returns:
            `(B, H, W)` bool.
        """
        starts, ends = ops.cast(boxes[..., :2], "float32"), ops.cast(boxes[..., 2:], "float32")
        sides = ops.floor(self.share * (ends - starts))
        starts = starts + ops.floor(draws * (ends - starts - sides + 1.0))
        inside = [
            ops.logical_and(place >= starts[..., axis : axis + 1], place < (starts + sides)[..., axis : axis + 1])
            for axis, place in enumerate(ops.arange(side, dtype="float32") for side in size)
        ]  # (B, K - 1, H) and (B, K - 1, W)
        rows = ops.logical_and(inside[0], counted[..., None])
        return ops.any(ops.logical_and(rows[..., :, None], inside[1][..., None, :]), axis=1)


def bounding_boxes(label, num_classes: int):
    """Return the bounding boxes of the classes from 1 on.

    Args:
        label: `(B, H, W)` int.
        num_classes: K.

    Returns:
        `(B, K - 1, 4)` int32, `y0, x0, y1, x1`, ends excluded, and `(B, K - 1)` bool, whether the class has 50 pixels
        or more; the box of an absent class is meaningless.
    """
    classes = ops.reshape(ops.arange(1, num_classes, dtype="int32"), (1, -1, 1, 1))
    of_class = ops.cast(label, "int32")[:, None] == classes  # (B, K - 1, H, W)
    sides = []
    for other in (3, 2):
        shown = ops.any(of_class, axis=other)  # (B, K - 1, side)
        places = ops.arange(shown.shape[-1], dtype="int32")
        first = ops.min(ops.where(shown, places, shown.shape[-1]), axis=-1)
        sides.append((first, ops.max(ops.where(shown, places, -1), axis=-1) + 1))
    counted = ops.sum(ops.cast(of_class, "int32"), axis=(2, 3)) >= SMALLEST_OBJECT
    (top, bottom), (left, right) = sides
    return ops.stack([top, left, bottom, right], axis=-1), counted


@keras.saving.register_keras_serializable("rankmatch_keras")
class AdversarialMove(Perturbation):
    """Move of each map of each image, of norm 2, to where the prediction diverges fastest (VAT, Miyato et al., 2018).

    The direction is the gradient of the divergence KL(p(x) || p(x + d)) at a random move d of norm 1, one step of power
    iteration. The published programs take a norm of 1e-6, which float32 rounds away against maps of that size.

    Args:
        seed: int or `None`, of the random moves.
    """

    epsilon = 2.0
    probe = 1.0

    def move(self, maps, decode, gradient):
        """Move the maps.

        Args:
            maps: dict of `(B, h, w, C)`.
            decode: function from such a dict to logits `(B, H, W, K)`, without effect on any state.
            gradient: function `(function, value)` to the gradient of a scalar function at a value, of the same
                structure.

        Returns:
            A dict like `maps`; the move itself has no gradient.
        """
        clean = {name: ops.stop_gradient(value) for name, value in maps.items()}
        before = ops.log_softmax(ops.stop_gradient(ops.cast(decode(clean), "float32")), axis=-1)

        def divergence(moves):
            moved = {name: clean[name] + self.probe * moves[name] for name in clean}
            after = ops.log_softmax(ops.cast(decode(moved), "float32"), axis=-1)
            # A sum, as the direction of an image must not depend on how many there are.
            return ops.sum(ops.exp(before) * (before - after))

        directions = gradient(divergence, each_map(clean, lambda value: unit(self._random(value))))
        return {name: value + self.epsilon * unit(directions[name]) for name, value in maps.items()}

    def _random(self, value):
        shape = (ops.shape(value)[0], *value.shape[1:])
        return ops.cast(uniform(shape, self.seed_generator, -0.5, 0.5), value.dtype)


def unit(move):
    """Return a map `(B, h, w, C)` divided by its norm in each image."""
    norm = ops.sqrt(ops.sum(ops.square(ops.cast(move, "float32")), axis=(1, 2, 3), keepdims=True))
    return move / ops.cast(norm + TINY, move.dtype)


PERTURBATIONS: dict[str, Callable[..., Any]] = {
    "vat": AdversarialMove,
    "channel_dropout": lambda seed: FeatureDropout(0.5, seed=seed),
    "guided_cutout": GuidedCutout,
    "context_masking": ContextMasking,
    "object_masking": ObjectMasking,
    "feature_drop": FeatureDrop,
    "feature_noise": FeatureNoise,
}


@keras.saving.register_keras_serializable("rankmatch_keras")
class CCT(Method):
    """`L = L_sup + w(t) mean_k MSE(softmax aux_k, softmax main)` (Ouali et al., CVPR 2020, Section 3).

    `w(t) = 30 exp(-5 (1 - t)^2)`, t growing from 0 to 1 in the first tenth of the run. Auxiliary decoder k reads the
    encoder's maps of the weak view after its own perturbation (Section 3.2); the main decoder reads them as they are.
    The second term sends gradient to the encoder, not to the main decoder, which predicts after training.

    Differences from the publication: the auxiliary decoders have the structure of the segmenter's decoder, with weights
    of their own, in place of a 1x1 convolution and pixel shuffling; every map of the encoder is perturbed, not one;
    padding is left out; guided cutout takes one box per class (`GuidedCutout`). The adversarial direction is found with
    a probe of norm 1, as the published 1e-6 is lost in the rounding of float32, on each map by itself, and with the
    decoder in inference mode. 14 decoders are what follow-ups run; the publication takes 30 (2 vat, 6 channel_dropout,
    6 guided_cutout, 2 context_masking, 2 object_masking, 6 feature_drop, 6 feature_noise).

    Args:
        segmenter: the network to train.
        total_steps: batches of the run.
        vat: number of decoders with an adversarial perturbation of norm 2.
        channel_dropout: with half of the channels dropped.
        guided_cutout: with a part of each object cut out.
        context_masking: that see objects alone.
        object_masking: that see the background alone.
        feature_drop: with the most active places dropped.
        feature_noise: with multiplicative noise.
        consistency_weight: w(1).
        seed: int or `None`, of all perturbations.
        **kwargs: see `Method`.
    """

    required = (*LABELED, "weak_image", "valid")

    def __init__(
        self,
        segmenter,
        *,
        total_steps: int,
        vat: int = 2,
        channel_dropout: int = 2,
        guided_cutout: int = 2,
        context_masking: int = 2,
        object_masking: int = 2,
        feature_drop: int = 2,
        feature_noise: int = 2,
        consistency_weight: float = 30.0,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(segmenter, total_steps=total_steps, **kwargs)
        self.vat = vat
        self.channel_dropout = channel_dropout
        self.guided_cutout = guided_cutout
        self.context_masking = context_masking
        self.object_masking = object_masking
        self.feature_drop = feature_drop
        self.feature_noise = feature_noise
        self.kinds = tuple(kind for kind in PERTURBATIONS for _ in range(getattr(self, kind)))
        if not self.kinds:
            raise ValueError("Expected at least one auxiliary decoder. Received: none of any kind")
        self.consistency_weight = consistency_weight
        self.seed = seed
        seeds = [None if seed is None else seed + number for number in range(len(self.kinds))]
        self.perturbations = [PERTURBATIONS[kind](seed=seed) for kind, seed in zip(self.kinds, seeds, strict=True)]
        # Attributes rather than a list: torch finds the weights of modules there alone, and tells them apart by name.
        for number in range(len(self.kinds)):
            setattr(self, f"auxiliary_{number}", copy_decoder(segmenter))
        self.clock = Clock(total_steps)
        self.consistency_loss = ProbabilityConsistencyLoss("mean")
        self.term_weights = {"supervised": 1.0, "consistency": consistency_weight}

    @property
    def heads(self):
        """Auxiliary decoders."""
        return tuple(getattr(self, f"auxiliary_{number}") for number in range(len(self.kinds)))

    def stages(self):
        """Return the only stage; it uses all weights."""
        return (self.stage,)

    def stage(self, batch, carry):
        """Compute both terms."""
        labeled = ops.shape(batch["labeled_image"])[0]
        encoded = self.passes.encode(self.segmenter, labeled=batch["labeled_image"], weak=batch["weak_image"])
        known, maps = rows(encoded, 0, labeled), rows(encoded, labeled)
        logits = self.passes.decode(self.segmenter, labeled=known, weak=maps)["logits"]
        target = ops.stop_gradient(logits[labeled:])
        losses = [self._consistency(number, maps, target, batch["valid"]) for number in range(len(self.kinds))]
        ramp = ops.exp(-5.0 * ops.square(1.0 - ops.minimum(self.clock.progress() / RAMP, 1.0)))
        self.clock.tick()
        terms = {
            "supervised": self.supervised_loss(batch["labeled_mask"], logits[:labeled]),
            "consistency": ramp * sum(losses) / float(len(losses)),
        }
        return terms, carry

    def _consistency(self, number, maps, target, valid):
        """Compute the loss of one auxiliary decoder."""
        perturb, decoder = self.perturbations[number], self.heads[number]
        changed = {name: value for name, value in maps.items() if name != CANVAS}
        if self.kinds[number] == "vat":
            # In inference mode, so that finding the direction leaves no trace in the statistics.
            changed = perturb.move(changed, lambda x: decoder(x, training=False)["logits"], backend.step.gradient)
        elif self.kinds[number] == "channel_dropout":
            changed = perturb(changed)
        else:
            changed = perturb(changed, target)
        found = self.segmenter.resize(decoder(changed, training=True)["logits"], maps[CANVAS])
        return self.consistency_loss(target, valid, found)
