"""iMAS: everything follows the agreement of student and teacher."""

import numpy as np
import pytest
from keras import ops

from rankmatch_keras.methods import IMAS
from rankmatch_keras.methods.imas import class_weighted_iou, opposite_ranks
from rankmatch_keras.methods.teachers import View

# The tests of parity compare the backends.
pytestmark = pytest.mark.once

EASE = np.float32([0.2, 0.8])


def number(value):
    return float(ops.convert_to_numpy(value))


def test_agreement_is_weighted_by_the_confident_pixels_of_each(small_segmenter):
    rng = np.random.default_rng(0)
    student, teacher = (rng.normal(scale=2.0, size=(2, 8, 9, 3)).astype("float32") for _ in range(2))
    valid = rng.uniform(size=(2, 8, 9)) < 0.9
    found = ops.convert_to_numpy(IMAS(small_segmenter(), threshold=0.6).agreement(student, teacher, valid))
    mine, its = (z.argmax(-1).astype("int32") for z in (student, teacher))

    def rate(logits, image):
        probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return (probability.max(-1) >= 0.6)[image][valid[image]].mean()

    def iou(*labels):
        return ops.convert_to_numpy(class_weighted_iou(*labels, valid, 3))

    for i in range(2):
        expected = rate(teacher, i) * iou(mine, its)[i] / 2 + rate(student, i) * iou(its, mine)[i] / 2
        assert found[i] == pytest.approx(expected, rel=1e-5)


def fixed(method, batch, applied):
    """Sets the agreement; boxes are those of the method if they are applied."""
    method.agreement = lambda *_: ops.convert_to_tensor(EASE)
    weak, seen = method.cut_view, []

    def cut_view(view, ease, probability):
        seen.append(number(probability))
        found, _ = weak(view, ease, 1.0 if applied else 0.0)
        return found, ops.convert_to_tensor(float(applied))

    method.cut_view = cut_view
    return method.compute_terms(batch), seen


def mean_losses(logits, label, kept):
    logits = np.float64(logits)
    log_probability = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -np.take_along_axis(log_probability, label[..., None], -1)[..., 0]
    return (losses * kept).mean((1, 2))


@pytest.mark.parametrize("applied", [False, True])
def test_terms_by_hand(applied, small_segmenter, random_batch):
    batch = random_batch()
    method = IMAS(small_segmenter(), threshold=0.45, seed=1)
    terms, seen = fixed(method, batch, applied)
    assert seen == [pytest.approx(0.5)]
    target = np.float64(ops.convert_to_numpy(method.teacher_logits(weak=batch["weak_image"])))
    label = target.argmax(-1)
    confidence = (np.exp(target) / np.exp(target).sum(-1, keepdims=True)).max(-1)
    boxes = ops.convert_to_numpy(IMAS(small_segmenter(), seed=1).boxes(2, (33, 33))) & applied

    def cut(value):
        return np.where(boxes.reshape(2, 33, 33, *(1,) * (value.ndim - 3)), value[::-1], value)

    share = EASE[:, None, None, None]
    strong = share * batch["strong_image_1"] + (1 - share) * batch["weak_image"]
    images = [batch["labeled_image"], batch["weak_image"], cut(batch["weak_image"]), strong]
    logits = ops.convert_to_numpy(method.segmenter(np.concatenate(images), training=True)["logits"])
    kept = (confidence >= 0.45) & batch["valid"]
    of_strong = (EASE * mean_losses(logits[5:], label, kept)).mean()
    of_cut = (EASE * mean_losses(logits[3:5], cut(label), cut(kept))).mean()
    assert number(terms["strong_1"]) == pytest.approx(of_strong * (1 if applied else 2), rel=1e-4)
    assert number(terms["cutmix"]) == pytest.approx(of_cut if applied else 0.0, rel=1e-4)
    assert number(terms["agreement"]) == pytest.approx(0.5)
    assert method.term_weights == {"supervised": 1.0, "strong_1": 1.5, "cutmix": 1.5}


def test_boxes_are_as_frequent_as_the_mean_agreement(small_segmenter):
    method = IMAS(small_segmenter(), seed=0)
    view = View(*(np.zeros((2, 4, 4, *more), kind) for more, kind in (((3,), "f4"), ((), "i4"), ((), "f4"), ((), "?"))))
    applied = [number(method.cut_view(view, ops.convert_to_tensor(EASE), 0.3)[1]) for _ in range(100)]
    assert set(applied) == {0.0, 1.0} and np.mean(applied) == pytest.approx(0.3, abs=0.23)


def twin(prediction, reference, valid, background):
    """Written as it is said, one image after the other."""
    values = []
    for p, r, v in zip(prediction, reference, valid, strict=True):
        p, r = p[v], r[v]
        classes = [c for c in np.unique(r) if c != background] or list(np.unique(r))
        shares = [(r == c).sum() for c in classes]
        ious = [((p == c) & (r == c)).sum() / ((p == c) | (r == c)).sum() for c in classes]
        values.append(np.average(ious, weights=shares) if classes else 0.0)
    return values


@pytest.mark.parametrize("background", [0, 2, None])
def test_like_its_twin(background):
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 4, (5, 6, 7)).astype("int32")
    prediction = np.where(rng.uniform(size=reference.shape) < 0.6, reference, rng.integers(0, 4, reference.shape))
    reference[1], prediction[2], reference[2] = 0, 0, 0  # background alone, in one and in both
    valid = rng.uniform(size=reference.shape) < 0.8
    valid[3] = False
    found = ops.convert_to_numpy(class_weighted_iou(prediction.astype("int32"), reference, valid, 4, background))
    np.testing.assert_allclose(found, twin(prediction, reference, valid, background), rtol=1e-5)
    assert found[2] == 1.0 and found[3] == 0.0


def test_by_hand():
    # Class 1: 2 of 3 pixels shared; class 2: 1 of 2. In the reference they have 3 and 1 pixels.
    reference, prediction = np.int32([[[1, 1, 1, 2, 0]]]), np.int32([[[1, 1, 2, 2, 0]]])
    found = class_weighted_iou(prediction, reference, np.ones((1, 1, 5), bool), 3)
    assert float(ops.convert_to_numpy(found)[0]) == pytest.approx((3 * 2 / 3 + 1 * 1 / 2) / 4)


@pytest.mark.parametrize(
    ("score", "partners"),
    [([0.1, 0.9, 0.5, 0.3], [1, 0, 3, 2]), ([0.1, 0.9, 0.5], [1, 0, 2]), ([1.0, 1.0, 1.0, 1.0], [3, 2, 1, 0])],
)
def test_the_easiest_image_is_paired_with_the_hardest(score, partners):
    assert ops.convert_to_numpy(opposite_ranks(ops.convert_to_tensor(np.float32(score)))).tolist() == partners
