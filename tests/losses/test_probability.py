import numpy as np
import pytest
from keras import ops

from rankmatch_keras.losses import ProbabilityConsistencyLoss

LOG3 = np.log(3.0)
# Probabilities (3/4, 1/4) and (1/2, 1/2) of the student, (1/4, 3/4) and (1/2, 1/2) of the teacher.
STUDENT = np.float32([[[[LOG3, 0.0], [0.0, 0.0]]]])
TEACHER = np.float32([[[[0.0, LOG3], [1.0, 1.0]]]])
ONES = np.ones((1, 1, 2), "float32")


@pytest.mark.parametrize(("classes", "expected"), [("sum", 0.5 / 2), ("mean", 0.25 / 2)])
def test_squares_by_hand(classes, expected):
    # One pixel differs by 1/2 in both classes.
    assert float(ProbabilityConsistencyLoss(classes)(TEACHER, ONES, STUDENT)) == pytest.approx(expected, rel=1e-6)


def test_weights_are_not_normalised():
    loss = ProbabilityConsistencyLoss("sum")
    assert float(loss(TEACHER, 0.3 * ONES, STUDENT)) == pytest.approx(0.3 * 0.25, rel=1e-6)
    assert float(loss(TEACHER, np.array([[[False, True]]]), STUDENT)) == 0.0


def test_only_the_student_learns(value_and_gradient):
    loss = ProbabilityConsistencyLoss("sum")
    _, gradient = value_and_gradient(lambda z: loss(TEACHER, ONES, z), STUDENT)
    # Of |p - q|^2 by the logits: 2 p_k ((p - q)_k - sum_j p_j (p - q)_j), here p - q = (1/2, -1/2).
    expected = 2 * np.array([0.75, 0.25]) * (np.array([0.5, -0.5]) - 0.25) / 2
    np.testing.assert_allclose(gradient[0, 0], [expected, [0.0, 0.0]], rtol=1e-5, atol=1e-7)
    _, gradient = value_and_gradient(lambda z: loss(z, ONES, STUDENT) + 0.0 * ops.sum(z), TEACHER)
    np.testing.assert_array_equal(gradient, 0.0)


def test_wrong_classes():
    with pytest.raises(ValueError, match="Received: classes='max'"):
        ProbabilityConsistencyLoss("max")
