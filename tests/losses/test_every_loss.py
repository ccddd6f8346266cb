"""Harness of the losses."""

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.losses import (
    ContrastiveLoss,
    CorrelationConsistencyLoss,
    NodeLoss,
    PixelConsistencyLoss,
    ProbabilityConsistencyLoss,
    RankConsistencyLoss,
    SupervisedLoss,
    WeightedConsistencyLoss,
)
from rankmatch_keras.methods.esl.method import SoftConsistencyLoss

RNG = np.random.default_rng(0)
MASK = RNG.integers(0, 3, (2, 4, 5)).astype("int32")
LOGITS = RNG.normal(size=(2, 4, 5, 3)).astype("float32")
FEATURES = RNG.normal(size=(2, 2, 4, 5, 6)).astype("float32")
PIXELS = {"pseudo_label": MASK, "confidence": RNG.uniform(size=(2, 4, 5)).astype("float32"), "valid": MASK > 0}

VECTORS = RNG.normal(size=(3, 3, 2, 5)).astype("float32")
CONTRAST = {
    "anchors": VECTORS[0],
    "chosen": np.array([[True, False], [True, True], [False, False]]),
    "positives": VECTORS[1],
    "negatives": VECTORS[2],
    "counted": np.array([[[True, False]] * 2] * 3),
}

LOSSES = {
    "contrast": (lambda: ContrastiveLoss(0.4), CONTRAST),
    "soft": (lambda: SoftConsistencyLoss(), {"soft_label": np.abs(LOGITS), "valid": MASK > 0, "logits": LOGITS}),
    "supervised": (lambda: SupervisedLoss(ignore_index=2), {"mask": MASK, "logits": LOGITS}),
    "supervised_ohem": (lambda: SupervisedLoss(ohem=(0.6, 7)), {"mask": MASK, "logits": LOGITS}),
    "nodes": (
        lambda: NodeLoss((2, 2, -1), 2, (0.6, 7), "ce+dice", (1.0, 2.0)),
        {"mask": MASK, "logits": LOGITS},
    ),
    "consistency": (lambda: PixelConsistencyLoss(0.4), {**PIXELS, "logits": LOGITS}),
    "weighted": (
        lambda: WeightedConsistencyLoss("boosted"),
        {"pseudo_label": MASK, "weight": PIXELS["confidence"], "valid": MASK > 0, "logits": LOGITS},
    ),
    "probability": (
        lambda: ProbabilityConsistencyLoss("sum"),
        {"target": 2 * LOGITS, "weight": PIXELS["confidence"], "logits": LOGITS},
    ),
    "correlation": (
        lambda: CorrelationConsistencyLoss(7, "l2", seed=3),
        {"teacher_features": FEATURES[0], "student_features": FEATURES[1]},
    ),
    "rank": (
        lambda: RankConsistencyLoss(7, top_k=3, reduction="mean_all", seed=3),
        {"teacher_features": FEATURES[0], "student_features": FEATURES[1]},
    ),
}


@pytest.fixture(params=LOSSES)
def case(request):
    make, inputs = LOSSES[request.param]
    return make, {name: ops.convert_to_tensor(value) for name, value in inputs.items()}


def test_config_round_trip(case):
    make, inputs = case
    layer = make()
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()
    assert float(copy(*inputs.values())) == float(layer(*inputs.values()))


def test_symbolic_call_gives_a_scalar(case):
    make, inputs = case
    symbols = [
        keras.KerasTensor((None, *x.shape[1:]), dtype=keras.backend.standardize_dtype(x.dtype)) for x in inputs.values()
    ]
    assert tuple(make()(*symbols).shape) == ()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_inputs_give_a_float32_loss(case, dtype):
    make, inputs = case
    floats = {name for name, x in inputs.items() if keras.backend.is_float_dtype(x.dtype)}
    halves = {name: ops.cast(x, dtype) if name in floats else x for name, x in inputs.items()}
    value = make()(*halves.values())
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    # The inputs are rounded, the arithmetic is not.
    rounded = {name: ops.cast(x, "float32") if name in floats else x for name, x in halves.items()}
    assert float(value) == pytest.approx(float(make()(*rounded.values())), rel=1e-6)


def test_float32_under_mixed_precision(case):
    make, inputs = case
    expected = float(make()(*inputs.values()))
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = make()
    finally:
        keras.config.set_dtype_policy(previous)
    assert float(layer(*inputs.values())) == expected


def test_no_weights(case):
    layer = case[0]()
    assert layer.built and not layer.weights
