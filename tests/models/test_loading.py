"""Loading of weights and the warm start from a saved predictor."""

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.normalization import ChannelNormalization
from rankmatch_keras.models import (
    backbone_normalization,
    create_backbone,
    deeplab_v3_plus,
    load_weights,
    predictor,
    start_from,
)


def network(seed, classes=4, filters=8):
    keras.utils.set_random_seed(seed)
    return deeplab_v3_plus(create_backbone("tiny"), classes, aspp_filters=filters, decoder_filters=8)


def logits(segmenter):
    images = np.random.default_rng(0).normal(size=(1, 33, 33, 3)).astype("float32")
    return ops.convert_to_numpy(segmenter(images, training=False)["logits"])


@pytest.fixture(scope="module")
def trained():
    """Make a network whose batch statistics have moved."""
    segmenter = network(0)
    for _ in range(3):
        segmenter(np.random.default_rng(1).normal(3.0, 2.0, (2, 33, 33, 3)).astype("float32"), training=True)
    return segmenter


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("start") / "last.keras"
    predictor(trained, ChannelNormalization(**backbone_normalization("tiny"))).save(path)
    return path


def test_warm_start_copies_weights_and_statistics(trained, saved):
    segmenter = network(5)
    assert np.abs(logits(segmenter) - logits(trained)).max() > 0.01
    start_from(segmenter, saved)
    np.testing.assert_allclose(logits(segmenter), logits(trained), atol=1e-6)


def test_warm_started_network_has_its_own_variables(trained, saved):
    segmenter = network(5)
    start_from(segmenter, saved)
    before = logits(trained)
    kernel = segmenter.decoder.weights[0]
    kernel.assign(ops.convert_to_tensor(kernel) + 1.0)
    np.testing.assert_array_equal(logits(trained), before)


@pytest.mark.once
@pytest.mark.parametrize(
    ("other", "difference"),
    [({"classes": 5}, r"classifier/kernel of shape .*4\) instead of .*5\)"), ({"filters": 16}, "aspp.* of shape")],
)
def test_warm_start_from_another_network_assigns_nothing(other, difference, saved):
    segmenter = network(1, **other)
    before = logits(segmenter)
    with pytest.raises(UserError, match=difference):
        start_from(segmenter, saved)
    np.testing.assert_array_equal(logits(segmenter), before)


@pytest.mark.once
def test_warm_start_from_other_layers_is_refused(saved):
    keras.utils.set_random_seed(0)
    without = deeplab_v3_plus(create_backbone("tiny"), 4, aspp_filters=8, decoder_filters=8, pool_norm=False)
    with pytest.raises(UserError, match="aspp_pool"):
        start_from(without, saved)


@pytest.mark.once
def test_warm_start_from_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="no file"):
        start_from(network(1), tmp_path / "last.keras")


def dense(units, name="network"):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)], name=name)


def test_weights_round_trip(tmp_path):
    source, target = dense(2), dense(2)
    source.save_weights(tmp_path / "a.weights.h5")
    load_weights(target, str(tmp_path / "a.weights.h5"))
    np.testing.assert_array_equal(ops.convert_to_numpy(source.weights[0]), ops.convert_to_numpy(target.weights[0]))


def test_weight_errors_name_network_and_file(tmp_path):
    dense(2).save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(UserError, match=r"'wide' \(16 parameters\).*a.weights.h5, which does not fit"):
        load_weights(dense(4, "wide"), tmp_path / "a.weights.h5")
    with pytest.raises(UserError, match="no file .*missing.weights.h5"):
        load_weights(dense(2), tmp_path / "missing.weights.h5")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="weights.h5 or .h5 file.*notes.txt"):
        load_weights(dense(2), tmp_path / "notes.txt")
    (tmp_path / "broken.weights.h5").write_text("x")
    with pytest.raises(UserError, match="broken.weights.h5, which does not fit"):
        load_weights(dense(2), tmp_path / "broken.weights.h5")
