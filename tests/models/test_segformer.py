import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras import RankMatch
from rankmatch_keras.errors import UserError
from rankmatch_keras.layers import ChannelNormalization, FeatureDropout
from rankmatch_keras.models import BACKBONES, create_backbone, load_predictor, predictor, segformer
from rankmatch_keras.models.segformer import segformer_decoder


def numbers(x):
    return ops.convert_to_numpy(x)


def images(*size, seed=0):
    return np.random.default_rng(seed).normal(size=(2, *size, 3)).astype("float32")


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return segformer(create_backbone("tiny", levels=True), 3, filters=8)


def upsampled(x, size):
    """Interpolate `(B, h, w, C)` pixel by pixel, corners on corners."""
    out = np.zeros((x.shape[0], *size, x.shape[3]))
    for row in range(size[0]):
        for column in range(size[1]):
            i, j = row * (x.shape[1] - 1) / (size[0] - 1), column * (x.shape[2] - 1) / (size[1] - 1)
            a, b = min(int(i), x.shape[1] - 2), min(int(j), x.shape[2] - 2)
            top = x[:, a, b] * (1 - j + b) + x[:, a, b + 1] * (j - b)
            bottom = x[:, a + 1, b] * (1 - j + b) + x[:, a + 1, b + 1] * (j - b)
            out[:, row, column] = top * (1 - i + a) + bottom * (i - a)
    return out


