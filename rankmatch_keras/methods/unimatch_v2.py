"""UniMatch V2: one stream of two strong views with complementary channel dropout, labelled by an averaged teacher."""

import keras
from keras import ops

from rankmatch_keras.layers.complementary_dropout import ComplementaryDropout
from rankmatch_keras.methods.weak_to_strong import Teacher, WeakToStrong


@keras.saving.register_keras_serializable("rankmatch_keras")
class UniMatchV2(WeakToStrong):
    """`L = (L_sup + (L_s1 + L_s2) / 2) / 2` (Yang et al., TPAMI 2025, Section 3).

    The averaged teacher, with averaged normalisation statistics, labels the weak view in inference mode. L_s1 and L_s2
    are the pixel consistency of two strong views whose encoder maps share out their channels (`ComplementaryDropout`);
    they pass the network together. The labelled images pass it by themselves.

    Beside the publication: it trains DINOv2 with DPT by AdamW (5e-6, head x 40), here any segmenter is trained; all
    four maps of DINOv2 have one width and drop the same channels, here every map draws its own. It scores student and
    teacher; here the student predicts.

    Args:
        segmenter: the network that is trained.
        ema_decay: decay of the averaged teacher.
        seed: int or `None`, for the dropped channels.
        **kwargs: see `WeakToStrong`.
    """

    required = (*WeakToStrong.required, "strong_image_2", "cutmix_box_2")

    def __init__(self, segmenter, *, ema_decay: float = 0.996, seed: int | None = None, **kwargs):
        super().__init__(segmenter, ema_decay=ema_decay, **kwargs)
        if self.teacher is None:
            raise ValueError(f"UniMatchV2 needs an averaged teacher. Received: ema_decay={ema_decay}")
        self.seed = seed
        self.drop_channels = ComplementaryDropout(seed=seed)
        self.term_weights = {"supervised": 0.5, "strong_1": 0.25, "strong_2": 0.25}

    def weak_stage(self, batch, carry):
        """The supervised term, and the teacher's decisions."""
        self.follow()
        source = self.box_source(batch)
        weak = self.weak_decision(batch, {})  # the teacher decides, by a pass of its own
        logits = self.segmenter(batch["labeled_image"], training=True)["logits"]
        supervised = self.supervised_loss(batch["labeled_mask"], logits)
        return {"supervised": supervised, **self.diagnose(weak)}, Teacher(weak, source)

    def strong_stage(self, batch, teacher):
        """The consistency terms of both strong views."""
        views = [self.strong_view(batch, number, teacher) for number in (1, 2)]
        maps = self.segmenter.encode(ops.concatenate([view.image for view in views]), training=True)
        logits = self.segmenter.decode(self.drop_channels(maps), training=True)["logits"]
        first, second = ops.split(logits, 2)
        terms = {
            "strong_1": self.consistency(views[0].target, first),
            "strong_2": self.consistency(views[1].target, second),
        }
        return terms, None
