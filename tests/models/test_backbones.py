from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.normalization import ChannelNormalization
from rankmatch_keras.models import (
    BACKBONES,
    backbone_normalization,
    create_backbone,
    deeplab_v3_plus,
    measured_normalization,
    renormalized,
)
from rankmatch_keras.models.backbones import IMAGENET
from rankmatch_keras.models.tiny import tiny_encoder

WEIGHTS = Path(__file__).resolve().parents[3] / "shared/data/weights/mobilenet_v2_imagenet_no_top.weights.h5"


def norms(model):
    return [x for x in model.layers if isinstance(x, layers.BatchNormalization)]


@pytest.mark.parametrize(
    ("name", "parameters", "low", "high"),
    [
        ("tiny", 172_816, 24, 96),
        ("mobilenet_v2", 2_257_984, 24, 1280),
        pytest.param("resnet50", 23_587_712, 256, 2048, marks=pytest.mark.once),
        pytest.param("resnet101", 42_658_176, 256, 2048, marks=pytest.mark.once),
        pytest.param("kerascv_resnet50", 23_561_152, 256, 2048, marks=pytest.mark.once),
        pytest.param("kerascv_resnet101", 42_605_504, 256, 2048, marks=pytest.mark.once),
    ],
)
def test_maps_of_every_network(name, parameters, low, high):
    backbone = create_backbone(name)
    assert backbone.count_params() == parameters
    # Odd crops stay odd: 321 -> 161 -> 81 -> 41 -> 21.
    shapes = backbone.compute_output_shape((1, 321, 321, 3))
    assert tuple(shapes["low"]) == (1, 81, 81, low)
    assert tuple(shapes["high"]) == (1, 21, 21, high)
    outputs = backbone(np.zeros((1, 33, 49, 3), "float32"))
    assert tuple(outputs["low"].shape) == (1, 9, 13, low)
    assert tuple(outputs["high"].shape) == (1, 3, 4, high)
    assert {x.momentum for x in norms(backbone)} == {0.9}


def test_output_strides():
    shapes = create_backbone("tiny", output_stride=8).compute_output_shape((1, 321, 321, 3))
    assert shapes["high"] == (1, 41, 41, 96) and shapes["low"] == (1, 81, 81, 24)
    with pytest.raises(UserError, match="output stride 32.*'tiny' with output stride 16"):
        create_backbone("tiny", output_stride=32)


def test_pretrained_features_are_the_librarys():
    if not WEIGHTS.is_file():
        pytest.skip("needs the MobileNetV2 weights file in shared/data/weights")
    network = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3))
    network.load_weights(WEIGHTS)
    x = np.random.default_rng(0).uniform(-1, 1, size=(1, 64, 64, 3)).astype("float32")
    expected = ops.convert_to_numpy(network(x, training=False))
    backbone = create_backbone("mobilenet_v2", weights=str(WEIGHTS), output_stride=32)
    high = ops.convert_to_numpy(backbone(x, training=False)["high"])
    np.testing.assert_allclose(high, expected, atol=1e-4)
    assert (high > 0).mean() > 0.02


def test_local_weights_round_trip(tmp_path):
    source = create_backbone("tiny")
    path = tmp_path / "tiny.weights.h5"
    source.save_weights(path)
    loaded = create_backbone("tiny", weights=path, output_stride=8)
    for a, b in zip(source.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))


def test_weights_of_another_network(tmp_path):
    path = tmp_path / "tiny.weights.h5"
    create_backbone("tiny").save_weights(path)
    with pytest.raises(UserError, match="mobilenet.*tiny.weights.h5, which does not fit"):
        create_backbone("mobilenet_v2", weights=path)


def test_no_silent_fallback_when_the_download_fails(monkeypatch):
    def offline(weights=None, **_):
        raise Exception(f"URL fetch failure for {weights}")  # what keras.utils.get_file raises

    monkeypatch.setattr(keras.applications, "MobileNetV2", offline)
    with pytest.raises(UserError, match="URL fetch failure for imagenet.*local"):
        create_backbone("mobilenet_v2", weights="imagenet")
    with pytest.raises(UserError, match="no pretrained weights of the tiny"):
        create_backbone("tiny", weights="imagenet")
    with pytest.raises(UserError, match="no file"):
        create_backbone("tiny", weights="/nowhere/x.weights.h5")


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match="Did you mean resnet50"):
        create_backbone("resnet5O")
    with pytest.raises(UserError, match="Did you mean mobilenet_v2"):
        backbone_normalization("mobilenetv2")


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("resnet50", keras.applications.resnet50.preprocess_input),
        ("resnet101", keras.applications.resnet.preprocess_input),
        ("mobilenet_v2", keras.applications.mobilenet_v2.preprocess_input),
    ],
)
def test_normalizations_are_the_librarys(name, reference):
    images = np.random.default_rng(0).integers(0, 256, size=(2, 5, 6, 3)).astype("float32")
    layer = ChannelNormalization(**backbone_normalization(name))
    np.testing.assert_allclose(ops.convert_to_numpy(layer(images)), reference(images.copy()), atol=1e-4)


