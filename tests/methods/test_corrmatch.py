import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.methods import CorrMatch
from rankmatch_keras.methods.corrmatch import (
    ClassConfidenceThreshold,
    CorrelationPropagation,
    DivergenceLoss,
    correlated_regions,
    propagate_labels,
)

# On the other backends the parity tests run these methods.
pytestmark = pytest.mark.once

UNLABELLED = ("strong_1", "divergence", "feature_dropout", "weak_correlation", "strong_correlation")


def numbers(losses):
    return {name: float(ops.convert_to_numpy(value)) for name, value in losses.items()}


def test_weights(small_segmenter):
    method = CorrMatch(small_segmenter())
    # [L_sup / 2 + L_sup_c / 2 + (L_s + L_kl + L_fp + (L_wc + L_sc) / 2) / 4] / 2
    weights = {"supervised": 1 / 4, "supervised_correlation": 1 / 4, "strong_1": 1 / 8, "divergence": 1 / 8}
    weights |= {"feature_dropout": 1 / 8, "weak_correlation": 1 / 16, "strong_correlation": 1 / 16}
    assert method.term_weights == weights
    assert (method.threshold, method.threshold_momentum, method.num_regions) == (0.85, 0.999, 128)


def test_the_threshold_moves_before_it_is_applied(small_segmenter, random_batch):
    # From 1.0, which no pixel reaches, to the mean of the surest pixels of the classes: a few lie above it.
    method = CorrMatch(small_segmenter(), threshold=1.0, threshold_momentum=0.0, num_regions=1)
    losses = numbers(method.compute_losses(random_batch()))
    assert 1 / 3 < losses["adaptive_threshold"] < 1.0 and 0.0 < losses["mask_ratio"] < 0.5
    still = CorrMatch(small_segmenter(), threshold=1.0, threshold_momentum=1.0)
    losses = numbers(still.compute_losses(random_batch()))
    assert losses["adaptive_threshold"] == 1.0 and not any(losses[name] for name in (*UNLABELLED, "mask_ratio"))


def test_padding_teaches_nothing(small_segmenter, random_batch):
    batch = random_batch()
    batch["valid"][:] = False
    losses = numbers(CorrMatch(small_segmenter(), threshold=0.0).compute_losses(batch))
    assert not any(losses[name] for name in UNLABELLED)
    assert losses["adaptive_threshold"] == 0.0


def test_pasted_boxes_have_no_divergence(small_segmenter, random_batch):
    batch = random_batch()
    batch["cutmix_box_1"][:] = 0, 0, 33, 33
    losses = numbers(CorrMatch(small_segmenter(), threshold=0.0).compute_losses(batch))
    assert losses["divergence"] == 0.0 and losses["strong_1"] > 0


def test_regions_grow_where_most_pixels_are_confident(small_segmenter, random_batch):
    # With every pixel sure, regions of one class grow over others' pixels: another loss than without regions.
    def strong(batch, **options):
        return numbers(CorrMatch(small_segmenter(), threshold=0.0, seed=0, **options).compute_losses(batch))

    batch = random_batch()
    with_regions, few = strong(batch), strong(batch, num_regions=1)
    assert with_regions["strong_1"] != pytest.approx(few["strong_1"], rel=1e-4)
    for name in ("supervised", "divergence", "feature_dropout", "weak_correlation"):
        assert with_regions[name] == pytest.approx(few[name], rel=1e-5)


def test_rows_are_sampled_anew(small_segmenter):
    method = CorrMatch(small_segmenter(), num_regions=40, seed=0)
    correlation = ops.zeros((1, 9, 9))
    first, second = (ops.convert_to_numpy(method._draw_rows(correlation)) for _ in range(2))
    assert set(first) | set(second) == set(range(9)) and (first != second).any()
    assert np.issubdtype(first.dtype, np.integer)


