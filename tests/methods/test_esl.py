"""ESL's parts of classes and soft labels."""

import numpy as np
import pytest
from keras import ops

from rankmatch_keras.methods.esl.method import SoftConsistencyLoss, dynamic_soft_labels
from rankmatch_keras.methods.esl.parts import ClassParts, k_means


def numpy(value):
    return ops.convert_to_numpy(value)


def clusters(seed=0):
    """Nine features of class 0 around three centers, five of class 2 around two; class 1 never occurs."""
    centres = np.float32([[0, 0], [8, 0], [0, 8], [20, 20], [20, 28]])
    rng = np.random.default_rng(seed)
    features = np.repeat(centres, 3, axis=0)[:14] + rng.uniform(-1, 1, (14, 2))
    return ops.convert_to_tensor(features.astype("float32")), ops.convert_to_tensor(np.int32([0] * 9 + [2] * 5))


@pytest.mark.once
def test_parts_are_the_clusters_of_a_class():
    features, label = clusters()
    parts = ClassParts(3, 3, 2, decay=0.5)
    scores = np.random.default_rng(1).random(14, dtype="float32")
    parts.begin(features, label, np.ones(14, bool), scores)
    found = numpy(parts.assign(features, label))
    assert (found // 3 == numpy(label)).all()
    groups = [set(found[start:end]) for start, end in ((0, 3), (3, 6), (6, 9), (9, 12), (12, 14))]
    assert all(len(group) == 1 for group in groups[:3]) and len(set.union(*groups[:3])) == 3
    assert not groups[3] & groups[4]
    assert numpy(parts.known(np.int32([0, 2, 3, 5, 6]))).tolist() == [True, True, False, False, True]


def test_parts_begin_once_and_follow_their_pixels():
    features, label = clusters()
    parts = ClassParts(3, 3, 2, decay=0.5)
    scores = np.random.default_rng(1).random(14, dtype="float32")
    parts.begin(features, label, np.ones(14, bool), scores)
    before = numpy(parts.centres.vectors.value).copy()
    parts.begin(features + 3, label, np.ones(14, bool), scores)
    np.testing.assert_array_equal(numpy(parts.centres.vectors.value), before)
    part = parts.assign(features, label)
    parts.update(features + 3, part, np.ones(14, bool))
    own = numpy(part) == int(numpy(part)[0])
    expected = (before[int(numpy(part)[0])] + (numpy(features)[own] + 3).mean(axis=0)) / 2
    np.testing.assert_allclose(numpy(parts.centres.vectors.value)[int(numpy(part)[0])], expected, rtol=1e-5)


def test_fewer_pixels_than_parts_give_equal_centers():
    vectors = np.float32([[[1, 1], [7, 7], [0, 0], [0, 0]]])
    found = numpy(k_means(vectors, np.array([[True, True, False, False]]), 3))
    assert np.isfinite(found).all() and {tuple(row) for row in found[0]} <= {(1.0, 1.0), (7.0, 7.0)}


def test_soft_labels_hold_the_mass():
    probabilities = np.float32([[[[0.6, 0.3, 0.1], [0.96, 0.03, 0.01], [0.4, 0.2, 0.4]]]])
    found = numpy(dynamic_soft_labels(np.log(probabilities), 0.8))
    np.testing.assert_allclose(found[0, 0], [[2 / 3, 1 / 3, 0], [1, 0, 0], [0.5, 0, 0.5]], atol=1e-6)
    everything = numpy(dynamic_soft_labels(np.log(probabilities), 1.0))
    np.testing.assert_allclose(everything, probabilities, atol=1e-6)


def test_soft_labels_of_certain_pixels_are_finite():
    found = numpy(dynamic_soft_labels(np.float32([[[[500.0, 0.0, -500.0], [0.0, 0.0, 0.0]]]]), 0.95))
    np.testing.assert_allclose(found[0, 0], [[1, 0, 0], [1 / 3] * 3], atol=1e-6)


def test_soft_labels_weigh_the_cross_entropies():
    label = np.float32([[[[0.75, 0.25], [1.0, 0.0], [0.5, 0.5]]]])
    logits = np.log(np.float32([[[[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]]]))
    value = float(SoftConsistencyLoss()(label, np.array([[[True, True, False]]]), logits))
    assert value == pytest.approx((np.log(2) + np.log(4)) / 2, rel=1e-6)
