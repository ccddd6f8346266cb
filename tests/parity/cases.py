"""What is compared between the backends: every method in its forms, and the networks that they train."""

import dataclasses
from typing import Any

import keras

from rankmatch_keras import methods, models, training

CLASSES = 4


@dataclasses.dataclass(frozen=True)
class Case:
    """A method with options, the network that it trains, and its batches.

    ReLU's kink turns a rounding error into a jump of the gradient where it meets a zero, and of some hundred thousand
    units of a network a few do before long. So five steps are compared on networks with softplus in its place, and
    what the exchanged method's first step computes on the network as it is.

    The seed of weights and batches is chosen so that no pixel's confidence comes closer than 3e-6 to the threshold in
    any step (the backends' differ by some 3e-7): there rounding would decide whether it counts.
    """

    kind: type[methods.Method]
    options: dict[str, Any]
    seed: int
    network: str = "tiny"
    second_view: bool = False
    smooth: bool = True
    steps: int = 5


PIXEL = {"threshold": 0.5}
DRAWN = {**PIXEL, "seed": 3}
AGENTS = {**DRAWN, "num_agents": 6}  # fewer than a map's 9 pixels: a choice
CASES = {
    "supervised": Case(methods.SupervisedOnly, {}, seed=1),
    "supervised, ohem": Case(methods.SupervisedOnly, {"ohem": (0.3, 900)}, seed=2),
    "supervised, mobilenet_v2": Case(methods.SupervisedOnly, {}, seed=10, network="mobilenet_v2", steps=1),
    "fixmatch": Case(methods.FixMatch, PIXEL, seed=13),
    "fixmatch, second view": Case(methods.FixMatch, PIXEL, seed=14, second_view=True),
    "unimatch": Case(methods.UniMatch, DRAWN, seed=25),
    "rankmatch, paper": Case(methods.RankMatch, {"preset": "paper", **AGENTS}, seed=7),
    # With all of UniMatch's terms.
    "rankmatch, reference, second view": Case(
        methods.RankMatch, {"preset": "reference", **AGENTS}, seed=18, second_view=True
    ),
    "meanteacher": Case(methods.MeanTeacher, {}, seed=31, steps=2),
    "cutmixmeanteacher": Case(methods.CutMixMeanTeacher, DRAWN, seed=32, steps=2),
    "augseg": Case(methods.AugSeg, DRAWN, seed=33, steps=2),
    "imas": Case(methods.IMAS, DRAWN, seed=34, steps=2),
    "dualteacher": Case(methods.DualTeacher, {**DRAWN, "switch_every": 1}, seed=35, steps=2),
    "daw": Case(methods.DAW, DRAWN, seed=36, steps=2),
    "ael": Case(methods.AEL, DRAWN, seed=37, steps=2),
}
# Trained, saved, and taken over by the other backends, see `exchange.py`; the last step is done after that.
EXCHANGED = Case(methods.UniMatch, DRAWN, seed=11, smooth=False, steps=11)
RELU = "unimatch, relu"  # its first step, compared like a case


def build_method(case: Case) -> methods.Method:
    """The compiled method, as a recipe makes it."""
    backbone = models.create_backbone(case.network, weights=None)
    segmenter = models.deeplab_v3_plus(backbone, CLASSES, projection_filters=8, aspp_filters=16, decoder_filters=16)
    if case.smooth:
        segmenter = models.Segmenter(*(_smooth(half) for half in (segmenter.encoder, segmenter.decoder)))
    method = case.kind(segmenter, **case.options)
    method.compile(training.SGD(training.polynomial_decay(0.02, steps=20), head_multiplier=2.0))
    return method


def _smooth(model):
    def copy(layer):
        if type(layer) is keras.layers.ReLU:
            return keras.layers.Activation("softplus", name=layer.name)
        return type(layer).from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=copy)