LABEL = np.int32([[[0, 0, 2], [2, 2, 1]]])
CONFIDENCE = np.float32([[[0.6, 0.9, 0.7], [0.5, 0.95, 0.99]]])
VALID = np.array([[[True, True, True], [True, False, False]]])


def test_mean_confidence_of_the_most_confident_pixel_of_each_class():
    layer = ClassConfidenceThreshold(initial=0.8, momentum=0.9)
    layer.update(LABEL, CONFIDENCE, VALID, num_classes=4)
    # Class 0: 0.9. Class 2: 0.7, as the pixel of 0.95 is not valid. Class 1 has no valid pixel, class 3 none at all.
    first = 0.9 * 0.8 + 0.1 * (0.9 + 0.7) / 2
    assert float(layer.value()) == pytest.approx(first, rel=1e-6)
    layer.update(LABEL, CONFIDENCE, ~VALID, num_classes=4)  # class 1: 0.99, class 2: 0.95
    assert float(layer.value()) == pytest.approx(0.9 * first + 0.1 * 0.97, rel=1e-6)


def test_stays_without_valid_pixels():
    layer = ClassConfidenceThreshold()
    layer.update(LABEL, CONFIDENCE, np.zeros_like(VALID), num_classes=3)
    assert float(layer.value()) == pytest.approx(0.85)
    assert [v.name for v in layer.non_trainable_variables] == ["threshold"] and not layer.trainable_variables


@pytest.mark.parametrize("options", [{"initial": 1.2}, {"momentum": -0.1}])
def test_arguments_are_checked(options):
    with pytest.raises(ValueError, match="from 0 to 1"):
        ClassConfidenceThreshold(**options)


def test_config_round_trip_of_the_threshold():
    layer = ClassConfidenceThreshold(0.7, 0.8)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (copy.initial, copy.momentum) == (0.7, 0.8)


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


def test_logits_propagate_along_the_correlation():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 2, 3, 5)).astype("float32")
    logits = rng.normal(size=(2, 2, 3, 4)).astype("float32")  # at the grid already
    layer = CorrelationPropagation(4)
    layer.build(features.shape)
    assert len(layer.trainable_variables) == 3
    sent, bias, received = (ops.convert_to_numpy(v) for v in (*layer.sender.weights, *layer.receiver.weights))
    found, correlation = (ops.convert_to_numpy(x) for x in layer(features, logits))
    for image in range(2):
        pixels, z = features[image].reshape(6, 5), logits[image].reshape(6, 4)
        sender, receiver = pixels @ sent[0, 0] + bias, pixels @ received[0, 0]
        rows = np.stack([softmax([sender[i] @ receiver[j] / np.sqrt(4) for j in range(6)]) for i in range(6)])
        np.testing.assert_allclose(correlation[image], rows, rtol=1e-4, atol=1e-6)
        spread = [sum(rows[i, j] * z[i] for i in range(6)) for j in range(6)]
        np.testing.assert_allclose(found[image].reshape(6, 4), spread, rtol=1e-4, atol=1e-5)


def test_the_second_output_has_the_size_of_the_image_and_teaches_features_alone(value_and_gradient):
    rng = np.random.default_rng(0)
    features, logits = (rng.normal(size=(1, n, n, 3)).astype("float32") for n in (3, 9))
    layer = CorrelationPropagation(3)
    layer.build(features.shape)
    assert layer(features, logits).logits.shape == (1, 9, 9, 3)
    _, gradient = value_and_gradient(lambda x: ops.sum(layer(x, logits).logits ** 2), features)
    assert np.abs(gradient).max() > 1e-3
    _, gradient = value_and_gradient(lambda z: ops.sum(layer(features, z).logits ** 2) + 0.0 * ops.sum(z), logits)
    np.testing.assert_array_equal(gradient, 0.0)


