"""Contrast: InfoNCE against a slow twin."""

import numpy as np
import pytest

from rankmatch_keras.losses.contrast import ContrastiveLoss

RNG = np.random.default_rng(0)
CLASSES, ANCHORS, NEGATIVES, CHANNELS = 4, 3, 5, 6


def vectors(*shape):
    return RNG.normal(size=(*shape, CHANNELS)).astype("float32")


INPUTS = {
    "anchors": vectors(CLASSES, ANCHORS),
    "chosen": np.array([[True] * 3, [True, False, False], [True] * 3, [False] * 3]),
    "positives": vectors(CLASSES, ANCHORS),
    "negatives": vectors(CLASSES, NEGATIVES),
    # Class 2 has anchors but no negatives, class 3 has no anchors.
    "counted": np.array(
        [[[True] * 5] * 3, [[True, False, True, False, False]] * 3, [[False] * 5] * 3, [[True] * 5] * 3]
    ),
}


def twin(anchors, chosen, positives, negatives, counted, temperature=0.5):
    """The mean over classes of the mean over anchors, as the articles write it."""
    per_class = []
    for c in range(CLASSES):
        losses = []
        for a in range(ANCHORS):
            if not chosen[c, a] or not counted[c, a].any():
                continue
            own = np.exp(cosine(anchors[c, a], positives[c, a]) / temperature)
            others = [
                np.exp(cosine(anchors[c, a], negatives[c, n]) / temperature)
                for n in range(NEGATIVES)
                if counted[c, a, n]
            ]
            losses.append(-np.log(own / (own + sum(others))))
        if losses:
            per_class.append(np.mean(losses))
    return np.mean(per_class)


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def test_mean_of_classes_of_means_of_anchors():
    found = float(ContrastiveLoss(0.5)(*INPUTS.values()))
    assert found == pytest.approx(
        twin(**{k: np.float64(v) if v.dtype != bool else v for k, v in INPUTS.items()}), rel=1e-5
    )


def test_one_positive_for_a_class():
    inputs = {**INPUTS, "positives": INPUTS["positives"][:, :1], "counted": INPUTS["counted"][:, :1]}
    for_all = {
        **inputs,
        "positives": np.repeat(inputs["positives"], 3, 1),
        "counted": np.repeat(inputs["counted"], 3, 1),
    }
    loss = ContrastiveLoss(0.2)
    assert float(loss(*inputs.values())) == pytest.approx(float(loss(*for_all.values())), rel=1e-6)


def test_gradient_reaches_the_anchors_alone(value_and_gradient, finite_differences):
    others = [INPUTS[name] for name in ("chosen", "positives", "negatives", "counted")]
    _, gradient = value_and_gradient(lambda anchors: ContrastiveLoss()(anchors, *others), INPUTS["anchors"])
    expected = finite_differences(
        lambda anchors: twin(anchors, *(np.float64(x) if x.dtype != bool else x for x in others)), INPUTS["anchors"]
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-6)


def test_nothing_chosen_gives_no_loss_and_no_gradient(value_and_gradient):
    nothing = np.zeros_like(INPUTS["chosen"])
    others = [INPUTS[name] for name in ("positives", "negatives", "counted")]
    value, gradient = value_and_gradient(
        lambda anchors: ContrastiveLoss()(anchors, nothing, *others), np.zeros_like(INPUTS["anchors"])
    )
    assert value == 0.0 and (gradient == 0.0).all()


def test_wrong_temperature():
    with pytest.raises(ValueError, match="temperature above 0. Received: temperature=0"):
        ContrastiveLoss(0)
