"""Mean Teacher and its CutMix form, against slow twins."""

import keras
import numpy as np
import pytest

from rankmatch_keras.methods import CutMixMeanTeacher, MeanTeacher

# The tests of parity compare the backends.
pytestmark = pytest.mark.once


def softmax(logits):
    powers = np.exp(np.float64(logits) - np.float64(logits).max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def number(value):
    return float(keras.ops.convert_to_numpy(value))


def logits_of(network, images, training):
    return keras.ops.convert_to_numpy(network(images, training=training)["logits"])


def apart(method):
    """Moves student and teacher apart: the next step takes the mean of both."""
    method.update_teacher()
    for variable in method.segmenter.trainable_variables:
        variable.assign(variable.value * 1.1 + 0.01)
    return method


def test_squared_distance_on_labeled_and_unlabeled_images(small_segmenter, random_batch):
    method, batch = apart(MeanTeacher(small_segmenter())), random_batch()
    terms = method.compute_terms(batch)
    images = np.concatenate([batch["labeled_image"], batch["weak_image"]])
    student, teacher = (softmax(logits_of(each, images, True)) for each in (method.segmenter, method.teacher))
    assert number(terms["consistency"]) == pytest.approx(((student - teacher) ** 2).mean(), rel=1e-4)
    assert method.weigh({"consistency": 1.0}) == 100.0
    assert method.strong_views == 0


def test_teacher_keeps_statistics_of_its_own(small_segmenter, random_batch):
    method = MeanTeacher(small_segmenter())
    moving = [v for v in method.teacher.network.variables if v.name.startswith("moving")]
    before = [keras.ops.convert_to_numpy(v) for v in moving]
    method.compute_terms(random_batch())
    assert all((keras.ops.convert_to_numpy(v) != old).any() for v, old in zip(moving, before, strict=True))


def test_mixed_probabilities_and_the_fraction_of_confident_pixels(small_segmenter, random_batch):
    method, batch = apart(CutMixMeanTeacher(small_segmenter(), threshold=0.6, seed=3)), random_batch()
    terms = method.compute_terms(batch)
    boxes = keras.ops.convert_to_numpy(CutMixMeanTeacher(small_segmenter(), seed=3).boxes(2, (33, 33)))
    np.testing.assert_allclose(boxes.mean((1, 2)), 0.5, atol=0.03)
    target = logits_of(method.teacher, batch["weak_image"], False)
    # The two images are each other's partners.
    target = np.where(boxes[..., None], target[::-1], target)
    images = np.where(boxes[..., None], batch["strong_image_1"][::-1], batch["strong_image_1"])
    valid = np.where(boxes, batch["valid"][::-1], batch["valid"])
    rate = (softmax(target).max(-1) >= 0.6).mean()
    squares = ((softmax(logits_of(method.segmenter, images, True)) - softmax(target)) ** 2).sum(-1)
    assert 0.05 < rate < 0.95
    assert number(terms["mask_ratio"]) == pytest.approx(rate, rel=1e-5)
    assert number(terms["consistency"]) == pytest.approx(rate * (squares * valid).mean(), rel=1e-4)
    assert method.evaluated is method.teacher.network
