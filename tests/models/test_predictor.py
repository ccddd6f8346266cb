import os
import subprocess
import sys

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
    feature_model,
    load_predictor,
    predictor,
)
from rankmatch_keras.models.predictor import CropLike, PadToGrid

SIZES = [(33, 33), (50, 61), (64, 48), (16, 17)]


@pytest.fixture(scope="module")
def segmenter():
    keras.utils.set_random_seed(0)
    return deeplab_v3_plus(create_backbone("tiny"), num_classes=4, aspp_filters=8, decoder_filters=8)


@pytest.fixture(scope="module")
def model(segmenter):
    return predictor(segmenter, ChannelNormalization(**backbone_normalization("tiny")))


def images(size, dtype="uint8"):
    return np.random.default_rng(0).integers(0, 256, size=(2, *size, 3)).astype(dtype)


@pytest.mark.parametrize("size", SIZES)
def test_probabilities_of_raw_images(model, size):
    y = ops.convert_to_numpy(model(images(size), training=False))
    assert y.shape == (2, *size, 4) and y.dtype == np.float32
    np.testing.assert_allclose(y.sum(axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(y, ops.convert_to_numpy(model(images(size, "float32"), training=False)))


def test_is_the_segmenter_on_normalized_images(model, segmenter):
    normalize = ChannelNormalization(**backbone_normalization("tiny"))
    x = images((33, 49))  # already 16k+1
    expected = ops.softmax(segmenter(normalize(x), training=False)["logits"])
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(x, training=False)), ops.convert_to_numpy(expected), atol=1e-5
    )
    # Other sizes: zeros after normalization at the bottom and right, cropped again.
    padded = ops.pad(normalize(images((20, 30))), ((0, 0), (0, 13), (0, 3), (0, 0)))
    expected = ops.softmax(segmenter(padded, training=False)["logits"])[:, :20, :30]
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(images((20, 30)), training=False)),
        ops.convert_to_numpy(expected),
        atol=1e-5,
    )


def test_saved_file_predicts_the_same_pixels(model, tmp_path):
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    for size in SIZES:
        np.testing.assert_array_equal(
            ops.convert_to_numpy(loaded(images(size), training=False)),
            ops.convert_to_numpy(model(images(size), training=False)),
        )
    assert loaded.predict(images((21, 40)), verbose=0).shape == (2, 21, 40, 4)


def test_saved_file_needs_neither_keras_cv_nor_another_backend(model, tmp_path):
    path = tmp_path / "model.keras"
    model.save(path)
    program = (
        "import sys, keras, numpy as np, rankmatch_keras.models\n"
        f"m = keras.models.load_model({str(path)!r})\n"
        "assert m(np.zeros((1, 20, 30, 3), 'uint8')).shape[1:] == (20, 30, 4)\n"
        # Keras itself imports jax and torch where they are installed.
        "heavy = {'keras_cv', 'tensorflow'} - {keras.backend.backend()}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    paths = os.pathsep.join(p for p in sys.path if p)
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(("side", "stride", "expected"), [(17, 16, 17), (18, 16, 33), (16, 16, 17), (1, 8, 1)])
def test_pad_to_grid(side, stride, expected):
    layer = PadToGrid(stride)
    x = np.ones((1, side, side + 1, 2), "float32")
    y = ops.convert_to_numpy(layer(x))
    assert y.shape[1] == expected and y.shape[2] % stride == 1
    assert tuple(layer.compute_output_shape(x.shape)) == y.shape
    np.testing.assert_array_equal(y[:, :side, : side + 1], x)
    assert y.sum() == x.sum()
    assert PadToGrid.from_config(layer.get_config()).output_stride == stride


def test_crop_like():
    x = np.arange(24, dtype="float32").reshape(1, 4, 6, 1)
    y = ops.convert_to_numpy(CropLike()(x, np.zeros((1, 2, 3, 5), "float32")))
    np.testing.assert_array_equal(y[0, :, :, 0], [[0, 1, 2], [6, 7, 8]])


@pytest.mark.once
def test_features_of_a_saved_predictor_are_the_segmenters(model, segmenter, tmp_path):
    normalize = ChannelNormalization(**backbone_normalization("tiny"))
    model.save(tmp_path / "p.keras")
    network, stride = feature_model(load_predictor(tmp_path / "p.keras"))
    # 33 x 49 pixels are 2 x 16 + 1 and 3 x 16 + 1: nothing is padded.
    image = np.random.default_rng(0).uniform(0, 255, (1, 33, 49, 3)).astype("float32")
    expected = segmenter(normalize(image), training=False)["features"]
    found = network.predict_on_batch(image)
    assert stride == 16 and found.shape == (1, 3, 4, 8)
    np.testing.assert_allclose(found, ops.convert_to_numpy(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.once
def test_features_of_other_sizes_are_padded(model):
    network, _ = feature_model(model)
    assert network.predict_on_batch(np.zeros((1, 34, 33, 3), "float32")).shape == (1, 4, 3, 8)


@pytest.mark.once
def test_features_of_another_model_are_refused():
    image = keras.Input((None, None, 3))
    other = keras.Model(image, keras.layers.Conv2D(2, 1)(image))
    with pytest.raises(UserError, match="0 encoders and 0 decoders"):
        feature_model(other)
