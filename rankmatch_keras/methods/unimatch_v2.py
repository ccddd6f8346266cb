"""UniMatch V2: two strong views with complementary channel dropout, labeled by an EMA teacher."""

import keras
from keras import ops

from rankmatch_keras.backend.replicas import own_part, replicas
from rankmatch_keras.layers.feature_dropout import Perturbation, each_map
from rankmatch_keras.methods.fixmatch import Targets, WeakToStrong


@keras.saving.register_keras_serializable("rankmatch_keras")
class UniMatchV2(WeakToStrong):
    """`L = (L_sup + (L_s1 + L_s2) / 2) / 2` (Yang et al., TPAMI 2025, Section 3).

    The EMA teacher, with an EMA of the moving statistics too, labels the weak view in inference mode. L_s1 and L_s2 are
    the pixel consistency of two strong views whose encoder maps split their channels between them
    (`ComplementaryDropout`); they pass the network together, the labeled images by themselves.

    Differences from the publication: it trains DINOv2 with DPT by AdamW (5e-6, head x 40), here any segmenter is
    trained; all four maps of DINOv2 have one width and drop the same channels, here every map samples its own. It
    scores student and teacher; here the student predicts.

    Args:
        segmenter: the network to train.
        ema_decay: decay of the EMA teacher.
        seed: int or `None`, of the dropped channels.
        **kwargs: see `WeakToStrong`.
    """

    required = (*WeakToStrong.required, "strong_image_2", "cutmix_box_2")

    def __init__(self, segmenter, *, ema_decay: float = 0.996, seed: int | None = None, **kwargs):
        super().__init__(segmenter, ema_decay=ema_decay, **kwargs)
        if self.teacher is None:
            raise ValueError(f"UniMatchV2 needs an EMA teacher. Received: ema_decay={ema_decay}")
        self.seed = seed
        self.drop_channels = ComplementaryDropout(seed=seed)
        self.term_weights = {"supervised": 0.5, "strong_1": 0.25, "strong_2": 0.25}

    def weak_stage(self, batch, carry):
        """Compute the supervised term and the pseudo-labels."""
        source = self.box_source(batch)
        weak = self.weak_decision(batch, {})  # the EMA teacher labels, in a pass of its own
        logits = self.passes(self.segmenter, labeled=batch["labeled_image"])["logits"]
        supervised = self.labeled_loss_of(batch, logits)
        return {"supervised": supervised, **self.diagnose(weak)}, Targets(weak, source)

    def strong_stage(self, batch, targets):
        """Compute the consistency terms of both strong views."""
        views = [self.strong_view(batch, number, targets) for number in (1, 2)]
        maps = self.passes.encode(self.segmenter, strong=ops.concatenate([view.image for view in views]))
        logits = self.passes.decode(self.segmenter, strong=self.drop_channels(maps))["logits"]
        first, second = ops.split(logits, 2)
        terms = {
            "strong_1": self.consistency(views[0].target, first),
            "strong_2": self.consistency(views[1].target, second),
        }
        return terms, None


@keras.saving.register_keras_serializable("rankmatch_keras")
class ComplementaryDropout(Perturbation):
    """Dropout that gives each channel, doubled, to one of two views of an image and zeroes it in the other.

    The factor of a channel is m in {0, 2} in the first view and 2 - m in the second, sampled per image and map; half of
    the images, sampled anew each time and rounded down, keep all channels as they are (Yang et al., TPAMI 2025,
    UniMatch V2, Section 3.3).

    Args:
        seed: int or `None`.
    """

    def call(self, maps):
        """Drop channels.

        Args:
            maps: dict of `(2 B, h, w, C)`, the images of the first view and then those of the second; maps without
                channels pass unchanged.

        Returns:
            A dict like `maps`.
        """
        images = ops.shape(next(iter(maps.values())))[0] // 2
        kept = self._kept(images * replicas().count)
        return each_map(maps, lambda value: self._dropped(value, images, kept))

    def _kept(self, images):
        """Sample which images of the global batch keep all channels: (B, 1, 1, 1) bool."""
        order = keras.random.uniform((images, 1), seed=self.seed_generator)
        ranks = ops.sum(ops.cast(ops.transpose(order) < order, "int32"), axis=1)
        return ops.reshape(ranks < images // 2, (images, 1, 1, 1))

    def _dropped(self, value, images, kept):
        shape = (images * replicas().count, 1, 1, value.shape[-1])
        first = 2.0 * ops.cast(keras.random.uniform(shape, seed=self.seed_generator) >= 0.5, "float32")
        first = own_part(ops.where(kept, 1.0, first))  # (B, 1, 1, C)
        factors = ops.concatenate([first, 2.0 - first])
        return value * ops.cast(factors, value.dtype)
