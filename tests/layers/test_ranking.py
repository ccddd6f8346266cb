import functools
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers import plackett_luce_kl
from rankmatch_keras.layers.ranking import _levels


def ranking_log_probabilities(logits):
    """Eq. 6 in logarithms for all K! rankings: each item against itself and those not yet picked."""
    rankings = np.array(list(itertools.permutations(range(len(logits)))))
    ordered = np.float64(logits)[rankings]  # (K!, K)
    remaining = np.logaddexp.accumulate(ordered[:, ::-1], axis=1)[:, ::-1]
    return (ordered - remaining).sum(axis=1)


def kl_twin(teacher, student):
    """Sums over all K! rankings in float64."""
    log_t, log_s = ranking_log_probabilities(teacher), ranking_log_probabilities(student)
    return (np.exp(log_t) * (log_t - log_s)).sum()


def slope(function, point, step=1e-5):
    """Central differences in float64."""
    point = np.float64(point)
    gradient = np.zeros_like(point)
    for i in range(len(point)):
        shift = np.zeros_like(point)
        shift[i] = step
        gradient[i] = (function(point + shift) - function(point - shift)) / (2 * step)
    return gradient


def kl(teacher, student):
    return ops.convert_to_numpy(whole(plackett_luce_kl)(np.float32(teacher), np.float32(student)))


