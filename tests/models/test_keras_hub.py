import json
import os
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras import RankMatch
from rankmatch_keras.errors import UserError
from rankmatch_keras.layers import ChannelNormalization
from rankmatch_keras.models import load_predictor, predictor

keras_hub = pytest.importorskip("keras_hub", reason="needs keras-hub, see docs/models.md")

from rankmatch_keras import models  # noqa: E402
from rankmatch_keras.models.fixed_size import FixedSizeMaps  # noqa: E402

hub = models.keras_hub
RESNET = {
    "class_name": "ResNetBackbone",
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 8, 8, 8],
    "stackwise_num_blocks": [1, 1, 1, 1],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "basic_block",
}
PATCHES = {"patch_size": 16, "num_layers": 2, "num_heads": 2, "hidden_dim": 8}
CONFIGS = {
    "resnet": RESNET,
    "resnet_v2": {**RESNET, "use_pre_activation": True},
    "mit": {
        "class_name": "MiTBackbone",
        "num_layers": 4,
        "hidden_dims": [8, 8, 8, 16],
        "layerwise_depths": [1, 1, 1, 1],
        "layerwise_num_heads": [1, 1, 1, 2],
        "layerwise_sr_ratios": [8, 4, 2, 1],
        "layerwise_patch_sizes": [7, 3, 3, 3],
        "layerwise_strides": [4, 2, 2, 2],
        "max_drop_path_rate": 0.1,
    },
    "dinov2": {
        "class_name": "DINOV2Backbone",
        **PATCHES,
        "patch_size": 14,
        "intermediate_dim": 16,
        "position_embedding_shape": (56, 56, 3),
        "num_register_tokens": 2,
    },
    "dinov3": {"class_name": "DINOV3Backbone", **PATCHES, "intermediate_dim": 16},
    "vit": {"class_name": "ViTBackbone", **PATCHES, "mlp_dim": 16},
}
SIZES = {"resnet": None, "resnet_v2": None, "mit": 65, "dinov2": 57, "dinov3": 65, "vit": 65}


def small(kind, **arguments):
    keras.utils.set_random_seed(0)
    config = {**CONFIGS[kind], **arguments}
    return hub.segmenter(config, 3, image_size=SIZES[kind], aspp_filters=8, decoder_filters=8, projection_filters=8)


def numbers(x):
    return ops.convert_to_numpy(x)


def images(*size, seed=0):
    return np.random.default_rng(seed).normal(size=(2, *size, 3)).astype("float32")


@pytest.fixture(scope="module", params=CONFIGS)
def built(request):
    return request.param, small(request.param)


def test_contract_and_predictor(built, tmp_path):
    kind, segmenter = built
    x = ops.convert_to_tensor(images(65, 65))
    features = segmenter.encode(x, training=False)
    assert set(features) == {"low", "high", "canvas"}
    # 65 pixels: 17 at stride 4, 5 at stride 16 (57 in the network and patches of 14 make 5 too).
    assert tuple(features["low"].shape[1:3]) == (17, 17) and tuple(features["high"].shape[1:3]) == (5, 5)
    outputs = segmenter.decode(features, training=False)
    assert tuple(outputs["logits"].shape) == (2, 65, 65, 3) and tuple(outputs["features"].shape) == (2, 5, 5, 8)
    whole = segmenter(x, training=False)
    np.testing.assert_allclose(numbers(whole["logits"]), numbers(outputs["logits"]), atol=1e-5)
    # Each map, and each image, reaches the logits.
    for name in ("low", "high"):
        dropped = {**features, name: features[name] * 0.0}
        assert np.abs(numbers(segmenter.decode(dropped, training=False)["logits"] - outputs["logits"])).max() > 1e-4

    model = predictor(segmenter, ChannelNormalization(**hub.normalization(CONFIGS[kind])))
    model.save(tmp_path / "p.keras")
    raw = np.random.default_rng(0).integers(0, 256, (1, 37, 50, 3)).astype("uint8")
    expected = numbers(model(raw, training=False))
    assert expected.shape == (1, 37, 50, 3)
    np.testing.assert_array_equal(numbers(load_predictor(tmp_path / "p.keras")(raw, training=False)), expected)


