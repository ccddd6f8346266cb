"""CPS: two networks of one architecture label for each other, without a threshold or an EMA teacher."""

import keras
from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.backend.replicas import ratio
from rankmatch_keras.layers import RandomBoxes, mix, pseudo_labels
from rankmatch_keras.losses import WeightedConsistencyLoss
from rankmatch_keras.methods.base import LABELED, Method, joined_when_replicated
from rankmatch_keras.methods.teachers import partners
from rankmatch_keras.models.copies import copy_segmenter
from rankmatch_keras.models.segmenter import class_count


class TwoNetworks(Method):
    """Base of the methods with two students that label for each other.

    One optimizer moves both, which equals two optimizers of the same settings. The first network predicts after
    training.

    Args:
        segmenter: the first network.
        second: the second one.
        **kwargs: see `Method`.

    Raises:
        ValueError: the networks differ in channels or classes.
    """

    def __init__(self, segmenter, second, **kwargs):
        super().__init__(segmenter, **kwargs)
        _check_alike(segmenter, second)
        self.second = second

    @property
    def students(self):
        """Both networks."""
        return (self.segmenter, self.second)

    def network_stages(self) -> tuple:
        """Return the stages, each of one network."""
        raise NotImplementedError

    def stages(self):
        """Return a stage for each pass of a network, so that no two passes hold activations at once."""
        return joined_when_replicated(self.network_stages())


def _check_alike(first, second):
    channels = tuple(network.encoder.input_shape[-1] for network in (first, second))
    classes = tuple(class_count(network) for network in (first, second))
    for name, (one, other) in (("input channels", channels), ("classes", classes)):
        if one != other:
            raise ValueError(
                f"Expected two networks with the same number of {name}. "
                f"Received: {first.name!r} with {one}, {second.name!r} with {other}"
            )


@keras.saving.register_keras_serializable("rankmatch_keras")
class CPS(TwoNetworks):
    """`L = L_sup1 + L_sup2 + w (L_12 + L_21)` (Chen et al., CVPR 2021, Section 3).

    L_ij is the cross-entropy of network j against the hard labels of network i, with equal weights for all pixels. With
    `cutmix` both networks label the unlabeled images, in training mode and without gradient, and learn from the mixed
    image with the mixed labels of the other; masks are three boxes of 25 to 50 % of the image together, which flip each
    other. Without it they label what they are trained on, labeled images included (with their ignored pixels).

    Differences from the publication: an image is mixed with the one at the other end of the batch, and a network's
    labeled and unlabeled images share their batch statistics.

    Args:
        segmenter: the first network.
        second: the second one; by default it has the first one's encoder weights and a decoder of its own.
        cutmix: whether unlabeled images are mixed.
        weight: w; by default 1 with `cutmix` and 1.5 without, as for Pascal VOC (Cityscapes: 5 and 6).
        seed: int or `None`, of the boxes.
        **kwargs: see `Method`.
    """

    diagnostics = ("agreement",)
    required: tuple[str, ...] = (*LABELED, "weak_image", "valid")

    def __init__(
        self,
        segmenter,
        second=None,
        *,
        cutmix: bool = True,
        weight: float | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        if second is None:
            second = copy_segmenter(segmenter, decoder=False)
        super().__init__(segmenter, second, **kwargs)
        self.cutmix = cutmix
        self.weight = weight if weight is not None else 1.0 if cutmix else 1.5
        self.seed = seed
        self.random_boxes = RandomBoxes((0.25, 0.5), count=3, seed=seed)
        self.consistency_loss = WeightedConsistencyLoss("valid")
        self.term_weights = {"supervised_1": 1.0, "supervised_2": 1.0, "cross_1": self.weight, "cross_2": self.weight}

    def network_stages(self):
        """Return a stage per network with CutMix; without it, one for both, as each labels in its own pass."""
        return (self.first_stage, self.second_stage) if self.cutmix else (self.plain_stage,)

    def plain_stage(self, batch, carry):
        """Compute all terms, without mixing."""
        images = {"labeled": batch["labeled_image"], "weak": batch["weak_image"]}
        everywhere = ops.ones_like(batch["labeled_mask"], dtype="bool")
        valid = ops.concatenate([everywhere, ops.cast(batch["valid"], "bool")])
        logits = [self.passes(network, **images)["logits"] for network in self.students]
        labels = [pseudo_labels(of_network)[0] for of_network in logits]
        terms = {"agreement": agreement(labels[0], labels[1], valid)}
        for number, own, other in ((1, 0, 1), (2, 1, 0)):
            labeled = logits[own][: ops.shape(batch["labeled_image"])[0]]
            terms[f"supervised_{number}"] = self.supervised_loss(batch["labeled_mask"], labeled)
            terms[f"cross_{number}"] = self.consistency_loss(labels[other], valid, valid, logits[own])
        return terms, None

    def first_stage(self, batch, carry):
        """Compute the mixed labels of both networks, and the terms of the first one."""
        images = batch["weak_image"]
        with backend.step.no_gradient():
            labels = [pseudo_labels(self.passes(network, weak=images)["logits"])[0] for network in self.students]
        batch_size, height, width, _ = ops.shape(images)
        boxes = self.random_boxes(batch_size, (height, width))
        values = (images, batch["valid"], *labels)
        image, valid, first, second = (mix(value, partners(value), boxes) for value in values)
        terms = self.terms_of(1, self.segmenter, batch, image, second, valid)
        return {**terms, "agreement": agreement(first, second, valid)}, (image, first, valid)

    def second_stage(self, batch, mixed):
        """Compute the terms of the second network."""
        return self.terms_of(2, self.second, batch, *mixed), None

    def terms_of(self, number, network, batch, image, label, valid):
        """Compute the terms of one network, on labeled images and on mixed ones with the other network's labels."""
        num_labeled = ops.shape(batch["labeled_image"])[0]
        logits = self.passes(network, labeled=batch["labeled_image"], strong=image)["logits"]
        return {
            f"supervised_{number}": self.supervised_loss(batch["labeled_mask"], logits[:num_labeled]),
            f"cross_{number}": self.consistency_loss(label, valid, valid, logits[num_labeled:]),
        }


def agreement(first, second, valid):
    """Return the fraction of the valid pixels that both networks label alike, over all replicas: scalar float32."""
    valid = ops.cast(valid, "float32")
    return ratio(ops.sum(ops.cast(first == second, "float32") * valid), ops.sum(valid))
