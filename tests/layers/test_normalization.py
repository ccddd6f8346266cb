import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers import ChannelNormalization

MEAN, STD = (10.0, 20.0, 30.0), (2.0, 4.0, 5.0)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_by_hand(dtype):
    image = np.array([[[[12, 28, 20]]]], dtype=dtype)
    # (12 - 10) / 2, (28 - 20) / 4, (20 - 30) / 5
    normalized = ops.convert_to_numpy(ChannelNormalization(MEAN, STD)(image))
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized, [[[[1.0, 2.0, -2.0]]]], rtol=1e-6)


def test_reversal_comes_after_normalization():
    image = np.array([[[[12, 28, 20]]]], dtype="uint8")
    normalized = ops.convert_to_numpy(ChannelNormalization(MEAN, STD, reverse_channels=True)(image))
    np.testing.assert_allclose(normalized, [[[[-2.0, 2.0, 1.0]]]], rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels(channels):
    image = np.full((2, 3, 4, channels), 8.0, dtype="float32")
    layer = ChannelNormalization([6.0] * channels, [4.0] * channels)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(image)), np.full_like(image, 0.5))


def test_pixels_without_data_become_the_mean():
    image = np.array([[[[12, np.nan, 20], [np.nan, np.nan, np.nan]]]], "float32")
    normalized = ops.convert_to_numpy(ChannelNormalization(MEAN, STD)(image))
    np.testing.assert_allclose(normalized, [[[[1.0, 0.0, -2.0], [0.0, 0.0, 0.0]]]], rtol=1e-6)


def test_unknown_size_in_a_functional_model():
    inputs = keras.Input((None, None, 3), dtype="uint8")
    outputs = ChannelNormalization(MEAN, STD)(inputs)
    assert tuple(outputs.shape) == (None, None, None, 3)
    images = np.full((1, 2, 5, 3), 10, dtype="uint8")
    normalized = ops.convert_to_numpy(keras.Model(inputs, outputs)(images))
    np.testing.assert_allclose(normalized[..., 0], np.zeros((1, 2, 5)))


def test_attributes_are_tuples_of_floats():
    layer = ChannelNormalization([1, 2, 3], np.array([1, 2, 4]), reverse_channels=1)
    assert layer.mean == (1.0, 2.0, 3.0) and layer.std == (1.0, 2.0, 4.0) and layer.reverse_channels is True


@pytest.mark.parametrize(("mean", "std"), [((1.0, 2.0), (1.0,)), ((0.0,), (0.0,)), ((), ())])
def test_wrong_statistics(mean, std):
    with pytest.raises(ValueError, match="as many positive std as mean values. Received"):
        ChannelNormalization(mean, std)


def test_config_round_trip_and_file(tmp_path):
    layer = ChannelNormalization(MEAN, STD, reverse_channels=True)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (copy.mean, copy.std, copy.reverse_channels) == (MEAN, STD, True)

    inputs = keras.Input((2, 2, 3))
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).uniform(0, 255, (1, 2, 2, 3)).astype("float32")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(ops.convert_to_numpy(loaded(images)), ops.convert_to_numpy(model(images)))