def test_all_backbones_have_a_normalization():
    for name in BACKBONES:
        values = backbone_normalization(name)
        assert set(values) == {"mean", "std", "reverse_channels"} and len(values["mean"]) == 3
    # 0..255 to 0..1, then the usual ImageNet statistics
    mean = np.array(backbone_normalization("tiny")["mean"]) / 255
    np.testing.assert_allclose(mean, [0.485, 0.456, 0.406], atol=1e-6)


def test_tiny_encoder():
    encoder = tiny_encoder()
    # stem 3*16*9; stages: 3x3 in->out, 3x3 out->out, 1x1 in->out; 4 numbers per normalized channel
    expected = 3 * 16 * 9 + 4 * 16
    for i, o in ((16, 24), (24, 48), (48, 96)):
        expected += 9 * i * o + 9 * o * o + i * o + 4 * 3 * o
    assert encoder.count_params() == expected == 172_816
    assert tuple(encoder.compute_output_shape((1, 321, 321, 3))) == (1, 21, 21, 96)
    assert tuple(encoder(np.zeros((2, 33, 50, 3), "float32")).shape) == (2, 3, 4, 96)


@pytest.mark.parametrize("name", BACKBONES)
def test_measured_normalization_has_imagenets_spread(name):
    own = BACKBONES[name].normalization
    measured = measured_normalization(name, mean=(1000.0, 30.0), std=(200.0, 4.0))
    imagenet = (np.array(IMAGENET["mean"]) - own["mean"]) / own["std"]
    spread = np.array(IMAGENET["std"]) / own["std"]
    for c, (mean, std) in enumerate(((1000.0, 200.0), (30.0, 4.0))):
        low, middle, high = ((v - measured["mean"][c]) / measured["std"][c] for v in (mean - std, mean, mean + std))
        assert middle == pytest.approx(imagenet.mean(), abs=1e-6)
        assert (high - low) / 2 == pytest.approx(spread.mean(), rel=1e-6)
    assert measured["reverse_channels"] is False


def low(backbone, images):
    return ops.convert_to_numpy(backbone(images)["low"])


@pytest.mark.parametrize("other", ["resnet50", "mobilenet_v2"])  # BGR, and -1 to 1
def test_renormalized_sees_what_its_own_normalization_gives(other):
    raw = np.random.default_rng(0).uniform(0, 255, (1, 33, 33, 3)).astype("float32")
    backbone = create_backbone("tiny")
    expected = low(backbone, ChannelNormalization(**backbone_normalization("tiny"))(raw))
    theirs = ChannelNormalization(**backbone_normalization(other))(raw)
    found = low(renormalized(backbone, "tiny", other), theirs)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_renormalized_images_of_two_channels():
    raw = np.random.default_rng(0).normal(300, 40, (1, 33, 33, 2)).astype("float32")
    statistics = (290.0, 310.0), (40.0, 45.0)
    backbone = create_backbone("tiny", channels=2)
    own, theirs = (
        ChannelNormalization(**measured_normalization(name, *statistics))(raw) for name in ("tiny", "resnet50")
    )
    found = low(renormalized(backbone, "tiny", "resnet50"), theirs)
    expected = low(backbone, own)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_renormalized_for_the_same_normalization_is_itself():
    backbone = create_backbone("tiny")
    assert renormalized(backbone, "tiny", "tiny") is backbone


def test_segmenter_on_a_renormalized_backbone():
    backbone = renormalized(create_backbone("tiny"), "tiny", "mobilenet_v2")
    segmenter = deeplab_v3_plus(backbone, 3, aspp_filters=8, decoder_filters=8)
    assert segmenter(np.zeros((1, 33, 33, 3), "float32"))["logits"].shape == (1, 33, 33, 3)
    assert segmenter.encoder.input_shape[-1] == 3
