"""The rows of a replica, its random numbers, and ratios over all replicas."""

import keras
import numpy as np
import pytest

from rankmatch_keras.backend.replicas import Replicas, own_part, own_rows, ratio, replicas, set_replicas
from rankmatch_keras.layers import FeatureDropout, OrthogonalAgents
from rankmatch_keras.losses import PixelConsistencyLoss, SupervisedLoss


class OneOf(Replicas):
    """One of several replicas that a test plays in turn; sums are known beforehand."""

    def __init__(self, count, index, total=None):
        self.count = count
        self._index = index
        self.total = total

    def index(self):
        return self._index

    def sum(self, value):
        return keras.ops.zeros_like(value) + self.total


@pytest.fixture
def play():
    """Put replicas in place until the test ends."""
    yield set_replicas
    set_replicas(Replicas())


@pytest.mark.parametrize(("batch_size", "count"), [(8, 2), (8, 4), (12, 3), (6, 2), (2, 2), (5, 1)])
def test_rows_are_shared_without_overlap(batch_size, count):
    rows = [own_rows(batch_size, count, index) for index in range(count)]
    assert {len(own) for own in rows} == {batch_size // count}
    assert sorted(np.concatenate(rows)) == list(range(batch_size))


@pytest.mark.parametrize(("batch_size", "count"), [(8, 2), (8, 4), (12, 3), (5, 1)])
def test_reversing_the_own_rows_pairs_the_images_of_the_reversed_batch(batch_size, count):
    for index in range(count):
        own = own_rows(batch_size, count, index)
        np.testing.assert_array_equal(own[::-1], batch_size - 1 - own)


def test_alone_nothing_changes():
    assert replicas().count == 1
    values = keras.ops.arange(6.0)
    assert own_part(values) is values
    assert float(ratio(keras.ops.convert_to_tensor(3.0), keras.ops.convert_to_tensor(2.0))) == 1.5
    assert float(ratio(keras.ops.convert_to_tensor(0.0), keras.ops.convert_to_tensor(0.0))) == 0.0


def output_of(layer, inputs, **arguments):
    return keras.ops.convert_to_numpy(layer(inputs, **arguments))


def test_replicas_sample_what_one_would(play):
    maps = np.ones((8, 2, 2, 16), "float32")
    features = np.random.default_rng(0).normal(size=(8, 5, 5, 4)).astype("float32")
    dropped = output_of(FeatureDropout(0.5, seed=3), maps)
    agents = output_of(OrthogonalAgents(3, seed=3), features)
    for index in range(2):
        play(OneOf(2, index))
        own = own_rows(8, 2, index)
        np.testing.assert_array_equal(output_of(FeatureDropout(0.5, seed=3), maps[own]), dropped[own])
        np.testing.assert_array_equal(output_of(OrthogonalAgents(3, seed=3), features[own]), agents[own])


def losses_of(mask, valid, logits):
    confidence = keras.ops.ones(valid.shape)
    found = (
        SupervisedLoss()(mask, logits),
        PixelConsistencyLoss(0.5)(np.where(mask == 255, 0, mask), confidence, valid, logits),
    )
    return np.array([float(keras.ops.convert_to_numpy(value)) for value in found])


def test_the_mean_over_replicas_is_the_loss_of_the_whole_batch(play):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 6, 6, 3)).astype("float32")
    mask = rng.integers(0, 3, (4, 6, 6)).astype("int32")
    mask[0], mask[1, :3] = 255, 255  # unequal numbers of labeled pixels
    valid = mask != 255
    whole = losses_of(mask, valid, logits)
    parts = []
    for index in range(2):
        play(OneOf(2, index, total=float(valid.sum())))
        own = own_rows(4, 2, index)
        parts.append(losses_of(mask[own], valid[own], logits[own]))
    np.testing.assert_allclose(np.mean(parts, axis=0), whole, rtol=1e-6)
    assert abs(parts[0][0] - parts[1][0]) > 1e-3
