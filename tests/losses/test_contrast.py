"""Contrast: InfoNCE against a slow twin, and which pixels U2PL takes for negatives."""

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.losses.contrast import ContrastiveLoss
from rankmatch_keras.losses.density_contrast import DensityContrast
from rankmatch_keras.losses.soft import SoftConsistencyLoss
from rankmatch_keras.losses.unreliable import UnreliableContrast

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


def test_soft_labels_weigh_the_cross_entropies():
    label = np.float32([[[[0.75, 0.25], [1.0, 0.0], [0.5, 0.5]]]])
    logits = np.log(np.float32([[[[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]]]))
    value = float(SoftConsistencyLoss()(label, np.array([[[True, True, False]]]), logits))
    assert value == pytest.approx((np.log(2) + np.log(4)) / 2, rel=1e-6)


def test_negatives_of_u2pl():
    """Eight pixels of five classes: the first four labeled, the others not."""
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.ones(5), 8).astype("float32")
    label = np.int32([0, 1, 2, 4, 3, 3, 0, 1])
    labeled, counted = np.arange(8) < 4, np.arange(8) != 6
    loss = UnreliableContrast(5, 2, capacity=4)
    tensors = [ops.convert_to_tensor(x) for x in (probabilities, label, labeled, counted)]
    found = ops.convert_to_numpy(loss.negative_pixels(*tensors))
    for pixel in range(8):
        order = np.argsort(-probabilities[pixel]).tolist()
        for c in range(5):
            rank = order.index(c)
            expected = label[pixel] != c and rank < 3 if labeled[pixel] else rank >= 3
            assert found[c, pixel] == (expected and counted[pixel]), (pixel, c)


def test_two_classes_have_negatives_too():
    loss = UnreliableContrast(2, 2, capacity=4)
    tensors = [np.float32([[0.9, 0.1], [0.2, 0.8]]), np.int32([0, 1]), np.array([True, False]), np.ones(2, bool)]
    found = ops.convert_to_numpy(loss.negative_pixels(*(ops.convert_to_tensor(x) for x in tensors)))
    assert found.tolist() == [[False, True], [True, False]]


def test_the_sparsest_pixels_go_to_the_mean_of_the_densest():
    """One class with three stored features along x: of three pixels the one along y is the anchor."""
    loss = DensityContrast(2, 2, 2, capacity=3, added=3, candidates=3, anchors=1, dense=1, negatives=2, first_class=0)
    features = np.float32([[1, 0.1], [1, 0], [1, -0.1], [0, 1], [0, 1], [0, 1]])
    projections = np.float32([[1, 2], [3, 4], [5, 6], [7, 8], [7, 8], [7, 8]])
    label, everywhere = np.int32([0, 0, 0, 1, 1, 1]), np.ones(6, bool)
    scores = np.float32([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    inputs = [(ops.convert_to_tensor(features), ops.convert_to_tensor(projections))] * 2
    loss(*inputs, label, label, everywhere, everywhere, scores)
    student = np.float32([[1, 0], [0, 1], [1, 0.2], [0, 1], [0, 1], [0, 1]])
    anchors, chosen = loss.sparsest(
        (ops.convert_to_tensor(student), ops.convert_to_tensor(projections)),
        ops.convert_to_tensor(label[None] == np.arange(2)[:, None]),
        scores,
    )
    np.testing.assert_allclose(ops.convert_to_numpy(anchors)[0], [[3, 4]])
    assert ops.convert_to_numpy(chosen).all()
    assert ops.convert_to_numpy(loss.memory.filled()).all()
    stored = ops.convert_to_tensor(loss.memory.vectors)
    densest = loss.densest([stored, stored], [loss.memory.filled()] * 2)
    assert tuple(densest.shape) == (2, 1, 2)
    assert keras.ops.convert_to_numpy(densest)[1].ravel().tolist() == [7, 8]
