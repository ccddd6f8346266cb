"""The convolution over a fine and an upsampled map equals the plain one over both maps joined."""

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers import FineCoarseConv2D
from rankmatch_keras.layers.fine_coarse import convolve_upsampled
from rankmatch_keras.layers.resize import resize_align_corners

SIZES = [((3, 5), (9, 17)), ((4, 3), (7, 11)), ((1, 1), (3, 4)), ((5, 4), (5, 4)), ((6, 5), (3, 2))]


def maps(coarse, fine, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=(2, *size, c)).astype("float32") for size, c in ((fine, 4), (coarse, 3)))


def plain(kernel, fine, coarse):
    """The definition: upsample, join, convolve."""
    joined = ops.concatenate([fine, resize_align_corners(coarse, tuple(fine.shape[1:3]))], axis=-1)
    return ops.conv(joined, kernel, padding="same", data_format="channels_last")


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize(("coarse", "fine"), SIZES)
def test_equals_the_convolution_of_the_joined_maps(coarse, fine, kernel_size):
    inputs = [ops.convert_to_tensor(x) for x in maps(coarse, fine)]
    layer = FineCoarseConv2D(6, kernel_size)
    found = ops.convert_to_numpy(layer(inputs))
    assert layer.kernel.shape == (kernel_size, kernel_size, 7, 6)
    expected = ops.convert_to_numpy(plain(ops.convert_to_tensor(layer.kernel), *inputs))
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("moving", ["kernel", "fine", "coarse"])
def test_gradients_equal_those_of_the_joined_maps(moving, value_and_gradient):
    fine, coarse = maps((3, 5), (9, 17))
    rng = np.random.default_rng(1)
    values = {"kernel": rng.normal(size=(3, 3, 7, 6)).astype("float32"), "fine": fine, "coarse": coarse}
    weight = rng.normal(size=(2, 9, 17, 6)).astype("float32")

    def ours(kernel, fine, coarse):
        layer = FineCoarseConv2D(6)
        layer.kernel = kernel
        layer.built = True
        return layer([fine, coarse])

    gradients = []
    for function in (plain, ours):

        def total(x, function=function):
            arguments = {**{name: ops.convert_to_tensor(value) for name, value in values.items()}, moving: x}
            return ops.sum(function(**arguments) * ops.convert_to_tensor(weight))

        gradients.append(value_and_gradient(total, values[moving])[1])
    scale = np.abs(gradients[0]).max()
    np.testing.assert_allclose(gradients[1] / scale, gradients[0] / scale, rtol=0, atol=2e-6)


def test_by_hand():
    # One row: 0 and 4 upsampled to 0 1 2 3 4; the window sums three neighbours, zeros beyond the ends.
    x = np.float32([[[[0.0], [4.0]]]])
    kernel = np.ones((1, 1, 1, 1), "float32")
    found = convolve_upsampled(ops.convert_to_tensor(x), ops.convert_to_tensor(kernel), (1, 5))
    assert ops.convert_to_numpy(found)[0, 0, :, 0].tolist() == [0, 1, 2, 3, 4]
    kernel = np.zeros((3, 3, 1, 1), "float32")
    kernel[1] = 1.0
    found = convolve_upsampled(ops.convert_to_tensor(x), ops.convert_to_tensor(kernel), (1, 5))
    assert ops.convert_to_numpy(found)[0, 0, :, 0].tolist() == [1, 3, 6, 9, 7]


def test_sizes_may_be_unknown_until_the_call():
    fine, coarse = keras.Input((None, None, 4)), keras.Input((None, None, 3))
    outputs = FineCoarseConv2D(6)([fine, coarse])
    assert tuple(outputs.shape) == (None, None, None, 6)
    model = keras.Model([fine, coarse], outputs)
    for coarse_size, fine_size in SIZES[:2]:
        images = list(maps(coarse_size, fine_size))
        found = model.predict(images, verbose=0)
        expected = plain(ops.convert_to_tensor(model.layers[-1].kernel), *map(ops.convert_to_tensor, images))
        np.testing.assert_allclose(found, ops.convert_to_numpy(expected), rtol=0, atol=3e-6)


def test_config_and_saving(tmp_path):
    fine, coarse = keras.Input((None, None, 4)), keras.Input((None, None, 3))
    layer = FineCoarseConv2D(6, 5, kernel_initializer="he_normal", name="joined")
    model = keras.Model([fine, coarse], layer([fine, coarse]))
    copy = FineCoarseConv2D.from_config(layer.get_config())
    assert (copy.filters, copy.kernel_size, copy.name) == (6, 5, "joined")
    assert isinstance(copy.kernel_initializer, keras.initializers.HeNormal)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    images = list(maps((3, 5), (9, 17)))
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))


def test_even_windows_are_refused():
    with pytest.raises(ValueError, match="odd kernel size. Received: kernel_size=4"):
        FineCoarseConv2D(6, 4)
