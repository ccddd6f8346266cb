"""Sampling of a fixed number of pixels, alone and by several replicas together."""

import threading

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.backend.replicas import Replicas, replicas, set_replicas
from rankmatch_keras.layers.pseudo_labels import masked_quantiles
from rankmatch_keras.layers.sampling import (
    choose,
    class_members,
    gather_chosen,
    random_scores,
    sample_indices,
    sample_places,
)

LABEL = np.int32([0, 1, 0, 2, 0, 1])
COUNTED = np.array([True, True, True, True, True, False])
SCORES = np.float32([0.3, 0.0, 0.9, 0.5, 0.7, 0.8])


class Threads(Replicas):
    """Replicas that run at the same time, a thread each."""

    def __init__(self, count):
        self.count = count
        self._own = threading.local()
        self._barrier = threading.Barrier(count, timeout=20)
        self._values = [None] * count

    def index(self):
        return self._own.index

    def sum(self, value):
        self._values[self.index()] = np.array(ops.convert_to_numpy(value))
        self._barrier.wait()
        total = sum(self._values)
        self._barrier.wait()
        return ops.convert_to_tensor(total)

    def run(self, function, parts):
        """Call the function with each part on a replica; return what each returned."""
        results = [None] * self.count

        def work(index):
            self._own.index = index
            results[index] = function(*parts[index])

        threads = [threading.Thread(target=work, args=(index,)) for index in range(self.count)]
        set_replicas(self)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            set_replicas(Replicas())
        return results


def test_the_best_members_of_each_class_are_chosen():
    members = class_members(LABEL, 4, ops.convert_to_tensor(COUNTED))
    choice = choose(members, SCORES, 2)
    # Class 1 has one counted pixel, whose score is 0; class 3 has none.
    assert ops.convert_to_numpy(choice.indices).tolist() == [[2, 4], [1, 0], [3, 0], [0, 0]]
    assert ops.convert_to_numpy(choice.exist).tolist() == [[True] * 2, [True, False], [True, False], [False] * 2]


def test_fewer_pixels_than_requested():
    choice = choose(class_members(LABEL[:3], 2, np.ones(3, bool)), SCORES[:3], 5)
    assert tuple(choice.indices.shape) == (2, 5)
    assert ops.convert_to_numpy(choice.exist).sum(axis=1).tolist() == [2, 1]


def test_every_class_has_scores_of_its_own():
    scores = np.float32([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    choice = choose(np.ones((2, 3), bool), scores, 1)
    assert ops.convert_to_numpy(choice.indices).tolist() == [[2], [0]]


def test_indices_follow_the_weights():
    draws = ops.convert_to_tensor(np.float32([np.arange(8) / 8] * 2))
    found = ops.convert_to_numpy(sample_indices(np.float32([[1, 0, 2, 1], [0, 0, 0, 0]]), draws))
    assert found[0].tolist() == [0, 0, 2, 2, 2, 2, 3, 3]
    assert found[1].tolist() == [3] * 8


def test_places_stay_inside():
    draws = ops.convert_to_tensor(np.float32([0.0, 0.49, 0.5, 1.0]))
    assert ops.convert_to_numpy(sample_places(2, draws)).tolist() == [0, 0, 1, 1]
    assert ops.convert_to_numpy(sample_places(0, draws)).tolist() == [0] * 4


def test_scores_are_uniform_and_new_each_time():
    seed = keras.random.SeedGenerator(0)
    first, second = (ops.convert_to_numpy(random_scores(2, 50, seed)) for _ in range(2))
    assert first.shape == (100,) and (first != second).any()
    assert 0.0 <= first.min() < 0.1 and 0.9 < first.max() < 1.0


@pytest.mark.parametrize("count", [1, 3, 6])
def test_replicas_choose_together(count):
    rng = np.random.default_rng(count)
    label, scores = rng.integers(0, 3, 20), rng.random(20, dtype="float32")
    counted, vectors = rng.random(20) < 0.7, rng.normal(size=(20, 2)).astype("float32")

    def work(*rows):
        label, scores, counted, vectors = (ops.convert_to_tensor(values) for values in rows)
        choice = choose(class_members(label, 4, counted), scores, count)
        quantiles = masked_quantiles(scores, counted, 0.2, 0.65)
        found = (*gather_chosen(vectors, choice), ops.sum(ops.cast(choice.exist, "int32"), axis=1), *quantiles)
        return [ops.convert_to_numpy(value) for value in found]

    values = (label.astype("int32"), scores, counted, vectors)
    together = Threads(2).run(work, [[rows[:10] for rows in values], [rows[10:] for rows in values]])
    assert replicas().count == 1
    alone = work(*values)
    for own in together:
        for expected, found in zip(alone[:2], own[:2], strict=True):
            np.testing.assert_array_equal(found[alone[1]], expected[alone[1]])
            np.testing.assert_array_equal(own[1], alone[1])
        np.testing.assert_allclose(own[3:], alone[3:], rtol=1e-6)
    np.testing.assert_array_equal(together[0][2] + together[1][2], alone[2])
