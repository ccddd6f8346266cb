import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.methods import CCT
from rankmatch_keras.methods import cct as perturbations
from rankmatch_keras.methods.cct import AdversarialMove

# On the other backends the parity tests run these methods.
pytestmark = pytest.mark.once

KINDS = (
    "vat",
    "channel_dropout",
    "guided_cutout",
    "context_masking",
    "object_masking",
    "feature_drop",
    "feature_noise",
)
NONE = dict.fromkeys(KINDS, 0)


def test_two_decoders_of_each_kind_with_weights_of_their_own(small_segmenter):
    method = CCT(small_segmenter(), total_steps=10)
    assert method.kinds == tuple(kind for kind in KINDS for _ in range(2))
    kernels = [ops.convert_to_numpy(d.trainable_variables[0]) for d in (*method.heads, method.segmenter.decoder)]
    assert len({kernel.tobytes() for kernel in kernels}) == 15
    variables = len(method.segmenter.trainable_variables) + 14 * len(method.segmenter.decoder.trainable_variables)
    assert len(method.trainable_variables) == variables
    assert method.evaluated is method.segmenter


def test_the_second_term_is_the_mean_over_the_decoders(small_segmenter, random_batch):
    batch = random_batch()
    method = CCT(small_segmenter(), **{**NONE, "object_masking": 2}, total_steps=10)
    method.perturbations = [lambda maps, logits: maps, lambda maps, logits: {k: 0.0 * v for k, v in maps.items()}]
    found = {name: float(ops.convert_to_numpy(value)) for name, value in method.compute_losses(batch).items()}

    network = small_segmenter()
    encoded = network.encode(np.concatenate([batch["labeled_image"], batch["weak_image"]]), training=True)
    target = ops.softmax(network.decode(encoded, training=True)["logits"][1:])
    losses = []
    for decoder, factor in zip(method.heads, (1.0, 0.0), strict=True):
        maps = {name: factor * value[1:] for name, value in encoded.items() if name != "canvas"}
        logits = network.resize(decoder(maps, training=True)["logits"], encoded["canvas"])
        squares = ops.convert_to_numpy(ops.square(ops.softmax(logits) - target))
        losses.append(squares.mean(-1)[batch["valid"]].sum() / batch["valid"].size)
    # At the first step the weight is 30 exp(-5).
    assert found["consistency"] == pytest.approx(np.exp(-5.0) * np.mean(losses), rel=1e-4)
    assert found["loss"] == pytest.approx(found["supervised"] + 30 * found["consistency"], rel=1e-5)


def test_the_weight_grows_in_the_first_tenth(small_segmenter, random_batch):
    method = CCT(small_segmenter(), **{**NONE, "context_masking": 1}, total_steps=20)
    method.perturbations = [lambda maps, logits: maps]
    values = [float(ops.convert_to_numpy(method.compute_losses(random_batch())["consistency"])) for _ in range(4)]
    ramp = np.exp(-5.0 * np.square([1.0, 0.5, 0.0, 0.0]))
    np.testing.assert_allclose(values, ramp * values[-1], rtol=1e-3)


def test_the_main_decoder_learns_from_labels_alone(small_segmenter, random_batch, gradients):
    method, batch = CCT(small_segmenter(), **dict.fromkeys(KINDS, 1), total_steps=10, seed=0), random_batch()

    def of(part):
        found = gradients(lambda: method.compute_terms(batch)["consistency"], part)
        return max(np.abs(gradient).max() for gradient in found)

    assert of(method.segmenter.decoder) == 0.0
    # Gradients of every kind: each decoder learns, and so does the encoder.
    assert of(method.segmenter.encoder) > 0.0 and all(of(decoder) > 0.0 for decoder in method.heads)


def test_no_decoder_is_an_error(small_segmenter):
    with pytest.raises(ValueError, match="one auxiliary decoder"):
        CCT(small_segmenter(), total_steps=10, **NONE)


RNG = np.random.default_rng(0)
MAPS = {"low": RNG.random((2, 9, 9, 6)).astype("float32"), "high": RNG.random((2, 3, 3, 40)).astype("float32")}
LABEL = np.zeros((2, 33, 33), int)
LABEL[0, 4:15, 6:30] = 1
LABEL[0, 20:26, 0:5] = 2  # 30 pixels
LABEL[1, :, 20:] = 2
LOGITS = 5.0 * np.eye(3, dtype="float32")[LABEL]


def changed(layer):
    return {name: ops.convert_to_numpy(value) for name, value in layer(MAPS, LOGITS).items()}


def on_grid(mask, size):
    rows, columns = (
        np.round(np.linspace(0, side - 1, n)).astype(int) for side, n in zip(mask.shape[1:], size, strict=True)
    )
    return mask[:, rows][:, :, columns]


