import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers import FeatureDropout


def drop(layer, maps):
    return keras.tree.map_structure(ops.convert_to_numpy, layer(maps))


def kept_channels(feature_map):
    """`(B, C)` bool of a dropped map of ones, after checking that only whole channels went."""
    assert (feature_map == feature_map[:, :1, :1]).all()
    return feature_map[:, 0, 0] > 0


def test_whole_channels_and_scaling():
    layer = FeatureDropout(0.2, seed=0)
    dropped = drop(layer, np.ones((4, 3, 2, 500), dtype="float32"))
    kept = kept_channels(dropped)
    np.testing.assert_allclose(dropped[:, 0, 0][kept], 1.25, rtol=1e-6)  # 1 / (1 - 0.2)
    # 2000 channels at rate 0.2: standard deviation 0.009
    assert kept.mean() == pytest.approx(0.8, abs=0.05)


def test_maps_images_and_calls_are_independent():
    layer = FeatureDropout(0.5, seed=0)
    maps = {"low": np.ones((2, 4, 4, 64), dtype="float32"), "high": np.ones((2, 2, 2, 64), dtype="float32")}
    first, second = drop(layer, maps), drop(layer, maps)
    patterns = [kept_channels(x)[b].tolist() for x in (*first.values(), *second.values()) for b in range(2)]
    assert len({tuple(p) for p in patterns}) == 8
    # Independent draws agree in about half of the channels (standard deviation 0.06).
    agreement = np.mean(np.array(patterns[0]) == np.array(patterns[2]))
    assert 0.2 < agreement < 0.8


def test_values_survive():
    feature_map = np.random.default_rng(0).normal(size=(1, 3, 3, 32)).astype("float32")
    dropped = drop(FeatureDropout(0.5, seed=1), feature_map)
    kept = np.abs(dropped).sum(axis=(0, 1, 2)) > 0
    assert 0 < kept.sum() < 32
    np.testing.assert_allclose(dropped[..., kept], 2.0 * feature_map[..., kept], rtol=1e-6)


def test_drops_even_in_inference_mode_and_keeps_the_structure():
    maps = {"a": np.ones((1, 2, 2, 64), dtype="float32"), "b": [np.ones((1, 2, 2, 64), dtype="float32")]}
    dropped = drop(FeatureDropout(0.5, seed=0), maps)
    assert set(dropped) == {"a", "b"} and len(dropped["b"]) == 1
    assert not kept_channels(dropped["a"]).all()


def test_map_without_channels_passes():
    maps = {"map": np.ones((2, 3, 3, 4), dtype="float32"), "canvas": np.ones((2, 9, 9, 0), dtype="float32")}
    assert drop(FeatureDropout(0.5), maps)["canvas"].shape == (2, 9, 9, 0)


def test_rate_zero_changes_nothing():
    feature_map = np.random.default_rng(0).normal(size=(1, 3, 3, 8)).astype("float32")
    np.testing.assert_array_equal(drop(FeatureDropout(0.0), feature_map), feature_map)


def test_seed_repeats():
    feature_map = np.ones((2, 2, 2, 64), dtype="float32")
    one, other = (drop(FeatureDropout(0.5, seed=3), feature_map) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_compiled(compiled):
    layer = FeatureDropout(0.5, seed=3)
    if keras.backend.backend() == "jax":
        pytest.skip("a jitted function carries the seed explicitly; the methods' steps do")
    dropped = compiled(layer)(ops.ones((2, 2, 2, 64)))
    assert not kept_channels(ops.convert_to_numpy(dropped)).all()


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rate_out_of_range(rate):
    with pytest.raises(ValueError, match=f"Received: rate={rate}"):
        FeatureDropout(rate)
