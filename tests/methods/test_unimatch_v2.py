import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.losses import PixelConsistencyLoss, SupervisedLoss
from rankmatch_keras.methods import UniMatchV2
from rankmatch_keras.methods.unimatch_v2 import ComplementaryDropout

# On the other backends the parity tests run these methods.
pytestmark = pytest.mark.once


def numbers(losses):
    return {name: float(keras.ops.convert_to_numpy(value)) for name, value in losses.items()}


def pasted(images, boxes):
    """Boxes of the images in reverse order, pasted."""
    result = images.copy()
    for image, source, (y0, x0, y1, x1) in zip(result, images[::-1], boxes, strict=True):
        image[y0:y1, x0:x1] = source[y0:y1, x0:x1]
    return result


def test_terms_follow_from_the_networks_outputs(small_segmenter, random_batch):
    batch, network = random_batch(), small_segmenter()
    method = UniMatchV2(small_segmenter(), threshold=0.4)
    method.drop_channels = keras.layers.Identity()
    found = numbers(method.compute_losses(batch))

    # The teacher begins as a copy of the student.
    weak = keras.ops.convert_to_numpy(keras.ops.softmax(network(batch["weak_image"], training=False)["logits"]))
    label, confidence = weak.argmax(-1).astype("int32"), weak.max(-1)
    labeled = ops.stop_gradient(network(batch["labeled_image"], training=True)["logits"])
    views = [pasted(batch[f"strong_image_{k}"], batch[f"cutmix_box_{k}"]) for k in (1, 2)]
    strong = ops.stop_gradient(network(np.concatenate(views), training=True)["logits"])
    terms = {"supervised": float(SupervisedLoss()(batch["labeled_mask"], labeled))}
    for k in (1, 2):
        target = (pasted(x, batch[f"cutmix_box_{k}"]) for x in (label, confidence, batch["valid"]))
        terms[f"strong_{k}"] = float(PixelConsistencyLoss(0.4)(*target, strong[2 * k - 2 : 2 * k]))
    for name, value in terms.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name
    assert 0.0 < found["mask_ratio"] < 1.0
    # L = (L_sup + (L_s1 + L_s2) / 2) / 2
    expected = (terms["supervised"] + (terms["strong_1"] + terms["strong_2"]) / 2) / 2
    assert found["loss"] == pytest.approx(expected, rel=1e-4)


def test_channels_are_dropped_in_the_strong_views_alone(small_segmenter, random_batch):
    batch = random_batch()
    method, clean = (UniMatchV2(small_segmenter(), threshold=0.0, seed=0) for _ in range(2))
    clean.drop_channels = keras.layers.Identity()
    found, expected = (numbers(m.compute_losses(batch)) for m in (method, clean))
    assert found["supervised"] == pytest.approx(expected["supervised"], rel=1e-5)
    assert abs(found["strong_1"] - expected["strong_1"]) > 1e-3


def test_there_must_be_a_teacher(small_segmenter):
    with pytest.raises(ValueError, match="EMA teacher"):
        UniMatchV2(small_segmenter(), ema_decay=None)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="once is enough, and elsewhere it compiles for minutes")
def test_a_transformer_can_be_trained(random_batch):
    pytest.importorskip("keras_hub")
    from rankmatch_keras.models import keras_hub

    encoder = {
        "class_name": "MiTBackbone",
        "num_layers": 4,
        "hidden_dims": [8, 8, 8, 16],
        "layerwise_depths": [1, 1, 1, 1],
        "layerwise_num_heads": [1, 1, 1, 2],
        "layerwise_sr_ratios": [8, 4, 2, 1],
        "layerwise_patch_sizes": [7, 3, 3, 3],
        "layerwise_strides": [4, 2, 2, 2],
        "max_drop_path_rate": 0.1,
    }
    segmenter = keras_hub.segmenter(encoder, 3, image_size=65, projection_filters=4, aspp_filters=8, decoder_filters=8)
    batch = random_batch(size=65)
    method = UniMatchV2(segmenter, threshold=0.0)
    method.compile("adamw")
    losses = method.train_on_batch(batch, return_dict=True)
    assert np.isfinite(list(losses.values())).all() and losses["strong_1"] > 0


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
