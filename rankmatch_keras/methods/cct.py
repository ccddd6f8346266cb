"""CCT: auxiliary decoders on perturbed encoder maps learn to say what the main decoder says of the clean ones."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.layers import FeatureDropout
from rankmatch_keras.layers.adversarial import AdversarialMove
from rankmatch_keras.layers.clock import Clock
from rankmatch_keras.layers.feature_perturbations import (
    ContextMasking,
    FeatureDrop,
    FeatureNoise,
    GuidedCutout,
    ObjectMasking,
)
from rankmatch_keras.losses import ProbabilityConsistencyLoss
from rankmatch_keras.methods.base import LABELED, Method
from rankmatch_keras.models.copies import copy_decoder
from rankmatch_keras.models.segmenter import CANVAS

RAMP = 0.1  # share of the run in which the weight grows
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
    encoder's maps of the weak view after its own perturbation; the main decoder reads them as they are and gets no
    gradient of the second term, the encoder does. The main decoder predicts.

    Beside the publication: the auxiliary decoders have the structure of the segmenter's decoder, with weights of their
    own, in place of a 1x1 convolution and pixel shuffling; every map of the encoder is perturbed, not one; padding
    does not count; guided cutout takes one box per class (`GuidedCutout`). The adversarial direction is found with a
    probe of norm 1, as the published 1e-6 is lost in the rounding of float32, on each map by itself, and with the
    decoder in inference mode. 14 decoders are what follow-ups run; the publication takes 30 (2 vat, 6 channel_dropout,
    6 guided_cutout, 2 context_masking, 2 object_masking, 6 feature_drop, 6 feature_noise).

    Args:
        segmenter: the network that is trained.
        total_steps: batches of the run.
        vat: decoders with an adversarial perturbation of norm 2.
        channel_dropout: with half of the channels dropped.
        guided_cutout: with a part of each object cut out.
        context_masking: that see objects alone.
        object_masking: that see the background alone.
        feature_drop: with the most active places dropped.
        feature_noise: with multiplicative noise.
        consistency_weight: w(1).
        seed: int or `None`, for all perturbations.
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
        super().__init__(segmenter, **kwargs)
        self.vat = vat
        self.channel_dropout = channel_dropout
        self.guided_cutout = guided_cutout
        self.context_masking = context_masking
        self.object_masking = object_masking
        self.feature_drop = feature_drop
        self.feature_noise = feature_noise
        self.kinds = tuple(kind for kind in PERTURBATIONS for _ in range(getattr(self, kind)))
        if not self.kinds:
            raise ValueError("Expected one auxiliary decoder at least. Received: none of any kind")
        self.total_steps = total_steps
        self.consistency_weight = consistency_weight
        self.seed = seed
        seeds = [None if seed is None else seed + number for number in range(len(self.kinds))]
        self.perturbations = [PERTURBATIONS[kind](seed=seed) for kind, seed in zip(self.kinds, seeds, strict=True)]
        # Attributes, no list: torch finds the weights of modules there alone, and tells them apart by their names.
        for number in range(len(self.kinds)):
            setattr(self, f"auxiliary_{number}", copy_decoder(segmenter))
        self.clock = Clock(total_steps)
        self.consistency_loss = ProbabilityConsistencyLoss("mean")
        self.term_weights = {"supervised": 1.0, "consistency": consistency_weight}

    @property
    def heads(self):
        """The auxiliary decoders."""
        return tuple(getattr(self, f"auxiliary_{number}") for number in range(len(self.kinds)))

    def stages(self):
        """One stage, which uses all weights."""
        return (self.stage,)

    def stage(self, batch, teacher):
        """Both terms."""
        labeled = ops.shape(batch["labeled_image"])[0]
        encoded = self.segmenter.encode(ops.concatenate([batch["labeled_image"], batch["weak_image"]]), training=True)
        logits = self.segmenter.decode(encoded, training=True)["logits"]
        maps = {name: value[labeled:] for name, value in encoded.items()}
        target = ops.stop_gradient(logits[labeled:])
        losses = [self._consistency(number, maps, target, batch["valid"]) for number in range(len(self.kinds))]
        ramp = ops.exp(-5.0 * ops.square(1.0 - ops.minimum(self.clock.progress() / RAMP, 1.0)))
        self.clock.tick()
        terms = {
            "supervised": self.supervised_loss(batch["labeled_mask"], logits[:labeled]),
            "consistency": ramp * sum(losses) / float(len(losses)),
        }
        return terms, teacher

    def _consistency(self, number, maps, target, valid):
        """The loss of one auxiliary decoder."""
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
