import keras
import numpy as np
import pytest
from keras import layers, ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.models import dilate
from rankmatch_keras.models.dilation import size_aware_padding
from rankmatch_keras.models.tiny import tiny_encoder


def randomize(model, seed=0):
    """Perturb the initial weights, so that biases and statistics matter."""
    rng = np.random.default_rng(seed)
    for v in model.weights:
        value = ops.convert_to_numpy(v)
        v.assign(value + 0.05 * np.abs(rng.normal(size=value.shape)).astype("float32"))
    return model


def run(model, size, seed=1):
    x = np.random.default_rng(seed).normal(size=(1, size, size, model.input_shape[-1])).astype("float32")
    return ops.convert_to_numpy(model(x, training=False))


def assert_dense(backbone, output_stride, size, every):
    before = [ops.convert_to_numpy(v) for v in backbone.weights]
    strided = run(backbone, size)
    dense = run(dilate(backbone, output_stride), size)
    assert dense.shape[1] > strided.shape[1]
    scale = np.abs(strided).max()
    np.testing.assert_allclose(dense[:, ::every, ::every] / scale, strided / scale, atol=2e-5)
    # The original is unchanged.
    assert all(np.array_equal(b, ops.convert_to_numpy(v)) for b, v in zip(before, backbone.weights, strict=True))


def test_tiny_encoder_at_stride_8():
    assert_dense(randomize(tiny_encoder()), 8, 97, every=2)


@pytest.mark.once  # the tiny encoder and every kind of layer run on every backend
def test_mobilenet_v2_with_explicit_padding():
    network = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3), alpha=0.35)
    assert_dense(randomize(network), 8, 64, every=4)


@pytest.mark.once  # the tiny encoder and every kind of layer run on every backend
def test_resnet50():
    network = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(None, None, 3))
    assert_dense(network, 16, 65, every=2)


def every_kind():
    """Make a network of max pooling, separable convolution, a nested model, its own dilation, an operator."""
    image = keras.Input((None, None, 2))
    x = layers.Conv2D(4, 3, strides=4, padding="same")(image)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.SeparableConv2D(6, 3, strides=2, padding="same")(x)
    inside = keras.Input((None, None, 6))
    y = layers.Conv2D(8, 3, strides=2, padding="same", dilation_rate=1)(inside)
    y = layers.ZeroPadding2D(2)(layers.ReLU()(y))
    y = layers.DepthwiseConv2D(3, dilation_rate=2)(y)
    x = keras.Model(inside, y, name="nested")(x)
    x = layers.Concatenate()([x, x + layers.BatchNormalization()(x)])
    return keras.Model(image, x)


def test_every_kind_of_layer():
    assert_dense(randomize(every_kind()), 8, 129, every=4)


def test_pooling_without_its_stride():
    image = keras.Input((None, None, 2))
    x = layers.Conv2D(4, 3, strides=8, padding="same")(image)
    x = layers.AveragePooling2D(3, strides=2, padding="same")(layers.MaxPooling2D(1)(x))
    network = keras.Model(image, layers.Conv2D(3, 3, padding="same")(x))
    assert_dense(randomize(network), 8, 97, every=2)


def test_global_pooling_joins_without_a_grid():
    image = keras.Input((None, None, 2))
    x = layers.Conv2D(4, 3, strides=16, padding="same")(image)
    gate = layers.Conv2D(4, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    network = keras.Model(image, layers.Multiply()([x, gate]))
    copy = dilate(network, 16)
    np.testing.assert_array_equal(run(copy, 33), run(network, 33))


def test_equal_where_no_stride_changes():
    network = randomize(tiny_encoder())
    copy = dilate(network, 16)
    np.testing.assert_array_equal(run(copy, 50), run(network, 50))
    assert [x.name for x in copy.layers] == [x.name for x in network.layers]
    assert not {id(v) for v in copy.weights} & {id(v) for v in network.weights}


def failing(layer):
    image = keras.Input((None, None, 2))
    x = layers.Conv2D(4, 3, strides=8, padding="same")(image)
    x = layers.Conv2D(4, 3, strides=2, padding="same")(x)
    return keras.Model(image, layer(x))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (layers.AveragePooling2D(2, name="the_layer"), "pools over a dilated map"),
        (layers.UpSampling2D(2, name="the_layer"), "not known to keep the grid"),
        (layers.Conv2DTranspose(2, 3, strides=2, name="the_layer"), "not known to keep the grid"),
    ],
)
def test_layers_that_cannot_be_dilated_are_named(layer, reason):
    with pytest.raises(UserError, match=f"the_layer.*{reason}"):
        dilate(failing(layer), 8)


def test_stride_across_the_output_stride_is_refused():
    image = keras.Input((None, None, 2))
    network = keras.Model(image, layers.Conv2D(4, 3, strides=32, name="the_layer")(image))
    with pytest.raises(UserError, match="the_layer.*split"):
        dilate(network, 16)
    with pytest.raises(UserError, match="8, 16 or 32"):
        dilate(network, 4)


@pytest.fixture(scope="module")
def mobilenet():
    return keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3), alpha=0.35)


def test_padding_of_even_sizes_is_unchanged(mobilenet):
    np.testing.assert_allclose(run(size_aware_padding(mobilenet), 64), run(mobilenet, 64), atol=1e-5)


def test_padding_of_odd_sizes_is_the_librarys(mobilenet):
    fixed = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(65, 65, 3), alpha=0.35)
    fixed.set_weights([ops.convert_to_numpy(v) for v in mobilenet.weights])
    aware = size_aware_padding(mobilenet)
    assert run(mobilenet, 65).shape[1] == 2
    assert run(fixed, 65).shape[1] == 3
    np.testing.assert_allclose(run(aware, 65), run(fixed, 65), atol=1e-5)
    assert aware.compute_output_shape((1, 321, 321, 3))[1] == 11


def test_padding_that_is_symmetric_stays():
    encoder = tiny_encoder()
    assert size_aware_padding(encoder) is encoder
