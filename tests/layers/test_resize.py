"""Align-corners resizing, and the convolution that equals the plain one over both maps concatenated."""

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers import FineCoarseConv2D
from rankmatch_keras.layers.resize import ResizeLike, convolve_upsampled, hat_weights, resize_align_corners


def numpy_resize(x, height, width):
    """One output pixel at a time, as bilinear interpolation is defined."""
    batch, h, w, channels = x.shape
    out = np.zeros((batch, height, width, channels))
    for i in range(height):
        for j in range(width):
            y = i * (h - 1) / (height - 1) if height > 1 else 0.0
            z = j * (w - 1) / (width - 1) if width > 1 else 0.0
            top, left = int(y), int(z)
            bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
            a, b = y - top, z - left
            upper = (1 - b) * x[:, top, left] + b * x[:, top, right]
            lower = (1 - b) * x[:, bottom, left] + b * x[:, bottom, right]
            out[:, i, j] = (1 - a) * upper + a * lower
    return out


SIZES = [
    ((3, 5), (9, 13)),
    ((9, 13), (3, 5)),
    ((4, 7), (11, 6)),
    ((1, 1), (4, 3)),
    ((1, 6), (5, 6)),
    ((5, 4), (1, 1)),
    ((5, 4), (5, 9)),
]


def example(size, channels=3):
    return np.random.default_rng(0).normal(size=(2, *size, channels)).astype("float32")


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_equals_the_definition(source, target):
    x = example(source)
    y = ops.convert_to_numpy(resize_align_corners(ops.convert_to_tensor(x), target))
    np.testing.assert_allclose(y, numpy_resize(x, *target), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_equals_torch(source, target):
    if keras.backend.backend() != "torch":
        pytest.skip("compares with torch.nn.functional")
    import torch

    x = torch.tensor(example(source), requires_grad=True)
    ours = resize_align_corners(x, target)
    theirs = torch.nn.functional.interpolate(
        x.permute(0, 3, 1, 2), size=target, mode="bilinear", align_corners=True
    ).permute(0, 2, 3, 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    weights = torch.tensor(example(target))
    (gradient,) = torch.autograd.grad((ours * weights).sum(), x)
    (expected,) = torch.autograd.grad((theirs * weights).sum(), x)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("coarse", "fine"), [(21, 81), (21, 321), (33, 513), (51, 801)])
def test_grid_pixels_are_exact_at_crop_sizes(coarse, fine):
    weights = ops.convert_to_numpy(hat_weights(fine, coarse))
    step = (fine - 1) // (coarse - 1)
    np.testing.assert_array_equal(weights[::step], np.eye(coarse))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-5)


def test_same_static_size_is_the_same_tensor():
    x = ops.convert_to_tensor(example((4, 5)))
    assert resize_align_corners(x, (4, 5)) is x


def test_layer_reads_only_height_and_width_of_the_reference():
    x, canvas = ops.convert_to_tensor(example((3, 5))), ops.zeros((2, 9, 13, 0))
    y = ResizeLike()(x, canvas)
    np.testing.assert_allclose(ops.convert_to_numpy(y), numpy_resize(example((3, 5)), 9, 13), rtol=1e-5, atol=1e-6)


def test_layer_in_a_graph_of_unknown_sizes():
    x, reference = keras.Input((None, None, 3)), keras.Input((None, None, 1))
    y = ResizeLike()(x, reference)
    assert tuple(y.shape) == (None, None, None, 3)
    assert tuple(ResizeLike()(keras.Input((3, 5, 3)), keras.Input((9, 13, 1))).shape) == (None, 9, 13, 3)
    model = keras.Model([x, reference], y)
    copy = keras.Model.from_config(model.get_config())
    for size in ((9, 13), (3, 5), (6, 1)):
        out = copy.predict([example((3, 5)), example(size, 1)], verbose=0)
        np.testing.assert_allclose(out, numpy_resize(example((3, 5)), *size), rtol=1e-5, atol=1e-6)


def test_gradient_sums_to_the_number_of_output_pixels_under_tf_function():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.function")
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 2)), tf.TensorSpec((2,), tf.int32)])
    def gradient(x, size):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = resize_align_corners(x, (size[0], size[1]))
        return y, tape.gradient(y, x)

    # Every output pixel's weights sum to 1, so the gradients of the sum of 11 x 6 pixels sum to 66.
    y, g = gradient(example((4, 7), 2), [11, 6])
    np.testing.assert_allclose(y, numpy_resize(example((4, 7), 2), 11, 6), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.sum(g, axis=(1, 2)), 66.0, rtol=1e-5)


def test_resizing_keeps_half_precision():
    x = ops.cast(ops.convert_to_tensor(example((3, 5))), "bfloat16")
    assert keras.backend.standardize_dtype(resize_align_corners(x, (5, 9)).dtype) == "bfloat16"


PAIRS = [((3, 5), (9, 17)), ((4, 3), (7, 11)), ((1, 1), (3, 4)), ((5, 4), (5, 4)), ((6, 5), (3, 2))]


def maps(coarse, fine, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=(2, *size, c)).astype("float32") for size, c in ((fine, 4), (coarse, 3)))


def plain(kernel, fine, coarse):
    """The definition: upsample, concatenate, convolve."""
    joined = ops.concatenate([fine, resize_align_corners(coarse, tuple(fine.shape[1:3]))], axis=-1)
    return ops.conv(joined, kernel, padding="same", data_format="channels_last")


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize(("coarse", "fine"), PAIRS)
def test_equals_the_convolution_of_the_concatenated_maps(coarse, fine, kernel_size):
    inputs = [ops.convert_to_tensor(x) for x in maps(coarse, fine)]
    layer = FineCoarseConv2D(6, kernel_size)
    found = ops.convert_to_numpy(layer(inputs))
    assert layer.kernel.shape == (kernel_size, kernel_size, 7, 6)
    expected = ops.convert_to_numpy(plain(ops.convert_to_tensor(layer.kernel), *inputs))
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("moving", ["kernel", "fine", "coarse"])
def test_gradients_equal_those_of_the_concatenated_maps(moving, value_and_gradient):
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


def test_convolution_by_hand():
    # One row: 0 and 4 upsampled to 0 1 2 3 4; the window sums three neighbors, zeros beyond the ends.
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
    for coarse_size, fine_size in PAIRS[:2]:
        images = list(maps(coarse_size, fine_size))
        found = model.predict(images, verbose=0)
        expected = plain(ops.convert_to_tensor(model.layers[-1].kernel), *map(ops.convert_to_tensor, images))
        np.testing.assert_allclose(found, ops.convert_to_numpy(expected), rtol=0, atol=3e-6)


def test_convolution_config_and_saving(tmp_path):
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


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match="odd kernel size. Received: kernel_size=4"):
        FineCoarseConv2D(6, 4)