@functools.cache
def whole(function):
    """Compiled as one on JAX, where an eager call compiles every operation by itself."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def test_two_items_by_hand():
    # One draw: 0.8 log(0.8 / 0.5) + 0.2 log(0.2 / 0.5) = 0.8 * 0.470004 - 0.2 * 0.916291 = 0.192745
    assert kl(np.log([0.8, 0.2]), np.log([0.5, 0.5])) == pytest.approx(0.192745, abs=1e-6)


def test_equation_7_for_three_items():
    # P(abc) = a / (a + b + c) * b / (b + c) with a, b, c = 0.5, 0.3, 0.2: 0.5 * 0.6 = 0.3
    # Of the six rankings, in lexicographic order, abc is the first.
    probabilities = np.exp(ranking_log_probabilities(np.log([0.5, 0.3, 0.2])))
    assert probabilities[0] == pytest.approx(0.3)
    assert probabilities.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("scale", [0.01, 1.0, 6.0])
@pytest.mark.parametrize("num_items", [2, 3, 4, 5, 6])
def test_values_against_enumeration(num_items, scale):
    rng = np.random.default_rng(num_items)
    teacher, student = np.float32(scale * rng.normal(size=(2, 2, 3, num_items)))
    expected = [[kl_twin(teacher[i, j], student[i, j]) for j in range(3)] for i in range(2)]
    # Float32 rounds each logit's difference x to about 1e-7 x, and the divergence is of order x^2.
    np.testing.assert_allclose(kl(teacher, student), expected, rtol=2e-5, atol=1e-7 * np.abs(teacher - student).max())


@pytest.mark.parametrize("scale", [0.1, 2.0])
@pytest.mark.parametrize("num_items", [2, 3, 4, 5])
def test_gradients_against_enumeration(num_items, scale, value_and_gradient):
    rng = np.random.default_rng(10 + num_items)
    teacher, student = np.float32(scale * rng.normal(size=(2, num_items)))
    _, gradient = value_and_gradient(lambda s: plackett_luce_kl(teacher, s), student)
    expected = slope(lambda s: kl_twin(teacher, s), student)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    # The teacher gets no gradient in a method, but the function itself is differentiable in both.
    _, gradient = value_and_gradient(lambda t: plackett_luce_kl(t, student), teacher)
    expected = slope(lambda t: kl_twin(t, student), teacher)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("num_items", [4, 10])
def test_equal_rankings_have_no_divergence_and_no_gradient(num_items, value_and_gradient):
    logits = np.random.default_rng(0).normal(size=num_items).astype("float32")
    value, gradient = value_and_gradient(lambda s: plackett_luce_kl(logits, s), logits)
    assert abs(value) < 1e-12  # XLA contracts products and sums: 1e-15 on JAX, 0 elsewhere
    np.testing.assert_allclose(gradient, np.zeros(num_items), atol=1e-6)


@pytest.mark.parametrize("num_items", [4, 10])
def test_common_factor_cancels(num_items):
    teacher, student = np.random.default_rng(1).normal(size=(2, num_items))
    np.testing.assert_allclose(kl(teacher + 3.0, student - 2.0), kl(teacher, student), rtol=1e-5)


def test_order_of_the_items_does_not_matter():
    teacher, student = np.random.default_rng(2).normal(size=(2, 10))
    order = np.random.default_rng(3).permutation(10)
    np.testing.assert_allclose(kl(teacher[order], student[order]), kl(teacher, student), rtol=1e-5)


def test_ten_items_in_two_separate_tiers_add_up():
    # Four items always rank before the other six, so the ranking is two independent rankings: 4! and 6! to enumerate.
    teacher, student = np.random.default_rng(4).normal(size=(2, 10))
    tier = np.array([0.0, 50.0] * 4 + [0.0, 0.0])
    high, low = tier > 0, tier == 0
    expected = kl_twin(teacher[high], student[high]) + kl_twin(teacher[low], student[low])
    np.testing.assert_allclose(kl(teacher + tier, student + tier), expected, rtol=1e-5)


def test_divergence_is_not_symmetric():
    teacher, student = [2.0, 0.0, -1.0], [0.0, 0.5, 0.0]
    np.testing.assert_allclose(kl(teacher, student), kl_twin(teacher, student), rtol=1e-5)
    assert abs(kl(teacher, student) - kl(student, teacher)) > 0.01


@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_small_divergences_are_not_drowned(offset):
    # KL is about 6e-9 here; differences of float32 log-probabilities would give 1e-7 of noise, and an offset between
    # teacher and student that is not taken out first 1e-5. Multiples of 2^-16 lose nothing in float32 at 20.
    rng = np.random.default_rng(5)
    teacher = rng.normal(size=(20, 4))
    student = teacher + 1e-4 * rng.normal(size=(20, 4))
    teacher, student = (np.float32(np.round(x * 2**16) / 2**16) for x in (teacher, student - offset))
    expected = [kl_twin(t, s) for t, s in zip(teacher, student, strict=True)]
    assert 1e-9 < np.mean(expected) < 1e-8
    np.testing.assert_allclose(kl(teacher, student), expected, rtol=0.02)


@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        ([1e3, 0.0, -1e3, 5.0], [0.0, 0.0, 0.0, 0.0]),
        ([0.0, 0.0, 0.0, 0.0], [1e3, 0.0, -1e3, 5.0]),
        ([1e3, 0.0, -1e3, 5.0], [-1e3, 0.0, 1e3, 5.0]),
        ([1e3, 1e3, -1e3, -1e3], [1e3, -1e3, 1e3, -1e3]),
        ([1e3, 999.5, 999.0, 998.5], [-1e3, -999.0, -998.0, -1e3]),
    ],
)
def test_extreme_logits(teacher, student, value_and_gradient):
    teacher, student = np.float32(teacher), np.float32(student)
    value, gradient = value_and_gradient(lambda s: plackett_luce_kl(teacher, s), student)
    np.testing.assert_allclose(value, kl_twin(teacher, student), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, slope(lambda s: kl_twin(teacher, s), student), rtol=1e-3, atol=1e-3)
    _, gradient = value_and_gradient(lambda t: plackett_luce_kl(t, student), teacher)
    assert np.isfinite(gradient).all()


def test_gradient_is_finite_where_the_two_formulas_meet(value_and_gradient):
    # Centred differences just below, at and above 1, where near-agreement ends.
    student = np.float32([[0.0, 1.999], [0.0, 2.0], [0.0, 2.001], [0.0, 0.0]])
    teacher = np.zeros_like(student)
    _, gradient = value_and_gradient(lambda s: ops.sum(plackett_luce_kl(teacher, s)), student)
    # KL of two items: slope = student's probability - teacher's, 1/2 here.
    second = 1.0 / (1.0 + np.exp(-student[:, 1])) - 0.5
    np.testing.assert_allclose(gradient, np.stack([-second, second], axis=-1), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("num_items", range(2, 11))
def test_table_of_sets(num_items):
    levels = _levels(num_items)
    assert sum(len(members) for members, _ in levels) == 2**num_items - num_items - 1
    for (parents, _), (members, arrivals) in itertools.pairwise(levels):
        for row, origin in enumerate(arrivals):
            for flat in origin:
                parent, drawn = divmod(int(flat), num_items)
                before = parents[parent].copy()
                assert before[drawn]
                before[drawn] = False
                np.testing.assert_array_equal(before, members[row])


def test_eleven_sets_replace_24_rankings():
    assert sum(len(members) for members, _ in _levels(4)) == 11
    assert sum(len(members) for members, _ in _levels(8)) == 247


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_result_is_float32(dtype):
    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX makes float32 of float64 unless it is told otherwise at the start")
    teacher = ops.cast([[600.0, -3.0, 0.5]], dtype)
    student = ops.cast([[-600.0, 2.0, 1.5]], dtype)
    value = plackett_luce_kl(teacher, student)
    assert value.dtype == ops.convert_to_tensor(np.float32(0)).dtype
    expected = kl_twin([600.0, -3.0, 0.5], [-600.0, 2.0, 1.5])
    np.testing.assert_allclose(ops.convert_to_numpy(value), [expected], rtol=1e-5)


def test_compiled(compiled):
    teacher, student = np.random.default_rng(6).normal(size=(2, 3, 4)).astype("float32")
    value = compiled(plackett_luce_kl)(ops.convert_to_tensor(teacher), ops.convert_to_tensor(student))
    np.testing.assert_allclose(ops.convert_to_numpy(value), kl(teacher, student), rtol=1e-5)


@pytest.mark.parametrize(("teacher_items", "student_items"), [(1, 1), (11, 11), (4, 3)])
def test_wrong_number_of_items(teacher_items, student_items):
    with pytest.raises(ValueError, match="Expected 2 to 10 items.*Received: teacher_logits.shape"):
        plackett_luce_kl(np.zeros((2, teacher_items)), np.zeros((2, student_items)))