def test_rankmatch_trains_every_part(built):
    _, segmenter = built
    method = RankMatch(segmenter, num_agents=4, threshold=0.1)
    method.compile(keras.optimizers.SGD(0.1))
    x = images(65, 65)
    box = np.tile(np.array([[4, 4, 30, 40]], "int32"), (2, 1))
    batch = {k: x for k in ("labeled_image", "weak_image", "strong_image_1", "strong_image_2")}
    batch |= {"cutmix_box_1": box, "cutmix_box_2": box, "valid": np.ones((2, 65, 65), bool)}
    batch["labeled_mask"] = np.random.default_rng(0).integers(0, 3, (2, 65, 65)).astype("int32")
    before = [numbers(v).copy() for v in segmenter.trainable_variables]
    logs = method.train_on_batch(batch, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
    still = {
        v.path.rpartition("/")[2]
        for b, v in zip(before, segmenter.trainable_variables, strict=True)
        if np.array_equal(b, numbers(v))
    }
    # A bias of the keys shifts all scores of a softmax alike, so it has no gradient.
    assert still <= {"bias"}, still


def test_resnet_is_plain_keras_of_stride_16():
    segmenter = small("resnet_v2")
    assert not any(type(x).__module__.startswith("keras_hub") for x in segmenter._flatten_layers())
    wide = hub.segmenter(RESNET, 3, output_stride=32, aspp_filters=8, decoder_filters=8)
    assert tuple(wide.encode(ops.convert_to_tensor(images(65, 65)))["high"].shape[1:3]) == (3, 3)


@pytest.mark.parametrize("kind", ["resnet", "resnet_v2"])
def test_resnet_at_its_own_stride_equals_keras_hubs(kind):
    keras.utils.set_random_seed(0)
    config = dict(CONFIGS[kind])
    backbone = getattr(keras_hub.models, config.pop("class_name"))(**config)
    segmenter = hub.segmenter(backbone, 3, output_stride=32, aspp_filters=8, decoder_filters=8)
    x = images(65, 97)
    maps = segmenter.encode(ops.convert_to_tensor(x), training=False)
    np.testing.assert_allclose(numbers(maps["high"]), numbers(backbone(x, training=False)), atol=1e-5)


def test_tokens_are_keras_hubs_own():
    keras.utils.set_random_seed(0)
    config = {k: v for k, v in CONFIGS["dinov2"].items() if k != "class_name"}
    backbone = keras_hub.models.DINOV2Backbone(**config, image_shape=(70, 70, 3))
    layer = FixedSizeMaps(backbone)
    x = images(57, 57)
    maps = layer(x)
    # 57 = 70 - 14 + 1: 6 pixels of zeros before, 7 behind; one class token and two registers come first.
    padded = np.pad(x, ((0, 0), (6, 7), (6, 7), (0, 0)))
    tokens = numbers(backbone({"images": padded}))[:, 3:].reshape(2, 5, 5, 8)
    np.testing.assert_allclose(numbers(maps["high"]), tokens, atol=1e-5)
    assert {name: tuple(x.shape[1:]) for name, x in maps.items()} == {"low": (17, 17, 8), "high": (5, 5, 8)}
    assert layer.compute_output_shape((2, 99, 99, 3)) == {"low": (2, 17, 17, 8), "high": (2, 5, 5, 8)}
    with pytest.raises(UserError, match="no image_size with a backbone that is already built"):
        hub.segmenter(backbone, 3, image_size=71)


def test_pyramid_levels_are_keras_hubs_own():
    keras.utils.set_random_seed(0)
    config = {k: v for k, v in CONFIGS["mit"].items() if k != "class_name"}
    backbone = keras_hub.models.MiTBackbone(**config, image_shape=(96, 96, 3))
    x = images(65, 65)
    maps = FixedSizeMaps(backbone)(x)
    levels = keras.Model(backbone.input, backbone.pyramid_outputs)(np.pad(x, ((0, 0), (0, 31), (0, 31), (0, 0))))
    np.testing.assert_allclose(numbers(maps["low"]), numbers(levels["P1"])[:, :17, :17], atol=1e-5)
    np.testing.assert_allclose(numbers(maps["high"])[..., :8], numbers(levels["P3"])[:, :5, :5], atol=1e-5)
    # Every second pixel of the finer grid is one of the coarser.
    np.testing.assert_allclose(numbers(maps["high"])[:, ::2, ::2, 8:], numbers(levels["P4"])[:, :3, :3], atol=1e-5)


@pytest.mark.parametrize("kind", ["mit", "resnet"])
def test_segformers_decoder_reads_every_level(kind, tmp_path):
    keras.utils.set_random_seed(0)
    segmenter = hub.segmenter(CONFIGS[kind], 3, image_size=SIZES[kind], decoder="segformer", filters=8)
    x = ops.convert_to_tensor(images(65, 65))
    maps = segmenter.encode(x, training=False)
    sides = [maps[f"level_{number}"].shape[1] for number in (1, 2, 3, 4)]
    assert sides == [17, 9, 5, 3 if kind == "mit" else 5]  # a ResNet is dilated to stride 16
    outputs = segmenter.decode(maps, training=False)
    assert tuple(outputs["logits"].shape) == (2, 65, 65, 3) and tuple(outputs["features"].shape) == (2, 5, 5, 8)
    for number in (1, 2, 3, 4):
        altered = {**maps, f"level_{number}": maps[f"level_{number}"] * 0.0}
        assert np.abs(numbers(segmenter.decode(altered, training=False)["logits"] - outputs["logits"])).max() > 1e-4
    model = predictor(segmenter, ChannelNormalization(**hub.normalization(CONFIGS[kind])))
    model.save(tmp_path / "p.keras")
    raw = np.random.default_rng(0).integers(0, 256, (1, 37, 50, 3)).astype("uint8")
    expected = numbers(model(raw, training=False))
    loaded = numbers(load_predictor(tmp_path / "p.keras")(raw, training=False))
    np.testing.assert_allclose(loaded, expected, rtol=1e-5, atol=1e-6)


def test_levels_of_a_pyramid_are_keras_hubs_own():
    keras.utils.set_random_seed(0)
    config = {k: v for k, v in CONFIGS["mit"].items() if k != "class_name"}
    backbone = keras_hub.models.MiTBackbone(**config, image_shape=(96, 96, 3))
    x = images(65, 65)
    layer = FixedSizeMaps(backbone, levels=True)
    maps = layer(x)
    levels = keras.Model(backbone.input, backbone.pyramid_outputs)(np.pad(x, ((0, 0), (0, 31), (0, 31), (0, 0))))
    for number, side in ((1, 17), (2, 9), (3, 5), (4, 3)):
        expected = numbers(levels[f"P{number}"])[:, :side, :side]
        np.testing.assert_allclose(numbers(maps[f"level_{number}"]), expected, atol=1e-5)
        assert layer.compute_output_shape((2, 65, 65, 3))[f"level_{number}"] == expected.shape


def test_segformers_decoder_is_refused_where_all_maps_have_one_stride(tmp_path):
    saved("vit", tmp_path / "vit", image_shape=(80, 80, 3))
    saved("mit", tmp_path / "mit", image_shape=(96, 96, 3))
    for name in ("tiny", "mit_b0_ade20k_512", "resnet_50_imagenet", str(tmp_path / "mit")):
        models.require_decoder(name, "segformer")
    models.require_decoder("dinov2_small", "deeplab")
    for name, kind in (("dinov2_small", "DINOV2Backbone"), (str(tmp_path / "vit"), "ViTBackbone")):
        with pytest.raises(UserError, match=f"several strides for the decoder segformer.*{name}, a {kind}"):
            models.require_decoder(name, "segformer")
    with pytest.raises(UserError, match="found ViTBackbone, whose maps all have one"):
        hub.segmenter(CONFIGS["vit"], 3, image_size=65, decoder="segformer")
    with pytest.raises(UserError, match="found 'segfomer'. Did you mean segformer"):
        hub.segmenter(CONFIGS["mit"], 3, image_size=65, decoder="segfomer")


def test_weights_and_presets_from_local_files(tmp_path):
    config = {k: v for k, v in CONFIGS["vit"].items() if k != "class_name"}
    backbone = keras_hub.models.ViTBackbone(**config, image_shape=(80, 80, 3))
    backbone.save_weights(tmp_path / "vit.weights.h5")
    backbone.save_to_preset(tmp_path / "preset")
    converter = keras_hub.layers.ViTImageConverter(image_size=(80, 80), scale=1 / 51, offset=[-1.0, -2.0, -2.5])
    converter.save_to_preset(tmp_path / "preset")
    x = ops.convert_to_tensor(images(65, 65))
    expected = numbers(hub.segmenter(backbone, 3).encode(x, training=False)["high"])
    for source, weights in ((CONFIGS["vit"], tmp_path / "vit.weights.h5"), (tmp_path / "preset", None)):
        size = 65 if isinstance(source, dict) else None
        model = hub.segmenter(source, 3, weights=weights, image_size=size)
        np.testing.assert_array_equal(numbers(model.encode(x, training=False)["high"]), expected)
    assert hub.normalization(tmp_path / "preset") == {
        "mean": pytest.approx((51.0, 102.0, 127.5)),
        "std": pytest.approx((51.0, 51.0, 51.0)),
        "reverse_channels": False,
    }
    with pytest.raises(UserError, match="image_size=65, the size of .*ViT cannot interpolate"):
        hub.segmenter(tmp_path / "preset", 3, image_size=97)


def test_position_embedding_of_dinov2_is_interpolated(tmp_path):
    config = {k: v for k, v in CONFIGS["dinov2"].items() if k != "class_name"}
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.DINOV2Backbone(**config, image_shape=(56, 56, 3))
    backbone.save_to_preset(tmp_path / "preset")
    model = hub.segmenter(tmp_path / "preset", 3, image_size=71)
    layer = model.encoder.get_layer("maps")
    assert layer.backbone.image_shape[0] == 84 and layer.image_size == 71
    # The same weights, but 6 x 6 positions made of 4 x 4.
    own, new = backbone.embeddings, layer.backbone.embeddings
    kernel, positions = new.patch_embeddings.projection.kernel, numbers(new.interpolated_position_embeddings)
    np.testing.assert_array_equal(numbers(kernel), numbers(own.patch_embeddings.projection.kernel))
    assert positions.shape == (1, 37, 8) and np.abs(positions[0, 1:]).max() > 0


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ({"class_name": "ResNetBakbone"}, {}, "Did you mean ResNetBackbone"),
        (keras.Sequential(name="s"), {}, "found 'Sequential'"),
        ({"class_name": "ViTBackbone", "patch_size": 16}, {"image_size": 65}, "arguments of keras_hub.models.ViT"),
        (CONFIGS["vit"], {"image_size": 321 + 7}, r"16 k \+ 1 .*found 328. Choose 337 or 321"),
        (CONFIGS["dinov2"], {"image_size": 321}, r"14 k \+ 1 .*found 321. Choose 323 or 309"),
        (CONFIGS["mit"], {"image_size": 64}, r"32 k \+ 1 .*found 64. Choose 65 or 33"),
        ({**CONFIGS["dinov3"], "image_shape": (80, 96, 3)}, {}, "a square image_shape"),
        (RESNET, {"image_size": 65}, "takes images of any size"),
        (RESNET, {"weights": "nowhere.weights.h5"}, "no file nowhere.weights.h5"),
        (RESNET, {"output_stride": 7}, "output stride of 8, 16 or 32"),
    ],
)
def test_impossible_arguments(source, arguments, message):
    with pytest.raises(UserError, match=message):
        hub.segmenter(source, 3, **arguments)


