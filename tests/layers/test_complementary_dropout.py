import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers.complementary_dropout import ComplementaryDropout


def factors(images, seed=0, channels=400):
    """What one call multiplies the channels of two maps by, (2 B, C) each."""
    maps = {name: np.ones((2 * images, 2, 3, channels), "float32") for name in ("low", "high")}
    dropped = ComplementaryDropout(seed=seed)({**maps, "canvas": np.ones((2 * images, 5, 5, 0), "float32")})
    assert dropped.pop("canvas").shape == (2 * images, 5, 5, 0)
    dropped = {name: ops.convert_to_numpy(value) for name, value in dropped.items()}
    assert all((value == value[:, :1, :1]).all() for value in dropped.values())  # whole channels
    return {name: value[:, 0, 0] for name, value in dropped.items()}


@pytest.mark.parametrize("images", [1, 2, 5])
def test_views_share_out_the_channels_and_half_of_the_images_keep_all(images):
    found = factors(images)
    kept = {}
    for name, value in found.items():
        first, second = value[:images], value[images:]
        np.testing.assert_array_equal(first + second, 2.0)
        kept[name] = [set(row) == {1.0} for row in first]
        assert sum(kept[name]) == images // 2
        for row, whole in zip(first, kept[name], strict=True):
            assert whole or (set(row) == {0.0, 2.0} and 0.4 < row.mean() / 2 < 0.6)  # deviation 0.025
    assert kept["low"] == kept["high"]
    dropped = kept["low"].index(False)
    assert 0.3 < (found["low"][dropped] == found["high"][dropped]).mean() < 0.7


def test_draws_change_with_the_call_and_follow_the_seed():
    layer = ComplementaryDropout(seed=1)
    ones = {"map": np.ones((8, 1, 1, 64), "float32")}
    first, second = (ops.convert_to_numpy(layer(ones)["map"]) for _ in range(2))
    assert (first != second).any()
    again = ops.convert_to_numpy(ComplementaryDropout(seed=1)(ones)["map"])
    np.testing.assert_array_equal(again, first)


def test_config_round_trip():
    layer = ComplementaryDropout(seed=4)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.seed == 4
