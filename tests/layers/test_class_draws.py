import numpy as np
from keras import ops

from rankmatch_keras.layers.class_draws import bounding_boxes, draw_classes
from rankmatch_keras.layers.mixing import class_fractions, mark_classes

RNG = np.random.default_rng(0)


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