def test_regions_lie_above_the_middle_of_their_row():
    row = np.float32([[0.1, 0.2, 0.3], [0.0, 0.5, 0.9]])
    rows = ops.convert_to_tensor(np.stack([row.reshape(-1), np.full(6, 0.2, "float32")])[None])
    found = ops.convert_to_numpy(correlated_regions(rows, (2, 3), (2, 3)))
    np.testing.assert_array_equal(found[0, 0], row > 0.45)
    assert not found[0, 1].any()  # a flat row marks nothing
    # Between the columns, aligned corners: 0 0.25 0.5 0.7 0.9 in the lower row, the middle of 0..0.9 is 0.45.
    wide = ops.convert_to_numpy(correlated_regions(rows, (2, 3), (2, 5)))
    np.testing.assert_array_equal(wide[0, 0], [[False] * 5, [False, False, True, True, True]])


def slow_propagation(label, sure, regions, threshold):
    label, sure, old, old_sure = label.copy(), sure.copy(), label, sure
    for image in range(len(label)):
        for region in regions[image]:
            voters = region & old_sure[image]
            if not voters.any() or voters.sum() / region.sum() < threshold:
                continue
            classes, counts = np.unique(old[image][voters], return_counts=True)
            if counts.max() / counts.sum() > threshold:
                label[image][region] = classes[counts.argmax()]
                sure[image] |= region
    return label, sure


def test_regions_take_the_class_of_their_confident_pixels():
    rng = np.random.default_rng(3)
    label = np.where(rng.random((2, 8, 9)) < 0.15, rng.integers(0, 4, (2, 8, 9)), np.int32([[[1]], [[2]]]))
    sure = rng.random((2, 8, 9)) < 0.7
    regions = np.zeros((2, 6, 8, 9), bool)
    for region in regions.reshape(12, 8, 9)[1:]:  # the first one is empty
        y, x = rng.integers(0, 6, 2)
        region[y : y + 3, x : x + 3] = True
    expected = slow_propagation(label, sure, regions, 0.68)
    inputs = (ops.convert_to_tensor(x) for x in (label.astype("int32"), sure, regions))
    found = propagate_labels(*inputs, 0.68, num_classes=4)
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(value), wanted)
    assert (expected[0] != label).any() and expected[1].sum() > sure.sum() and not expected[1].all()


def test_config_round_trip_of_the_propagation():
    layer = CorrelationPropagation(7)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.num_classes == 7


def test_two_pixels_by_hand():
    teacher = np.log(np.float32([[[[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]]]))  # (1, 1, 3, 2)
    student = np.log(np.float32([[[[0.25, 0.75], [0.9, 0.1], [0.5, 0.5]]]]))
    weight, valid = np.array([[[True, True, False]]]), np.array([[[True, True, True]]])
    # 0.5 ln 2 + 0.5 ln(2/3) of the first pixel, none of the others, by three valid pixels.
    expected = 0.5 * np.log(2.0) + 0.5 * np.log(2.0 / 3.0)
    assert float(DivergenceLoss()(teacher, weight, valid, student)) == pytest.approx(expected / 3, rel=1e-5)
    valid[..., 2] = False
    assert float(DivergenceLoss()(teacher, weight, valid, student)) == pytest.approx(expected / 2, rel=1e-5)


def test_only_the_student_learns(value_and_gradient):
    rng = np.random.default_rng(0)
    teacher, student = (rng.normal(size=(1, 2, 2, 3)).astype("float32") for _ in range(2))
    ones = np.ones((1, 2, 2), "float32")
    _, gradient = value_and_gradient(lambda z: DivergenceLoss()(teacher, ones, ones, z), student)
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (teacher, student))
    np.testing.assert_allclose(gradient, (q - p) / 4, rtol=1e-4, atol=1e-6)
    _, gradient = value_and_gradient(lambda z: DivergenceLoss()(z, ones, ones, student) + 0.0 * ops.sum(z), teacher)
    np.testing.assert_array_equal(gradient, 0.0)
