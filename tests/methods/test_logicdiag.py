"""LogicDiag: a slow twin that enumerates flips, hand-made pixels, and what surrounds the diagnosis."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.class_tree import ClassTree
from rankmatch_keras.losses import NodeLoss
from rankmatch_keras.methods import LogicDiag, build
from rankmatch_keras.methods.logicdiag.diagnosis import Diagnosis
from rankmatch_keras.models import with_tree

# cat, dog | car, bus | sky; animal, vehicle.
PARENTS = (5, 5, 6, 6, -1, -1, -1)
CAT, DOG, CAR, BUS, SKY, ANIMAL, VEHICLE = range(7)


def numpy(value):
    return np.array(ops.convert_to_numpy(value))


# The twin: rules one by one, and all sets of one and two nodes.


def rules_of(parents):
    """Every rule as the nodes that take part, and its truth."""
    nodes = range(len(parents))
    groups = sorted({*parents} - {-1})
    rules = []
    for node in nodes:
        if parents[node] >= 0:
            rules.append(({node, parents[node]}, lambda p, n=node: min(1.0, 1 - p[n] + p[parents[n]])))
    for group in (-1, *groups):
        below = [node for node in nodes if parents[node] == group]
        named = {*below, group} - {-1}
        rules.append((named, lambda p, g=group, b=below: min(1.0, 1 - (1.0 if g < 0 else p[g]) + max(p[n] for n in b))))
        for one, other in itertools.combinations(below, 2):
            rules.append(({one, other}, lambda p, i=one, j=other: 1 - p[i] * p[j]))
    return rules


def conflicts(parents, p):
    rules = rules_of(parents)
    return np.array([1 - np.mean([truth(p) for named, truth in rules if n in named]) for n in range(len(parents))])


def diagnoses(parents, p):
    """The likelihood of each minimal flip, normalized; {(): 1.0} without conflict."""
    rules = rules_of(parents)
    observed = [float(x > 0.5) for x in p]

    def flipped(nodes):
        return [1 - x if n in nodes else x for n, x in enumerate(observed)]

    def satisfies(nodes):
        return all(truth(flipped(nodes)) == 1.0 for _, truth in rules)

    if satisfies(()):
        return {(): 1.0}
    found = []
    for size in (1, 2):
        for nodes in itertools.combinations(range(len(parents)), size):
            minimal = not any(set(smaller) < set(nodes) for smaller in found)
            if minimal and satisfies(nodes):
                found.append(nodes)
    reliable = (1 - conflicts(parents, p)) * np.where(np.array(observed) == 1, p, 1 - np.array(p))
    reliable = np.clip(reliable, 1e-6, 1 - 1e-6)
    likelihoods = [np.prod([1 - r if n in d else r for n, r in enumerate(reliable)]) for d in found]
    return {d: value / sum(likelihoods) for d, value in zip(found, likelihoods, strict=True)}


def repaired_label(parents, p, nodes):
    """The class whose path the observation is once the nodes are flipped."""
    state = [float(x > 0.5) != (n in nodes) for n, x in enumerate(p)]
    (label,) = np.flatnonzero((ClassTree(parents).paths == state).all(1))
    return label


@st.composite
def trees(draw):
    """Parents of a random tree of up to 5 classes and 3 groups."""
    groups = draw(st.integers(0, 3))
    above = [draw(st.sampled_from([-1, *range(number)])) for number in range(groups)]  # of groups, in order
    barren = [g for g in range(groups) if g not in above]
    extra = draw(st.lists(st.sampled_from([-1, *range(groups)]), min_size=1, max_size=3))
    leaves = [*barren, *extra]
    first = len(leaves)
    return tuple(-1 if parent < 0 else first + parent for parent in (*leaves, *above))


PROBABILITY = st.one_of(st.sampled_from([0.0, 0.01, 0.5, 0.51, 0.99, 1.0]), st.floats(0.0, 1.0, width=32))


@pytest.mark.once
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_diagnosis_is_that_of_the_twin(data):
    parents = data.draw(trees())
    pixel = st.lists(PROBABILITY, min_size=len(parents), max_size=len(parents))
    pixels = np.array(data.draw(st.lists(pixel, min_size=1, max_size=3)), "float32")
    layer, p = Diagnosis(parents), ops.convert_to_tensor(pixels)
    np.testing.assert_allclose(numpy(layer.rules.conflict(p)), [conflicts(parents, x) for x in pixels], atol=2e-6)
    label, known, conflict = map(numpy, layer.repair(p))
    for number, x in enumerate(np.float64(pixels)):
        expected = diagnoses(parents, x)
        assert known[number] == bool(expected) and conflict[number] == (() not in expected)
        if expected:
            labels = {repaired_label(parents, x, d): value for d, value in expected.items()}
            assert labels[label[number]] >= max(labels.values()) - 1e-4


# Pixels by hand: the nodes that are on, and what becomes of them.

ON, OFF = 0.9, 0.1
PIXELS = {
    "no conflict": ({CAT: ON, ANIMAL: ON}, (CAT, True, False)),
    "no conflict of a class at the top": ({SKY: ON}, (SKY, True, False)),
    # Either the vehicle joins in, of which nothing is seen, or the bus goes and nothing is left but the sky.
    "a child without its parent": ({BUS: ON}, (BUS, True, True)),
    "an improbable child without its parent": ({BUS: 0.6, VEHICLE: 0.4}, (BUS, True, True)),
    "a parent without a child": ({ANIMAL: ON, DOG: 0.4}, (DOG, True, True)),
    "two excluded siblings": ({CAT: ON, DOG: 0.6, ANIMAL: ON}, (CAT, True, True)),
    "two excluded siblings the other way": ({CAT: 0.6, DOG: ON, ANIMAL: ON}, (DOG, True, True)),
    "two excluded groups": ({CAT: ON, ANIMAL: ON, SKY: 0.6}, (CAT, True, True)),
    "nothing at all": ({SKY: 0.4}, (SKY, True, True)),
    # Any path is three flips away.
    "no diagnosis": ({CAT: ON, CAR: ON, BUS: ON, SKY: ON}, (None, False, True)),
    "everything": (dict.fromkeys(range(7), ON), (None, False, True)),
}


@pytest.mark.parametrize("name", PIXELS)
def test_pixels_by_hand(name):
    nodes, (label, known, conflict) = PIXELS[name]
    p = np.full((1, 1, 1, 7), OFF, "float32")
    for node, value in nodes.items():
        p[..., node] = value
    found = [numpy(x).item() for x in Diagnosis(PARENTS)(np.log(p / (1 - p)))]
    assert found[1:] == [known, conflict] and (not known or found[0] == label)
    expected = diagnoses(PARENTS, np.float64(p[0, 0, 0]))
    assert bool(expected) == known and (() in expected) == (not conflict)
    if known:
        assert repaired_label(PARENTS, p[0, 0, 0], max(expected, key=expected.get)) == label


def test_a_conflict_degree_by_hand():
    # The bus, 0.9, takes part in: bus implies vehicle, 1 - 0.9 + 0.1 = 0.2; vehicle implies one of its own, 1; not both
    # bus and car, 1 - 0.9 * 0.1 = 0.91. So 1 - 2.11 / 3. The sky: one of the top nodes is true, 0.1; neither sky and
    # animal nor sky and vehicle, 0.99 twice.
    p = np.full(7, OFF, "float32")
    p[BUS] = ON
    found = numpy(Diagnosis(PARENTS).rules.conflict(ops.convert_to_tensor(p)))
    assert found[BUS] == pytest.approx(1 - 2.11 / 3, abs=1e-6)
    assert found[SKY] == pytest.approx(1 - 2.08 / 3, abs=1e-6)


def test_the_degree_is_of_a_pixel():
    p = np.full((1, 2, 7), OFF, "float32")
    p[0, 0, [CAT, ANIMAL]] = ON
    p[0, 1, [CAT, DOG, ANIMAL]] = ON
    found = numpy(Diagnosis(PARENTS).rules.conflict(ops.convert_to_tensor(p)))
    assert found[0, 1, CAT] > found[0, 0, CAT] + 0.1


@pytest.mark.once
def test_samples_follow_the_likelihoods():
    p = np.full(7, OFF, "float32")
    p[CAT], p[DOG], p[ANIMAL] = 0.7, 0.6, 0.9
    expected = diagnoses(PARENTS, np.float64(p))
    wanted = {repaired_label(PARENTS, p, d): value for d, value in expected.items()}
    assert 0.1 < wanted[DOG] < wanted[CAT] < 0.9
    image = np.broadcast_to(np.log(p / (1 - p)), (2, 40, 40, 7))
    layer = Diagnosis(PARENTS, sample=True, seed=3)
    first, second = (numpy(layer(image).label) for _ in range(2))
    assert (first != second).any() and set(np.unique(first)) == {CAT, DOG}
    assert (first == CAT).mean() == pytest.approx(wanted[CAT], abs=0.03)
    np.testing.assert_array_equal(numpy(Diagnosis(PARENTS, sample=True, seed=3)(image).label), first)
    # Without conflict there is nothing to sample.
    p[DOG] = 0.4
    assert (numpy(layer(np.broadcast_to(np.log(p / (1 - p)), (1, 9, 9, 7))).label) == CAT).all()


def test_no_gradient_reaches_the_teacher(small_segmenter, random_batch, gradients):
    method = LogicDiag(small_segmenter(), hierarchy=(-1, 3, 3, -1))
    assert not any(variable.trainable for variable in method.teacher.network.variables)
    batch = random_batch()
    found = gradients(lambda: method.compute_losses(batch)["loss"], method.segmenter)
    assert all(np.abs(gradient).max() > 0 for gradient in found)


@pytest.mark.once
def test_terms_follow_from_the_networks_outputs(small_segmenter, random_batch):
    parents, batch = (3, 4, 4, -1, 3), random_batch()
    network = with_tree(small_segmenter(), parents)
    keras.utils.set_random_seed(5)
    method = LogicDiag(small_segmenter(), hierarchy=parents)
    network.set_weights(method.segmenter.get_weights())
    losses = {name: float(numpy(value)) for name, value in method.compute_losses(batch).items()}

    nodes = numpy(network(batch["weak_image"], training=False)["nodes"])
    p = 1 / (1 + np.exp(-np.float64(nodes)))
    mask, conflict = np.full(p.shape[:3], 255), np.zeros(p.shape[:3], bool)
    for place in np.ndindex(*p.shape[:3]):
        found = diagnoses(parents, p[place])
        conflict[place] = () not in found
        if found and batch["valid"][place]:
            mask[place] = repaired_label(parents, p[place], max(found, key=found.get))
    valid = batch["valid"]
    assert losses["mask_ratio"] == pytest.approx((mask[valid] != 255).mean(), abs=1e-6)
    assert losses["conflict"] == pytest.approx(conflict[valid].mean(), abs=1e-6)
    assert 0 < losses["conflict"] and 0 < losses["mask_ratio"] < 1

    loss = NodeLoss(parents)
    labeled = network(batch["labeled_image"], training=True)["nodes"]
    assert losses["supervised"] == pytest.approx(float(numpy(loss(batch["labeled_mask"], labeled))), rel=1e-5)
    images, masks = [], []
    for number in (1, 2):
        views = batch[f"strong_image_{number}"].copy(), mask.copy()
        for row, (y0, x0, y1, x1) in enumerate(batch[f"cutmix_box_{number}"]):
            views[0][row, y0:y1, x0:x1] = batch[f"strong_image_{number}"][::-1][row, y0:y1, x0:x1]
            views[1][row, y0:y1, x0:x1] = mask[::-1][row, y0:y1, x0:x1]
        images.append(views[0])
        masks.append(views[1])
    strong = network(np.concatenate(images), training=True)["nodes"]
    for number, (mixed, of_view) in enumerate(zip(masks, (strong[:2], strong[2:]), strict=True), start=1):
        expected = float(numpy(loss(mixed.astype("int32"), of_view)))
        assert losses[f"strong_{number}"] == pytest.approx(expected, rel=1e-4)
    total = (losses["supervised"] + (losses["strong_1"] + losses["strong_2"]) / 2) / 2
    assert losses["loss"] == pytest.approx(total, rel=1e-5)


@pytest.mark.once
def test_options(small_segmenter):
    assert LogicDiag(small_segmenter(), hierarchy=[-1, 3, 3, -1]).teacher.decay == 0.996
    with pytest.raises(ValueError, match="3 classes. Received: 2"):
        LogicDiag(small_segmenter(), hierarchy=(2, 2, -1))
    with pytest.raises(UserError, match="logicdiag can work with; found Expected the classes first"):
        build("logicdiag", small_segmenter(), {"hierarchy": (-1, 5, 5, -1)})
