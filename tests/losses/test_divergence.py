import numpy as np
import pytest
from keras import ops

from rankmatch_keras.losses.divergence import DivergenceLoss


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
