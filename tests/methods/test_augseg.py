"""AugSeg: how sure the teacher is, and what is pasted where."""

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.methods import AugSeg
from rankmatch_keras.methods.teachers import View

# The tests of parity compare the backends.
pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)


def arrays(view):
    return View(*(ops.convert_to_numpy(value) for value in view))


def random_view(count=2, size=6):
    shape = (count, size, size)
    return View(
        RNG.normal(size=(*shape, 3)).astype("float32"),
        RNG.integers(0, 3, shape).astype("int32"),
        RNG.uniform(size=shape).astype("float32"),
        RNG.uniform(size=shape) < 0.8,
    )


def test_image_certainty_by_hand(small_segmenter):
    probability = np.array([[[[0.8, 0.1, 0.1], [1 / 3, 1 / 3, 1 / 3]], [[0.5, 0.5 - 1e-9, 1e-9], [0.2, 0.2, 0.6]]]])
    valid = np.array([[[True, True], [True, False]]])
    entropy = -(probability * np.log(probability)).sum(-1)
    expected = ((1 - entropy / np.log(3)) * probability.max(-1))[valid].mean()
    found = AugSeg(small_segmenter()).image_certainty(np.float32(np.log(probability)), valid)
    assert float(ops.convert_to_numpy(found)[0]) == pytest.approx(expected, rel=1e-5)


def test_labeled_boxes_are_pasted_into_copies_that_boxes_come_from(small_segmenter):
    method = AugSeg(small_segmenter(), seed=0)
    own, labeled = random_view(), random_view()
    corner, side = np.zeros((2, 2, 6, 6), bool)
    corner[:, :3, :3], side[:, :, :4] = True, True
    # Past torch's modules, which take no function in a layer's place.
    object.__setattr__(method, "labeled_boxes", lambda *_: corner)
    object.__setattr__(method, "boxes", lambda *_: side)
    for image_certainty, injected in ((0.0, True), (1.0, False)):
        found = arrays(method.mixed(own, labeled, ops.full((2,), image_certainty)))
        for value, mine, label in zip(found, own, labeled, strict=True):
            copy = mine.copy()
            if injected:
                copy[:, :3, :3] = label[:, :3, :3]
            expected = mine.copy()
            expected[:, :, :4] = copy[::-1, :, :4]
            np.testing.assert_array_equal(value, expected)


def test_labeled_images_take_turns_and_their_ignored_pixels_are_left_out(small_segmenter, random_batch):
    batch = random_batch(labeled=2, unlabeled=5)
    view = arrays(AugSeg(small_segmenter()).labeled_view(batch))
    for i in range(5):
        np.testing.assert_array_equal(view.image[i], batch["labeled_image"][i % 2])
        known = batch["labeled_mask"][i % 2] != 255
        np.testing.assert_array_equal(view.valid[i], known)
        np.testing.assert_array_equal(view.label[i][known], batch["labeled_mask"][i % 2][known])
    assert (view.confidence == 1).all() and view.label.max() < 3


def test_loss_is_divided_by_all_pixels(small_segmenter, random_batch):
    method, batch = AugSeg(small_segmenter(), threshold=0.45), random_batch()
    view = View(*(random_view(2, 33)))
    method.mixed = lambda *_: view
    terms = method.compute_terms(batch)
    images = np.concatenate([batch["labeled_image"], view.image])
    logits = np.float64(keras.ops.convert_to_numpy(method.segmenter(images, training=True)["logits"]))[1:]
    log_probability = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -np.take_along_axis(log_probability, view.label[..., None], -1)[..., 0]
    kept = (view.confidence >= 0.45) & view.valid
    assert float(ops.convert_to_numpy(terms["consistency"])) == pytest.approx((losses * kept).mean(), rel=1e-4)
