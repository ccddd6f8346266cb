"""Dual Teacher: whose turn it is decides the mixing, and begins with a copy of the student."""

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.methods import DualTeacher
from rankmatch_keras.methods.teachers import View

# The tests of parity compare the backends.
pytestmark = pytest.mark.once


def test_a_turn_begins_with_a_copy_and_continues_as_an_ema(small_segmenter):
    method = DualTeacher(small_segmenter(), switch_every=3, ema_decay=0.6)
    kernel = method.segmenter.encoder.trainable_variables[0]
    copy = next(v for v in method.teacher.network.variables if v.shape == kernel.shape)
    student, teacher = [], []
    for step in range(7):
        kernel.assign(ops.zeros(kernel.shape) + float(step**2))
        method.update_teacher()
        method.turns.tick()
        student.append(float(step**2))
        teacher.append(float(ops.convert_to_numpy(copy.value).ravel()[0]))
    expected = [0.0, 0.5, 0.6 * 0.5 + 0.4 * 4, 9.0, 12.5, 0.6 * 12.5 + 0.4 * 25, 36.0]
    assert teacher == pytest.approx(expected, rel=1e-5)


def test_boxes_in_even_turns_and_classes_in_odd_ones(small_segmenter):
    rng = np.random.default_rng(0)
    method = DualTeacher(small_segmenter(), seed=0)
    shape = (2, 9, 9)
    view = View(
        rng.normal(size=(*shape, 3)).astype("float32"),
        rng.integers(0, 3, shape).astype("int32"),
        rng.uniform(size=shape).astype("float32"),
        rng.uniform(size=shape) < 0.9,
    )
    twin = DualTeacher(small_segmenter(), seed=0)
    masks = {True: twin.boxes(2, (9, 9)), False: twin.classes(view.label[::-1].copy(), valid=view.valid[::-1].copy())}
    # Past torch's modules, which take no function in a layer's place.
    object.__setattr__(method, "boxes", lambda *_: masks[True])
    object.__setattr__(method, "classes", lambda *_, **__: masks[False])
    for by_boxes, mask in masks.items():
        mask = ops.convert_to_numpy(mask)
        found = method.mixed(view, by_boxes)
        assert 0.05 < mask.mean() < 0.95
        for value, mine in zip(found, view, strict=True):
            expected = np.where(mask.reshape(2, 9, 9, *(1,) * (mine.ndim - 3)), mine[::-1], mine)
            np.testing.assert_array_equal(ops.convert_to_numpy(value), expected)


@pytest.mark.parametrize("turn", [0, 1])
def test_rate_of_the_image_or_of_the_batch(turn, small_segmenter, random_batch):
    method, batch = DualTeacher(small_segmenter(), switch_every=1, threshold=0.45, seed=0), random_batch()
    if turn:
        method.turns.tick()
    kept = {}
    mixed = method.mixed
    method.mixed = lambda *arguments: kept.setdefault("view", mixed(*arguments))
    terms = {name: float(ops.convert_to_numpy(value)) for name, value in method.compute_terms(batch).items()}
    view = View(*(ops.convert_to_numpy(value) for value in kept["view"]))
    images = np.concatenate([view.image, batch["strong_image_2"]])
    logits = np.float64(keras.ops.convert_to_numpy(method.segmenter(images, training=True)["logits"]))[:2]
    log_probability = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -np.take_along_axis(log_probability, view.label[..., None], -1)[..., 0] * view.valid
    rates = (view.confidence >= 0.45).mean((1, 2))
    assert 0.0 < rates.min() < rates.max() < 1.0
    weight = rates[:, None, None] if turn == 0 else rates.mean()
    assert terms["mixed"] == pytest.approx((losses * weight).sum() / view.valid.sum(), rel=1e-4)
    assert terms["mask_ratio"] == pytest.approx(rates.mean(), rel=1e-5)
    assert method.term_weights == {"supervised": 1.0, "mixed": 1.0, "strong_2": 0.2}
