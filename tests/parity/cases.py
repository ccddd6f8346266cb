"""What is compared between the backends: every method in its forms, and the networks that they train."""

import dataclasses
from typing import Any

import keras
from small_network import small_segmenter

from rankmatch_keras import methods, models, training

CLASSES = 4


@dataclasses.dataclass(frozen=True)
class Case:
    """A method with options, the network that it trains, and its batches.

    ReLU's kink turns a rounding error into a jump of the gradient where it meets a zero, and of some hundred thousand
    units of a network a few do before long. So five steps are compared on networks with softplus in its place, and
    what the exchanged method's first step computes on the network as it is. The methods that RankMatch is built on run
    on a whole DeepLabV3+; the others on a network of few layers, which is traced and compiled in a third of the time.

    The seed of weights and batches is chosen so that no pixel's confidence comes closer than 3e-6 to the threshold in
    any step (the backends' differ by some 3e-7): there rounding would decide whether it counts.

    `averages` are values of the selection's moving averages to begin with, as they are after many steps: the usual ones
    select every pixel.
    """

    kind: type[methods.Method]
    options: dict[str, Any]
    seed: int
    network: str = "small"
    second_view: bool = False
    smooth: bool = True
    steps: int = 5
    second: bool = False  # trains a pair of networks
    averages: dict[str, Any] = dataclasses.field(default_factory=dict)