def test_missing_preset(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="save_to_preset"):
        hub.segmenter(tmp_path, 3)


def saved(kind, folder, **config):
    keras.utils.set_random_seed(0)
    config = {name: value for name, value in {**CONFIGS[kind], **config}.items() if name != "class_name"}
    backbone = getattr(keras_hub.models, CONFIGS[kind]["class_name"])(**config)
    backbone.save_to_preset(folder)
    return backbone


def test_names_and_folders_are_known_before_anything_is_loaded(tmp_path):
    saved("mit", tmp_path / "preset", image_shape=(96, 96, 3))
    for name in ("tiny", "mit_b0_ade20k_512", "dinov3_vit_small_lvd1689m", str(tmp_path / "preset")):
        models.require_backbone(name)
    for name, near in (
        ("mit_b0", "mit_b0_"),
        ("dinov3_vit_smal", "dinov3_vit_small_"),
        ("resnet5O", "resnet50"),
    ):
        with pytest.raises(UserError, match=f"found '{name}'. Did you mean {near}"):
            models.require_backbone(name)
    for name in ("hf://somebody/model", str(tmp_path), "zzzz"):
        with pytest.raises(UserError, match="or a preset's folder; found .* docs/models.md"):
            models.require_backbone(name)


def test_crops_and_channels_of_presets(tmp_path):
    saved("mit", tmp_path / "mit", image_shape=(96, 96, 3))
    saved("resnet", tmp_path / "resnet")
    assert [hub.crop_of(tmp_path / "mit", side) for side in (33, 81, 100, 193)] == [65, 65, 97, 193]
    assert hub.crop_of(tmp_path / "resnet", 81) == 81 and hub.image_size_for(tmp_path / "resnet", 81) is None
    with pytest.raises(UserError, match="a --crop that .*mit takes unresized; found 80. Take --crop 65"):
        hub.image_size_for(tmp_path / "mit", 80)
    assert models.backbone_normalization(str(tmp_path / "mit"))["mean"] == (123.675, 116.28, 103.53)
    gray, colors = (
        hub.segmenter(tmp_path / "mit", 2, image_size=65, channels=channels, aspp_filters=8, decoder_filters=8)
        for channels in (1, 3)
    )
    x = images(65, 65)[..., :1]
    np.testing.assert_allclose(
        numbers(gray.encode(ops.convert_to_tensor(x), training=False)["high"]),
        numbers(colors.encode(ops.convert_to_tensor(np.repeat(x, 3, -1)), training=False)["high"]),
        atol=1e-5,
    )
    with pytest.raises(UserError, match="images of 3 channels, or of one, .*found images of 6"):
        hub.segmenter(tmp_path / "mit", 2, image_size=65, channels=6)


