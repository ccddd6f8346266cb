"""UniMatch: two strong views and one feature-dropped view learn from the weak view; RankMatch's baseline."""

from typing import Any, NamedTuple

import keras
from keras import ops

from rankmatch_keras.layers import FeatureDropout
from rankmatch_keras.methods.weak_to_strong import Decision, StrongView, WeakToStrong, decide


class Streams(NamedTuple):
    """The passes of one step."""

    labeled_logits: Any  # (Bl, H, W, K)
    dropped_logits: Any  # (Bu, H, W, K), the weak view decoded with dropped features
    weak: Decision  # the teacher's decision on the weak view
    views: tuple[StrongView, StrongView]
    strong_logits: tuple[Any, Any]  # each (Bu, H, W, K)
    strong_features: tuple[Any, Any]  # each (Bu, h, w, D)


@keras.saving.register_keras_serializable("rankmatch_keras")
class UniMatch(WeakToStrong):
    """`L = (L_sup + L_s1 / 4 + L_s2 / 4 + L_fp / 2) / 2` (Yang et al., CVPR 2023, Section 3).

    L_s1 and L_s2 are the pixel consistency of two strong views, L_fp that of the weak view decoded from features
    with half of their channels dropped.

    Args:
        segmenter: the network that is trained.
        threshold: smallest confidence of a pseudo-label that counts.
        feature_dropout: share of channels dropped for L_fp.
        seed: int or `None`, for the dropped channels.
        **kwargs: see `Method`.
    """

    required = (*WeakToStrong.required, "strong_image_2", "cutmix_box_2")

    def __init__(self, segmenter, *, feature_dropout: float = 0.5, seed: int | None = None, **kwargs):
        super().__init__(segmenter, **kwargs)
        self.feature_dropout = feature_dropout
        self.seed = seed
        self.drop_features = FeatureDropout(feature_dropout, seed=seed)
        self.term_weights = {"supervised": 0.5, "strong_1": 0.125, "strong_2": 0.125, "feature_dropout": 0.25}
        if type(self) is UniMatch:
            self._make_trackers()

    def run_streams(self, batch) -> Streams:
        """Runs the passes of one step: weak with labelled images, then both strong views together."""
        source = self.box_source(batch)
        num_labeled, num_unlabeled = (ops.shape(batch[name])[0] for name in ("labeled_image", "weak_image"))
        encoded = self.segmenter.encode(ops.concatenate([batch["labeled_image"], batch["weak_image"]]), training=True)
        # Only the unlabelled images are decoded a second time, in one batch with the clean ones.
        dropped = self.drop_features({name: value[num_labeled:] for name, value in encoded.items()})
        decoded = self.segmenter.decode(
            {name: ops.concatenate([encoded[name], dropped[name]]) for name in encoded}, training=True
        )
        last_weak = num_labeled + num_unlabeled
        weak = decide({name: value[num_labeled:last_weak] for name, value in decoded.items()}, batch["valid"])

        views = (self.strong_view(batch, 1, weak, source), self.strong_view(batch, 2, weak, source))
        strong = self.segmenter(ops.concatenate([view.image for view in views]), training=True)
        return Streams(
            labeled_logits=decoded["logits"][:num_labeled],
            dropped_logits=decoded["logits"][last_weak:],
            weak=weak,
            views=views,
            strong_logits=(strong["logits"][:num_unlabeled], strong["logits"][num_unlabeled:]),
            strong_features=(strong["features"][:num_unlabeled], strong["features"][num_unlabeled:]),
        )

    def pixel_terms(self, batch, streams: Streams) -> dict[str, Any]:
        """The supervised and the three pixel consistency terms."""
        return {
            "supervised": self.supervised_loss(batch["labeled_mask"], streams.labeled_logits),
            "strong_1": self.consistency(streams.views[0].target, streams.strong_logits[0]),
            "strong_2": self.consistency(streams.views[1].target, streams.strong_logits[1]),
            "feature_dropout": self.consistency(streams.weak, streams.dropped_logits),
            **self.diagnose(streams.weak),
        }

    def compute_terms(self, batch):
        """All terms of one batch."""
        return self.pixel_terms(batch, self.run_streams(batch))

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "feature_dropout": self.feature_dropout, "seed": self.seed}
