"""AEL: rare classes are pasted, sampled and kept more often."""

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers.mixing import class_fractions, mark_classes
from rankmatch_keras.methods import AEL
from rankmatch_keras.methods.ael import bounding_boxes, draw_classes
from rankmatch_keras.methods.teachers import View

# The tests of parity compare the backends.
pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)


def numbers(value):
    return ops.convert_to_numpy(value)


def with_confidences(method, *values):
    method.confidences.averages.assign(values)
    return method


def test_pixels_of_the_sampled_classes_are_pasted(small_segmenter):
    mask = RNG.integers(0, 3, (2, 7, 8)).astype("int32")
    mask[:, 0] = 255
    images = RNG.normal(size=(2, 7, 8, 3)).astype("float32")
    # Only class 0 may be drawn.
    method = AEL(small_segmenter(), paste_probability=1.0, frequent_classes=(1, 2), seed=0)
    found, labels = (numbers(value) for value in method.pasted(images, mask))
    pasted = mask[::-1] == 0
    np.testing.assert_array_equal(labels, np.where(pasted, mask[::-1], mask))
    np.testing.assert_array_equal(found, np.where(pasted[..., None], images[::-1], images))
    method = AEL(small_segmenter(), paste_probability=0.0, seed=0)
    np.testing.assert_array_equal(numbers(method.pasted(images, mask)[0]), images)
    method = AEL(small_segmenter(), pasted_classes=3, paste_probability=1.0, seed=0)
    np.testing.assert_array_equal(
        numbers(method.pasted(images, mask)[1]), np.where(mask[::-1] == 255, mask, mask[::-1])
    )


def test_box_around_a_class_that_the_other_image_shows(small_segmenter):
    label = np.zeros((2, 20, 20), "int32")
    label[0, 4:9, 6:16] = 1  # an eighth of the image
    label[1, 3, 3] = 2  # too small to be there
    view = View(None, label, None, np.ones(label.shape, bool))
    method = AEL(small_segmenter(), seed=0)
    boxes = np.stack([numbers(method.class_boxes(view)) for _ in range(20)])
    around = np.zeros((20, 20), bool)
    around[4:9, 6:16] = True
    kinds = ["class" if (box == around).all() else "whole" if box.all() else "other" for box in boxes[:, 0]]
    assert set(kinds) == {"class", "whole"}  # class 0 reaches from corner to corner
    assert boxes[:, 1].all()
    nothing = numbers(AEL(small_segmenter(), min_area=1.1, seed=0).class_boxes(view))
    np.testing.assert_allclose(nothing.mean((1, 2)), 0.5, atol=0.04)


def test_sampling_and_squared_confidence(small_segmenter):
    method = with_confidences(AEL(small_segmenter(), threshold=0.5, seed=0), 0.9, 0.4, 0.7)
    label = RNG.integers(0, 3, (2, 30, 30)).astype("int32")
    confidence = RNG.uniform(0.3, 1.0, label.shape).astype("float32")
    draws = RNG.uniform(size=label.shape).astype("float32")
    logits = RNG.normal(size=(*label.shape, 3)).astype("float32")
    valid = RNG.uniform(size=label.shape) < 0.9
    method.uniform = lambda *shape: ops.convert_to_tensor(draws)
    found = method.equalized(label, ops.convert_to_tensor(confidence), valid, logits)
    keep = np.array([0.1, 0.6, 0.3])[label] / 0.6
    weight = confidence**2 * (draws < keep) * (confidence >= 0.5) * valid
    log_probability = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -np.take_along_axis(log_probability, label[..., None], -1)[..., 0]
    assert float(numbers(found)) == pytest.approx((losses * weight).sum() / weight.sum(), rel=1e-4)


def test_confidence_is_the_mean_probability_of_the_truth(small_segmenter, random_batch):
    batch = random_batch(labeled=2)
    batch["labeled_mask"][batch["labeled_mask"] == 2] = 1
    method = with_confidences(AEL(small_segmenter(), momentum=0.9, paste_probability=0.0, seed=0), 0.5, 0.5, 0.5)
    method.compute_terms(batch)
    logits = np.float64(keras.ops.convert_to_numpy(method.segmenter(batch["labeled_image"], training=True)["logits"]))
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = [0.45 + 0.1 * probability[batch["labeled_mask"] == c][:, c].mean() for c in range(2)]
    np.testing.assert_allclose(numbers(method.confidences.values()), [*expected, 0.45], rtol=1e-4)


def gather_chosen(scores, allowed, count, images=4000):
    draws = RNG.uniform(size=(images, len(scores))).astype("float32")
    return ops.convert_to_numpy(draw_classes(*map(ops.convert_to_tensor, (np.float32(scores), allowed, draws)), count))


def test_one_class_with_the_probabilities_of_a_softmax():
    scores = np.array([0.0, 1.0, 2.0, 5.0])
    found = gather_chosen(scores, [True, True, True, False], 1)
    assert (found.sum(1) == 1).all()
    expected = np.exp(scores[:3]) / np.exp(scores[:3]).sum()
    np.testing.assert_allclose(found.mean(0), [*expected, 0.0], atol=0.04)  # five standard deviations


def test_several_classes_are_different_and_never_more_than_allowed():
    found = gather_chosen([0.3, 0.1, 0.2, 0.4], [True] * 4, 3)
    assert (found.sum(1) == 3).all() and found.mean(0).min() > 0.65
    assert (gather_chosen([0.3, 0.1, 0.2], [False, True, False], 2) == [False, True, False]).all()
    assert not gather_chosen([0.3, 0.1], [False, False], 2).any()


def test_boxes_by_hand():
    mask = np.zeros((3, 5, 7), bool)
    mask[0, 1, 2] = mask[0, 3, 5] = True
    mask[1] = True
    assert ops.convert_to_numpy(bounding_boxes(mask)).tolist() == [[1, 2, 4, 6], [0, 0, 5, 7], [0, 0, 0, 0]]


def test_pixels_and_shares_of_classes():
    label = np.int32([[[0, 1], [2, 1]], [[2, 2], [255, 0]]])
    chosen = np.array([[False, True, False], [True, False, True]])
    mask = ops.convert_to_numpy(mark_classes(label, ops.convert_to_tensor(chosen)))
    # 255 counts as the last class: callers leave it out.
    assert mask.tolist() == [[[False, True], [False, True]], [[True, True], [True, True]]]
    shares = ops.convert_to_numpy(class_fractions(label, 3, label != 255))
    np.testing.assert_allclose(shares, [[0.25, 0.5, 0.25], [0.25, 0.0, 0.5]])
