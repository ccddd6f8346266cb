"""UniMatch: two strong views and one feature-dropped view learn from the weak view; RankMatch's baseline."""

from typing import Any, ClassVar, NamedTuple

import keras
from keras import ops

from rankmatch_keras.layers import FeatureDropout
from rankmatch_keras.methods.fixmatch import PseudoLabels, Targets, WeakToStrong
from rankmatch_keras.methods.passes import rows

# One strong view and no dropped features: half the cost, and no loss of score in short runs.
PRACTICAL = {"views": 1, "feature_dropout": None}


class WeakStream(NamedTuple):
    """Results of one pass over labeled images and weak view."""

    labeled_logits: Any  # (Bl, H, W, K)
    weak: PseudoLabels  # of the weak view
    dropped_logits: Any  # (Bu, H, W, K), the weak view decoded with dropped features
    clean: dict[str, Any]  # the outputs for labeled images and weak view, (Bl + Bu, ...)


@keras.saving.register_keras_serializable("rankmatch_keras")
class UniMatch(WeakToStrong):
    """`L = (L_sup + L_s1 / 4 + L_s2 / 4 + L_fp / 2) / 2` (Yang et al., CVPR 2023, Section 3).

    L_s1 and L_s2 are the pixel consistency of two strong views, L_fp that of the weak view decoded from features
    with half of their channels dropped.

    Args:
        segmenter: the network to train.
        threshold: smallest confidence of a pseudo-label that is kept.
        views: strong views of each image, 2 as published or 1, which costs less; L_s1 then has the weight of both.
        feature_dropout: fraction of channels dropped for L_fp; `None` leaves this term and its pass out, and
            gives its weight to the strong views.
        seed: int or `None`, of the dropped channels.
        **kwargs: see `Method`.
    """

    required = (*WeakToStrong.required, "strong_image_2", "cutmix_box_2")
    presets: ClassVar[dict[str, dict[str, Any]]] = {"practical": PRACTICAL}

    def __init__(
        self,
        segmenter,
        *,
        views: int = 2,
        feature_dropout: float | None = 0.5,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(segmenter, **kwargs)
        if views not in (1, 2):
            raise ValueError(f"Expected 1 or 2 strong views. Received: views={views}")
        self.views = views
        if views == 1:
            self.required = tuple(name for name in self.required if not name.endswith("_2"))
        self.feature_dropout = feature_dropout
        self.seed = seed
        self.drop_features = None if feature_dropout is None else FeatureDropout(feature_dropout, seed=seed)
        of_views = 0.5 if self.drop_features is None else 0.25
        self.term_weights = {"supervised": 0.5, **{f"strong_{n}": of_views / views for n in self.numbers}}
        if self.drop_features is not None:
            self.term_weights["feature_dropout"] = 0.25

    @property
    def numbers(self):
        """Numbers of the strong views, from 1."""
        return range(1, self.views + 1)

    def weak_stream(self, batch) -> WeakStream:
        """Pass labeled images and weak view, and decode the latter again with dropped features."""
        num_labeled, num_unlabeled = (ops.shape(batch[name])[0] for name in ("labeled_image", "weak_image"))
        kinds = self.weak_kinds(batch, dropped=self.drop_features is not None)
        last_weak = num_labeled + (num_unlabeled if "weak" in kinds else 0)
        encoded = self.passes.encode(self.segmenter, **kinds)
        maps = {"labeled": rows(encoded, 0, num_labeled)}
        if "weak" in kinds:
            maps["weak"] = rows(encoded, num_labeled)
        if self.drop_features is not None:
            # Only the unlabeled images are decoded a second time, as published in one batch with the clean ones.
            maps["dropped"] = self.drop_features(maps["weak"])
        decoded = self.passes.decode(self.segmenter, **maps)
        return WeakStream(
            labeled_logits=decoded["logits"][:num_labeled],
            weak=self.weak_decision(batch, rows(decoded, num_labeled, last_weak)),
            dropped_logits=decoded["logits"][last_weak:],
            clean=rows(decoded, 0, last_weak),
        )

    def weak_stage(self, batch, carry):
        """Compute the supervised term, pseudo-labels, and the term of the feature-dropped view."""
        source = self.box_source(batch)
        stream = self.weak_stream(batch)
        terms = {
            "supervised": self.labeled_loss_of(batch, stream.labeled_logits),
            **self.diagnose(stream.weak),
            **self.weak_terms(batch, stream),
        }
        if self.drop_features is not None:
            terms["feature_dropout"] = self.consistency(stream.weak, stream.dropped_logits)
        return terms, Targets(stream.weak, source)

    def weak_terms(self, batch, stream: WeakStream) -> dict[str, Any]:
        """Return further terms of labeled images and weak view."""
        return {}

    def strong_stage(self, batch, targets):
        """Compute the terms of the strong views, which pass the network together."""
        views = tuple(self.strong_view(batch, number, targets) for number in self.numbers)
        count = ops.shape(batch["weak_image"])[0]
        outputs = self.passes(self.segmenter, strong=ops.concatenate([view.image for view in views]))
        terms: dict[str, Any] = {}
        for number, view in zip(self.numbers, views, strict=True):
            terms |= self.strong_terms(number, view.target, rows(outputs, (number - 1) * count, number * count))
        return terms, None

    def strong_terms(self, number: int, target: PseudoLabels, student: dict[str, Any]) -> dict[str, Any]:
        """Compute the terms of strong view `number` from the student's outputs and the pseudo-labels."""
        return {f"strong_{number}": self.consistency(target, student["logits"])}