@pytest.mark.parametrize(
    ("kind", "kept"), [(perturbations.ObjectMasking, LABEL == 0), (perturbations.ContextMasking, LABEL > 0)]
)
def test_background_or_objects_are_masked(kind, kept):
    found = changed(kind())
    for name, value in MAPS.items():
        np.testing.assert_array_equal(found[name], value * on_grid(kept, value.shape[1:3])[..., None])
    assert 0 < (found["low"] == 0).mean() < 1


def test_noise_is_multiplied_and_the_same_for_all_images():
    found = changed(perturbations.FeatureNoise(seed=0))
    for name, value in MAPS.items():
        factors = found[name] / value - 1.0
        np.testing.assert_allclose(factors[0], factors[1], atol=1e-5)
        assert 0.25 < np.abs(factors).max() <= 0.3 + 1e-5 and abs(factors.mean()) < 0.05


def test_the_most_active_places_are_dropped():
    layer = perturbations.FeatureDrop(seed=0)
    layer.sample = lambda shape, low, high: 0.75 * low + 0.25 * high  # 0.75
    found = changed(layer)
    for name, value in MAPS.items():
        for image, result in zip(value, found[name], strict=True):
            attention = image.mean(-1)
            for (y, x), mean in np.ndenumerate(attention):
                expected = image[y, x] if mean < 0.75 * attention.max() else 0.0 * image[y, x]
                np.testing.assert_array_equal(result[y, x], expected)
    draws = [float(perturbations.FeatureDrop(seed=seed).sample((), 0.7, 0.9)) for seed in range(5)]
    assert all(0.7 <= draw <= 0.9 for draw in draws) and len(set(draws)) == 5


def test_bounding_boxes():
    boxes, counted = perturbations.bounding_boxes(LABEL, 3)
    assert ops.convert_to_numpy(counted).tolist() == [[True, False], [False, True]]  # class 2 is too small in the first
    assert ops.convert_to_numpy(boxes)[0].tolist() == [[4, 6, 15, 30], [20, 0, 26, 5]]
    assert ops.convert_to_numpy(boxes)[1, 1].tolist() == [0, 20, 33, 33]


@pytest.mark.parametrize(("draw", "start"), [(0.0, (4, 6)), (0.5, (8, 14)), (0.999, (11, 21))])
def test_a_box_of_two_fifths_is_cut_from_each_object(draw, start):
    layer = perturbations.GuidedCutout(seed=0)
    boxes, counted = perturbations.bounding_boxes(LABEL, 3)
    found = ops.convert_to_numpy(layer.cut(boxes, counted, ops.full((2, 2, 2), draw), (33, 33)))
    # The object is 11 x 24 pixels, its box 4 x 9; it has 8 x 16 places.
    expected = np.zeros((33, 33), bool)
    expected[start[0] : start[0] + 4, start[1] : start[1] + 9] = True
    np.testing.assert_array_equal(found[0], expected)
    assert found[1].sum() == 13 * 5 and not found[1, :, :20].any()


def test_cutout_zeroes_the_maps_and_changes_with_the_call():
    layer = perturbations.GuidedCutout(seed=0)
    first, second = changed(layer), changed(layer)
    for found in (first, second):
        zero = (found["low"] == 0).all(-1)
        assert zero[0].any() and zero[1].any() and not zero.all()
        np.testing.assert_array_equal(found["low"][~zero], MAPS["low"][~zero])
    assert any((first[name] != second[name]).any() for name in MAPS)


def test_the_adversarial_move_has_norm_two_and_does_more_than_a_random_one():
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(3)
    dense.build((None, 6))

    def decode(maps):
        return dense(maps["low"])

    maps = {"low": ops.convert_to_tensor(MAPS["low"]), "unread": ops.convert_to_tensor(MAPS["high"])}
    found = {
        k: ops.convert_to_numpy(v) for k, v in AdversarialMove(seed=0).move(maps, decode, backend.step.gradient).items()
    }
    np.testing.assert_array_equal(found["unread"], MAPS["high"])
    moves = (found["low"] - MAPS["low"]).reshape(2, -1)
    np.testing.assert_allclose(np.linalg.norm(moves, axis=1), 2.0, rtol=1e-4)

    def divergence(moved):
        p, q = (np.asarray(ops.convert_to_numpy(ops.log_softmax(decode({"low": x})))) for x in (MAPS["low"], moved))
        return (np.exp(p) * (p - q)).sum()

    random = np.random.default_rng(0).normal(size=(20, 2, 9, 9, 6)).astype("float32")
    random *= 2.0 / np.linalg.norm(random.reshape(20, 2, -1), axis=2).reshape(20, 2, 1, 1, 1)
    assert divergence(found["low"]) > 1.5 * max(divergence(MAPS["low"] + move) for move in random)
