import keras
import numpy as np
import pytest
from keras import layers, ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.models import Segmenter, create_backbone, dilate

keras_cv = pytest.importorskip("keras_cv")

from rankmatch_keras.models import DeepLabV3Plus, segmenter_from_keras_cv  # noqa: E402


def small_resnet():
    return keras_cv.models.ResNetBackbone(
        stackwise_filters=[4, 8, 8, 8],
        stackwise_blocks=[1, 1, 1, 1],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
    )


def images(side):
    return np.random.default_rng(0).normal(size=(1, side, side, 3)).astype("float32")


def logits(outputs):
    return ops.convert_to_numpy(outputs["logits"])


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return DeepLabV3Plus(backbone=dilate(small_resnet(), 16), num_classes=5, projection_filters=8)


@pytest.mark.parametrize(("side", "grid"), [(33, 3), (64, 4), (321, 21)])
def test_any_size(model, side, grid):
    x = images(side)
    outputs = model(x, training=False)
    assert tuple(outputs["logits"].shape) == (1, side, side, 5)
    assert tuple(outputs["features"].shape) == (1, grid, grid, 256)
    halves = model.decode(model.encode(ops.convert_to_tensor(x), training=False), training=False)
    np.testing.assert_array_equal(logits(halves), logits(outputs))


def test_is_a_keras_cv_model_with_its_arguments(model):
    assert isinstance(model, keras_cv.models.DeepLabV3Plus)
    assert model.num_classes == 5 and model.projection_filters == 8
    assert model.spatial_pyramid_pooling is None and model.segmentation_head is None
    assert model.decoder.get_layer("aspp_atrous_3_conv").dilation_rate == (18, 18)


def test_save_and_load(model, tmp_path):
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert isinstance(loaded, DeepLabV3Plus)
    assert loaded.count_params() == model.count_params()
    np.testing.assert_array_equal(logits(loaded(images(33))), logits(model(images(33))))
    model.save_weights(tmp_path / "model.weights.h5")
    other = DeepLabV3Plus.from_config(model.get_config())
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(logits(other(images(33))), logits(model(images(33))))


def test_weights_are_counted_once(model):
    parts = [id(v) for v in model.encoder.variables + model.decoder.variables]
    assert sorted(id(v) for v in model.variables) == sorted(parts)


def test_other_backbones_and_own_parts():
    pyramid = keras_cv.layers.SpatialPyramidPooling(dilation_rates=[1, 2], num_channels=12)
    head = keras.Sequential([layers.Conv2D(3, 1)])
    model = DeepLabV3Plus(create_backbone("tiny"), 3, spatial_pyramid_pooling=pyramid, segmentation_head=head)
    outputs = model(images(64))
    assert tuple(outputs["logits"].shape) == (1, 64, 64, 3)
    assert tuple(outputs["features"].shape) == (1, 4, 4, 12)
    clone = DeepLabV3Plus.from_config(model.get_config())
    assert clone.count_params() == model.count_params()


def test_without_normalization_of_the_pooled_image():
    model = DeepLabV3Plus(create_backbone("tiny"), 3, pool_norm=False)
    names = [layer.name for layer in model.decoder.layers]
    assert "aspp_pool_conv" in names and "aspp_pool_bn" not in names
    assert DeepLabV3Plus.from_config(model.get_config()).count_params() == model.count_params()


def test_stock_model_as_segmenter():
    stock = keras_cv.models.DeepLabV3Plus(backbone=small_resnet(), num_classes=5)
    segmenter = segmenter_from_keras_cv(stock)
    assert isinstance(segmenter, Segmenter)
    for side in (64, 96):
        outputs = segmenter(images(side), training=False)
        expected = ops.convert_to_numpy(stock(images(side), training=False))
        assert tuple(outputs["features"].shape) == (1, side // 32, side // 32, 256)
        probabilities = ops.convert_to_numpy(ops.softmax(outputs["logits"]))
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    # Logits, not logarithms of probabilities: their softmax denominators differ from 1.
    assert np.abs(np.exp(logits(outputs)).sum(axis=-1) - 1).max() > 1e-3
    with pytest.raises(UserError, match="keras_cv.models.DeepLabV3Plus"):
        segmenter_from_keras_cv(segmenter)