def test_presets_with_their_weights_or_without(tmp_path):
    backbone = saved("mit", tmp_path / "preset", image_shape=(96, 96, 3))
    first = numbers(backbone.weights[0])
    own, random = (
        numbers(hub.segmenter(tmp_path / "preset", 2, image_size=65, pretrained=flag).encoder.weights[0])
        for flag in (True, False)
    )
    np.testing.assert_array_equal(own, first)
    assert np.abs(random - first).max() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.update(registered_name="builtins>eval"), "a preset of ResNetBackbone, MiTBackbone"),
        (lambda config: config.update(class_name="CLIPBackbone"), "a preset of .*found 'CLIPBackbone'"),
        (
            lambda config: config.update(module="os"),
            "Keras and keras-hub alone; found 'MiTBackbone' of 'os'",
        ),
        (
            lambda config: config["config"].update(dtype={"module": "keras", "class_name": "Lambda", "config": {}}),
            "objects of Keras and keras-hub alone; found 'Lambda'",
        ),
        (lambda config: config["config"].update(x="x" * (1 << 20)), "larger than 1 MiB"),
    ],
)
def test_presets_that_hold_anything_else_are_refused(change, message, tmp_path):
    saved("mit", tmp_path, image_shape=(96, 96, 3))
    config = json.loads((tmp_path / "config.json").read_text())
    change(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    for use in (models.require_backbone, lambda name: hub.segmenter(name, 2, image_size=65)):
        with pytest.raises(UserError, match=message):
            use(str(tmp_path))


def test_weights_of_a_preset_that_lie_elsewhere_are_refused(tmp_path):
    saved("mit", tmp_path, image_shape=(96, 96, 3))
    with h5py.File(tmp_path / "model.weights.h5", "a") as file:
        file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(UserError):
        models.require_backbone(str(tmp_path))


def test_a_run_on_a_preset_by_flag(tmp_path, write_lucchi, rankmatch):
    saved("mit", tmp_path / "preset", image_shape=(96, 96, 3))
    tree, run = write_lucchi(tmp_path / "tree", train=4), tmp_path / "run"
    flags = ["--dataset", "Lucchi", "--data", tree, "--labels", 2, "--smoke", "--method", "supervised", "--out", run]
    preset = ["--backbone", tmp_path / "preset", "--weights", "imagenet", "--decoder", "segformer"]
    code, out, err = rankmatch("train", *flags, *preset)
    assert code == 0 and "of keras-hub, decoder of SegFormer" in out, err
    options = json.loads((run / "config.json").read_text())["options"]
    assert options["backbone"] == str(tmp_path / "preset") and options["weights"] == "imagenet"
    assert options["decoder"] == "segformer"
    assert load_predictor(run / "last.keras").input_shape[-1] == 1
    code, _, err = rankmatch("train", *flags[:-1], tmp_path / "other", "--backbone", "mit_b0")
    assert code == 2 and "Did you mean mit_b0_" in err and "Traceback" not in err


def test_weights_of_another_network(tmp_path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(UserError, match="does not fit"):
        hub.segmenter(RESNET, 3, weights=tmp_path / "other.weights.h5")


def test_loading_without_keras_hub_says_what_is_missing(tmp_path):
    predictor(small("vit"), ChannelNormalization(**hub.normalization(CONFIGS["vit"]))).save(tmp_path / "p.keras")
    program = (
        "import sys; sys.modules['keras_hub'] = None\n"  # as if it were not installed
        "from rankmatch_keras.errors import UserError; from rankmatch_keras.models import load_predictor\n"
        "try:\n"
        f"    load_predictor({str(tmp_path / 'p.keras')!r})\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    paths = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.startswith("Expected ViTBackbone of keras-hub; found none"), done.stdout + done.stderr[-2000:]
    assert "docs/models.md" in done.stdout