def test_decoder_is_the_articles_concatenation_and_fusion():
    """Xie et al., Eq. 4: project, upsample, concatenate, fuse, classify; written as they write it."""
    rng = np.random.default_rng(0)
    decoder = segformer_decoder((5, 6, 7), 4, filters=3)
    decoder.set_weights([rng.uniform(0.2, 1.0, w.shape) * rng.choice([-1, 1], w.shape) for w in decoder.get_weights()])
    norm = decoder.get_layer("fuse_bn")
    norm.moving_variance.assign(np.array([0.5, 1.0, 2.0]))
    maps = [rng.normal(size=(2, side, side + 1, c)).astype("float32") for side, c in ((9, 5), (5, 6), (3, 7))]
    projected = []
    for number, x in enumerate(maps, start=1):
        kernel, bias = decoder.get_layer(f"level_{number}_projection").get_weights()
        projected.append(upsampled(x @ kernel[0, 0] + bias, (9, 10)))
    fuse = np.concatenate([decoder.get_layer(f"level_{n}_fuse").get_weights()[0][0, 0] for n in (1, 2, 3)])
    gamma, beta, mean, variance = norm.get_weights()
    fused = np.maximum((np.concatenate(projected, -1) @ fuse - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)
    kernel, bias = decoder.get_layer("classifier").get_weights()
    outputs = decoder({f"level_{n}": x for n, x in enumerate(maps, start=1)}, training=False)
    np.testing.assert_allclose(numbers(outputs["decoded"]), fused, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(numbers(outputs["logits"]), fused @ kernel[0, 0] + bias, rtol=1e-4, atol=1e-4)
    # The 9 rows are averaged around the 1st, 5th and 9th.
    weights = np.array([[4, 3, 2, 1, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 3, 2, 1, 0], [0, 0, 0, 0, 0, 1, 2, 3, 4]])
    rows = np.einsum("oi,biwc->bowc", weights / weights.sum(1, keepdims=True), fused)
    assert tuple(outputs["features"].shape) == (2, 3, 3, 3)
    distances = np.abs(np.arange(3)[:, None] * 4.5 - np.arange(10))
    columns = np.maximum(4 - distances, 0) / np.maximum(4 - distances, 0).sum(1, keepdims=True)
    np.testing.assert_allclose(
        numbers(outputs["features"]), np.einsum("oj,bijc->bioc", columns, rows), rtol=1e-4, atol=1e-4
    )


def test_parameters_of_the_published_decoder():
    decoder = segformer_decoder((32, 64, 160, 256), 150)
    expected = sum(c * 256 + 256 for c in (32, 64, 160, 256)) + 4 * 256 * 256 + 4 * 256 + 256 * 150 + 150
    assert decoder.count_params() == expected


def test_fusion_starts_as_he_normal_of_the_concatenation():
    keras.utils.set_random_seed(0)
    decoder = segformer_decoder((64,) * 4, 2, filters=64)
    kernels = [decoder.get_layer(f"level_{n}_fuse").get_weights()[0] for n in (1, 2, 3, 4)]
    assert np.std(kernels) == pytest.approx((2 / 256) ** 0.5, rel=0.03)


def test_contract(network):
    x = ops.convert_to_tensor(images(65, 49))
    maps = network.encode(x, training=False)
    sides = {name: tuple(value.shape[1:3]) for name, value in maps.items()}
    assert sides == {"level_1": (17, 13), "level_2": (9, 7), "level_3": (5, 4), "canvas": (65, 49)}
    outputs = network.decode(maps, training=False)
    assert tuple(outputs["logits"].shape) == (2, 65, 49, 3) and tuple(outputs["features"].shape) == (2, 5, 4, 8)
    assert tuple(outputs["decoded"].shape) == (2, 17, 13, 8)
    unknown = network(keras.Input((None, None, 3)))
    assert tuple(unknown["features"].shape) == (None, None, None, 8)
    # Each level reaches logits and features, and dropped channels change both.
    for name in ("level_1", "level_2", "level_3"):
        altered = network.decode({**maps, name: maps[name] * 0.0}, training=False)
        for output in ("logits", "features"):
            assert np.abs(numbers(altered[output] - outputs[output])).max() > 1e-3, name
    dropped = FeatureDropout(0.5, seed=0)(maps)
    assert np.abs(numbers(network.decode(dropped, training=False)["logits"] - outputs["logits"])).max() > 1e-3


def test_dropout_of_channels_is_for_training():
    keras.utils.set_random_seed(0)
    decoder = segformer_decoder((3,), 2, filters=16, dropout=0.5)
    decoder.get_layer("fuse_bn").beta.assign(np.full(16, 100.0))  # no other channel is 0
    maps = {"level_1": images(9, 9)}
    trained, used = (numbers(decoder(maps, training=training)["decoded"]) for training in (True, False))
    dropped = (trained == 0).all(axis=(1, 2))  # (B, C)
    assert 0 < dropped.sum() < dropped.size
    # The others grow by 1 / (1 - 0.5).
    np.testing.assert_allclose(trained.mean(axis=(1, 2))[~dropped], 200.0, atol=5.0)
    assert (used > 0).all()
    assert not (numbers(decoder(maps, training=True)["features"]) == 0).any()  # the rank loss sees all channels


def test_rankmatch_trains_every_level(network):
    x, box = images(33, 33), np.tile(np.array([[4, 4, 20, 20]], "int32"), (2, 1))
    batch = {name: x for name in ("labeled_image", "weak_image", "strong_image_1", "strong_image_2")}
    batch |= {"cutmix_box_1": box, "cutmix_box_2": box, "valid": np.ones((2, 33, 33), bool)}
    batch["labeled_mask"] = np.random.default_rng(0).integers(0, 3, (2, 33, 33)).astype("int32")
    method = RankMatch(network, num_agents=4, threshold=0.1)
    method.compile(keras.optimizers.SGD(0.1))
    before = [numbers(v).copy() for v in network.trainable_variables]
    logs = method.train_on_batch(batch, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
    still = [v.path for b, v in zip(before, network.trainable_variables, strict=True) if np.array_equal(b, numbers(v))]
    assert not [path for path in still if not path.endswith("bias")], still


def test_saved_predictor(network, tmp_path):
    normalization = ChannelNormalization((127.5,) * 3, (127.5,) * 3)
    model = predictor(network, normalization)
    model.save(tmp_path / "p.keras")
    raw = np.random.default_rng(0).integers(0, 256, (1, 37, 50, 3)).astype("uint8")
    expected = numbers(model(raw, training=False))
    assert expected.shape == (1, 37, 50, 3)
    loaded = numbers(load_predictor(tmp_path / "p.keras")(raw, training=False))
    np.testing.assert_allclose(loaded, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50", "kerascv_resnet50"])
def test_levels_of_backbones(name):
    encoder = create_backbone(name, output_stride=32, levels=True)
    shapes = encoder.compute_output_shape((1, 256, 256, 3))
    assert [shapes[f"level_{i}"][1] for i in (1, 2, 3, 4)] == [64, 32, 16, 8]
    spec = BACKBONES[name]
    dilated = create_backbone(name, levels=True)
    assert dilated.compute_output_shape((1, 256, 256, 3))["level_4"][1] == 16 and len(spec.levels) == 4


def test_an_encoder_without_levels_is_refused():
    with pytest.raises(UserError, match="outputs level_1, level_2, .*found Functional 'tiny'. Use create_backbone"):
        segformer(create_backbone("tiny"), 3)
