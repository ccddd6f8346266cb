import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.models.same_padding import size_aware_padding
from rankmatch_keras.models.tiny import tiny_encoder


@pytest.fixture(scope="module")
def network():
    return keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3), alpha=0.35)


def run(model, size):
    x = np.random.default_rng(0).normal(size=(1, size, size, 3)).astype("float32")
    return ops.convert_to_numpy(model(x, training=False))


def test_even_sizes_are_unchanged(network):
    np.testing.assert_allclose(run(size_aware_padding(network), 64), run(network, 64), atol=1e-5)


def test_odd_sizes_are_what_the_library_builds_for_them(network):
    fixed = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(65, 65, 3), alpha=0.35)
    fixed.set_weights([ops.convert_to_numpy(v) for v in network.weights])
    aware = size_aware_padding(network)
    assert run(network, 65).shape[1] == 2
    assert run(fixed, 65).shape[1] == 3
    np.testing.assert_allclose(run(aware, 65), run(fixed, 65), atol=1e-5)
    assert aware.compute_output_shape((1, 321, 321, 3))[1] == 11


def test_nothing_to_do():
    encoder = tiny_encoder()
    assert size_aware_padding(encoder) is encoder
