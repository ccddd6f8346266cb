"""AEL: rare classes are pasted, sampled and kept more often."""

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.methods import AEL
from rankmatch_keras.methods.taught import View

# The tests of parity compare the backends.
pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)


def numbers(value):
    return ops.convert_to_numpy(value)


def with_confidences(method, *values):
    method.confidences.averages.assign(values)
    return method


def test_pixels_of_the_drawn_classes_are_pasted(small_segmenter):
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
