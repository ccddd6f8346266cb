import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers.gaussian_threshold import GaussianThreshold


def state(layer):
    return [ops.convert_to_numpy(v) for v in (layer.means, layer.variances)]


def crossing(means, variances):
    """Where the density of the correct passes that of the wrong ones, by looking for it."""
    x = np.linspace(0, 1, 2_000_001)
    log_densities = [-((x - m) ** 2) / (2 * v) - np.log(v) / 2 for m, v in zip(means, variances, strict=True)]
    above = log_densities[0] >= log_densities[1]
    return x[np.flatnonzero(np.diff(above.astype(int)) == 1)[-1]]


def given(means, variances, initial=0.95, classes=5):
    """A layer with a state, after a batch without labelled pixels."""
    layer = GaussianThreshold(classes, initial)
    layer.means.assign(means)
    layer.variances.assign(variances)
    nothing = np.zeros((1, 2, 2), bool)
    layer.update(np.full((1, 2, 2), 0.9, "float32"), nothing, nothing)
    for now, before in zip(state(layer), (means, variances), strict=True):
        np.testing.assert_allclose(now, before, rtol=1e-6)
    return float(ops.convert_to_numpy(layer.value()))


@pytest.mark.parametrize(
    ("means", "variances"),
    [
        ((0.9, 0.6), (0.01, 0.02)),
        ((0.97, 0.7), (0.002, 0.03)),
        ((0.8, 0.5), (0.02, 0.02)),  # equal spread: half of the way
        ((0.8, 0.5), (0.02, 0.0200001)),
        ((0.7, 0.65), (0.01, 0.05)),
    ],
)
def test_threshold_is_where_the_densities_meet(means, variances):
    assert given(means, variances) == pytest.approx(crossing(means, variances), abs=2e-5)


def test_threshold_stays_within_its_bounds():
    assert given((0.99, 0.985), (1e-6, 0.5)) <= 1.0
    assert given((0.21, 0.01), (0.01, 0.01), classes=5) == pytest.approx(0.2)  # they meet at 0.11


def test_without_a_real_root_it_stays():
    # Alike in all, as in the beginning: nothing to be found.
    assert given((0.2, 0.2), (0.5, 0.5), initial=0.9) == pytest.approx(0.9)


def test_means_and_variances_follow_batches_of_at_least_ten_pixels():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1.0, (2, 5, 6)).astype("float32")
    correct = rng.uniform(size=confidence.shape) < 0.7
    valid = rng.uniform(size=confidence.shape) < 0.9
    layer = GaussianThreshold(4, momentum=0.8)
    layer.update(confidence, correct, valid)
    groups = [confidence[valid & correct], confidence[valid & ~correct]]
    assert min(map(len, groups)) >= 10
    expected = [[0.8 * 0.25 + 0.2 * g.mean() for g in groups], [0.8 * 0.5 + 0.2 * g.var() for g in groups]]
    for found, wanted in zip(state(layer), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    # Nine wrong pixels are too few to count, and the correct ones still do.
    few = np.ones(confidence.shape, bool)
    few.flat[:9] = False
    before = state(layer)
    layer.update(confidence, few, np.ones_like(few))
    assert (state(layer)[0] != before[0]).tolist() == [True, False]
    assert (state(layer)[1] != before[1]).tolist() == [True, False]


def test_config_and_wrong_arguments():
    layer = GaussianThreshold(4, 0.9, 0.7)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (copy.num_classes, copy.initial, copy.momentum) == (4, 0.9, 0.7)
    assert len(layer.non_trainable_variables) == 3 and not layer.trainable_variables
    with pytest.raises(ValueError, match="Received: initial=0.95, momentum=1.5"):
        GaussianThreshold(4, momentum=1.5)