PIXEL = {"threshold": 0.5}
DRAWN = {**PIXEL, "seed": 3}
AGENTS = {**DRAWN, "num_agents": 6}  # fewer than a map's 9 pixels: a choice
REMEDIES = {
    **{"ema_decay": 0.9, "similarity": "cosine", "temperature": 4.0, "agent_gradient": False, "rank_ramp": 0.2},
    **{"leave_out_padding": True, "weight_by_confidence": True, "total_steps": 20},
}
# What goes beyond the articles: statistics, averaged weights, losses, and selections of pseudo-labels. One EMA labels
# and is evaluated.
APART = {
    **{"normalize": "separate", "statistics": "labeled", "average": 0.9, "ema_decay": 0.9, "feature_dropout": None},
    **{"selection": "adaptive", "alignment": 0.5, "unlabeled_loss": "ce+dice", "labeled_loss": "ce+dice"},
    **{"class_weights": (0.5, 1.0, 2.0, 1.5), "unlabeled_ramp": 0.1, "total_steps": 20},
}
SOFT = {
    **{"normalize": "separate", "statistics": "labeled+weak", "average": 0.8, "selection": "soft", "alignment": 1.0},
    **{"unlabeled_loss": "focal", "labeled_loss": "focal", "views": 1, "unlabeled_weight": 0.5},
    "label_view": "image",
}
REPRESENTED = {"seed": 3, "total_steps": 20, "channels": 8, "stride": 1, "anchors": 6, "negatives": 8}
BANKS = {**REPRESENTED, "capacity": 30, "added": 10}
KINDS = (
    "vat",
    "channel_dropout",
    "guided_cutout",
    "context_masking",
    "object_masking",
    "feature_drop",
    "feature_noise",
)
CASES = {
    "supervised": Case(methods.SupervisedOnly, {}, seed=1, network="tiny"),
    "supervised, ohem": Case(methods.SupervisedOnly, {"ohem": (0.3, 900)}, seed=2),
    "supervised, mobilenet_v2": Case(methods.SupervisedOnly, {}, seed=10, network="mobilenet_v2", steps=1),
    "fixmatch": Case(methods.FixMatch, PIXEL, seed=13, network="tiny"),
    "fixmatch, second view": Case(methods.FixMatch, PIXEL, seed=14, second_view=True),
    "unimatch": Case(methods.UniMatch, DRAWN, seed=25, network="tiny"),
    "rankmatch, paper": Case(methods.RankMatch, AGENTS, seed=7, network="tiny"),
    # With all of UniMatch's terms.
    "rankmatch, reference, second view": Case(
        methods.RankMatch, {**methods.RankMatch.presets["reference"], **AGENTS}, seed=18, second_view=True
    ),
    # What the presets leave alone, in three combinations.
    "rankmatch, remedies": Case(methods.RankMatch, {**AGENTS, **REMEDIES}, seed=61, steps=2),
    "rankmatch, six of the surest": Case(
        methods.RankMatch, {**AGENTS, "num_agents": 8, "top_k": 6, "agents": "top_n"}, seed=62, steps=2
    ),
    "rankmatch, l2 to random agents": Case(
        methods.RankMatch, {**AGENTS, "correlation": "l2", "agents": "random"}, seed=63, steps=2
    ),
    "rankmatch, options": Case(
        methods.RankMatch,
        {**AGENTS, **APART},
        seed=64,
        steps=2,
        averages={"confidence": 0.7, "probabilities": (0.4, 0.2, 0.3, 0.1)},
    ),
    "rankmatch, soft, second view": Case(
        methods.RankMatch,
        {**AGENTS, **SOFT},
        seed=65,
        steps=2,
        second_view=True,
        averages={"mean": 0.7, "variance": 0.03},
    ),
    "meanteacher": Case(methods.MeanTeacher, {}, seed=31, steps=2),
    "cutmixmeanteacher": Case(methods.CutMixMeanTeacher, DRAWN, seed=132, steps=2),
    "augseg": Case(methods.AugSeg, DRAWN, seed=33, steps=2),
    "imas": Case(methods.IMAS, {**PIXEL, "seed": 6}, seed=34, steps=2),  # which applies boxes in both steps
    "dualteacher": Case(methods.DualTeacher, {**DRAWN, "switch_every": 1}, seed=135, steps=2),
    # From its usual beginning the threshold moves for some hundred steps until it is well determined.
    "daw": Case(methods.DAW, {**DRAWN, "momentum": 0.0}, seed=36, steps=2),
    "ael": Case(methods.AEL, DRAWN, seed=37, steps=2),
    "unimatchv2": Case(methods.UniMatchV2, DRAWN, seed=51, steps=2),
    "corrmatch": Case(methods.CorrMatch, {**DRAWN, "num_regions": 6}, seed=152, steps=2),
    "selftraining": Case(methods.SelfTraining, {"seed": 3}, seed=53, steps=2),
    "cct": Case(methods.CCT, {"seed": 3, "total_steps": 20, **dict.fromkeys(KINDS, 1)}, seed=54, steps=1),
    "npsemiseg": Case(methods.NPSemiSeg, {**DRAWN, "memory": 50, "draws": 2}, seed=55, steps=2),
    # Groups of two classes: where all nodes are on, there is no diagnosis.
    "logicdiag": Case(methods.LogicDiag, {"hierarchy": (4, 4, 5, 5, -1, -1)}, seed=56, steps=2),
    "logicdiag, sampled": Case(
        methods.LogicDiag, {"hierarchy": (4, 4, 5, 5, -1, -1), "sample": True, "seed": 3}, seed=57, steps=1
    ),
    "cps": Case(methods.CPS, {"seed": 3}, seed=41, steps=2, second=True),
    "cotraining": Case(methods.CoTraining, PIXEL, seed=48, steps=2, second=True),
    "u2pl": Case(methods.U2PL, {**BANKS, "warm_up": 0.0}, seed=43, steps=2),
    "dgcl": Case(
        methods.DGCL,
        {**BANKS, "warm_up": 0.0, "candidates": 12, "dense": 4, "capacity": 10, "first_class": 0},
        seed=44,
        steps=2,
    ),
    "css": Case(methods.CSS, {**REPRESENTED, **PIXEL, "pool": 8}, seed=145, steps=2),
    "esl": Case(methods.ESL, {**REPRESENTED, **PIXEL, "capacity": 8}, seed=246, steps=2),
    "contrastive": Case(methods.ContrastiveUniMatch, {**BANKS, **PIXEL}, seed=47, steps=2),
}
# Trained, saved, and taken over by the other backends, see `exchange.py`; the last step is done after that.
EXCHANGED = Case(methods.UniMatch, DRAWN, seed=74, network="tiny", smooth=False, steps=11)
RELU = "unimatch, relu"  # its first step, compared like a case


def build_method(case: Case) -> methods.Method:
    """The compiled method, as a recipe makes it."""
    pair = {"second": _segmenter(case)} if case.second else {}
    method = case.kind(_segmenter(case), **pair, **case.options)
    for name, value in case.averages.items():
        getattr(method.select, name).assign(value)
    method.compile(training.SGD(training.polynomial_decay(0.02, steps=20), head_multiplier=2.0))
    return method


def _segmenter(case):
    if case.network == "small":
        segmenter = small_segmenter(CLASSES)
    else:
        backbone = models.create_backbone(case.network, weights=None)
        segmenter = models.deeplab_v3_plus(backbone, CLASSES, projection_filters=8, aspp_filters=16, decoder_filters=16)
    return models.Segmenter(*map(_smooth, (segmenter.encoder, segmenter.decoder))) if case.smooth else segmenter


def _smooth(model):
    def copy(layer):
        if type(layer) is keras.layers.ReLU:
            return keras.layers.Activation("softplus", name=layer.name)
        return type(layer).from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=copy)
