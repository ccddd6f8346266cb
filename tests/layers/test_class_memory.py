"""Averages, prototypes and banks of fixed shape: first in, first out, for each class."""

import collections

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.class_memory import (
    ClassAverages,
    ClassBank,
    ClassPrototypes,
    class_means,
    machine_memory,
    mean_vectors,
)
from rankmatch_keras.layers.sampling import class_members

LABEL = np.int32([[[0, 0, 1], [1, 1, 255]], [[3, 0, 1], [0, 0, 0]]])
VALID = LABEL != 255
VALID[1, 1] = False
VALUE = np.float32([[[0.2, 0.4, 0.1], [0.6, 0.8, 9.0]], [[0.7, 0.9, 0.5], [9.0, 9.0, 9.0]]])
# Class 0: .2 .4 .9; class 1: .1 .6 .8 .5; class 2 is absent; class 3: .7.
MEANS, COUNTS = [0.5, 0.5, 0.0, 0.7], [3, 4, 0, 1]


def averages(layer):
    return ops.convert_to_numpy(layer.values())


def test_means_by_hand():
    means, counts = (ops.convert_to_numpy(value) for value in class_means(VALUE, LABEL, VALID, 4))
    np.testing.assert_allclose(means, MEANS, rtol=1e-6)
    np.testing.assert_array_equal(counts, COUNTS)


def test_mean_vectors_of_the_members():
    vectors = ops.convert_to_tensor(np.float32([[1, 0], [5, 5], [3, 2], [0, 4], [2, 1], [9, 9]]))
    counted = ops.convert_to_tensor(np.array([True, True, True, True, True, False]))
    means, present = mean_vectors(vectors, class_members(np.int32([0, 1, 0, 2, 0, 1]), 4, counted))
    np.testing.assert_allclose(ops.convert_to_numpy(means), [[2, 1], [5, 5], [0, 4], [0, 0]])
    assert ops.convert_to_numpy(present).tolist() == [True, True, True, False]


@pytest.mark.parametrize(("absent", "third"), [("keep", 0.3), ("zero", 0.3 * 0.9)])
def test_averages_move_by_their_momentum(absent, third):
    layer = ClassAverages(4, momentum=0.9, initial=0.3, absent=absent)
    np.testing.assert_allclose(averages(layer), 0.3, rtol=1e-6)
    layer.update(VALUE, LABEL, VALID)
    np.testing.assert_allclose(averages(layer), [0.32, 0.32, third, 0.34], rtol=1e-6)
    layer.update(VALUE, LABEL, VALID & False)
    expected = averages(layer) if absent == "keep" else None
    assert expected is None or expected[0] == pytest.approx(0.32)


def test_the_averages_are_saved_and_not_trained():
    layer = ClassAverages(4, 0.5, 0.1, "zero")
    assert [v.shape for v in layer.non_trainable_variables] == [(4,)] and not layer.trainable_variables


@pytest.mark.parametrize("options", [{"momentum": 1.2}, {"absent": "drop"}])
def test_wrong_arguments_of_averages(options):
    with pytest.raises(ValueError, match="Received: "):
        ClassAverages(3, **options)


def contents(bank):
    """The vectors of each class as a set, by their first channel."""
    vectors, filled = (ops.convert_to_numpy(x) for x in (bank.vectors.value, bank.filled()))
    return [sorted(rows[marks, 0].tolist()) for rows, marks in zip(vectors, filled, strict=True)]


def test_the_newest_stay():
    bank, rng = ClassBank(3, 5, 2), np.random.default_rng(0)
    twins = [collections.deque(maxlen=5) for _ in range(3)]
    for step in range(9):
        vectors = (100 * step + np.arange(12).reshape(3, 4, 1) + np.zeros(2)).astype("float32")
        chosen = rng.random((3, 4)) < 0.5
        chosen[2] = False  # a class that never occurs
        bank.push(vectors, ops.convert_to_tensor(chosen))
        for twin, rows, marks in zip(twins, vectors, chosen, strict=True):
            twin.extend(rows[marks, 0])
        assert contents(bank) == [sorted(float(x) for x in twin) for twin in twins]


def test_samples_are_of_the_class_and_stored():
    bank = ClassBank(3, 6, 1, seed=0)
    bank.push(np.float32([[[1], [2]], [[3], [4]], [[5], [6]]]), np.array([[True, True], [False, True], [False] * 2]))
    vectors, counted = (ops.convert_to_numpy(x) for x in bank.sample(40))
    assert vectors.shape == (3, 40, 1) and counted.all(axis=1).tolist() == [True, True, False]
    assert set(vectors[0].ravel()) == {1.0, 2.0} and set(vectors[1].ravel()) == {4.0}
    assert not counted[2].any() and np.isfinite(vectors).all()


def test_a_push_may_fill_the_bank():
    bank = ClassBank(1, 3, 1)
    for step in range(3):
        bank.push(np.float32([[[step], [step + 10], [step + 20]]]), np.ones((1, 3), bool))
    assert contents(bank) == [[2.0, 12.0, 22.0]]


def test_a_bank_beyond_the_memory_says_what_fits():
    with pytest.raises(UserError) as error:
        ClassBank(21, 30000, 256, option="capacity", memory=10**9)
    expected = (
        "Expected memory banks of at most 0.25 GB, 25% of this machine's memory; found 0.65 GB for "
        "21 classes with 30000 vectors of 256 channels. Lower capacity, e.g. --set capacity=11625."
    )
    assert str(error.value) == expected
    assert machine_memory() is None or machine_memory() > 10**8


def test_an_empty_bank_is_refused():
    with pytest.raises(ValueError, match="at least 1 vector per class. Received: capacity=0"):
        ClassBank(3, 0, 2)


def test_prototypes_begin_with_the_first_mean_and_follow():
    prototypes = ClassPrototypes(3, 2, decay=0.9)
    for means, present in (([[1, 0], [0, 0], [0, 4]], [1, 0, 1]), ([[0, 1], [0, 0], [9, 9]], [1, 0, 0])):
        prototypes.update(ops.convert_to_tensor(np.float32(means)), ops.convert_to_tensor(np.bool_(present)))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(prototypes.vectors.value), [[0.9, 0.1], [0, 0], [0, 4]], rtol=1e-6
    )
    found = ops.convert_to_numpy(prototypes.similarity(ops.convert_to_tensor(np.float32([[0, 2]])), 0.5))
    np.testing.assert_allclose(found, [[2 * 0.1 / np.hypot(0.9, 0.1), -1e4, 2.0]], rtol=1e-6)
