"""The comparison itself can fail, and says where."""

import numpy as np
import pytest
from comparing import differences, first_difference

LABELS = ("torch", "jax")


@pytest.fixture
def found():
    rng = np.random.default_rng(0)
    shapes = {"step 1/terms/supervised": (), "step 1/gradients/b": (3, 2), "step 1/gradients/a": (4,)}
    return {name: np.asarray(rng.uniform(1, 2, shape), dtype="float32") for name, shape in shapes.items()}


def changed(found, name, index, factor):
    copy = {key: value.copy() for key, value in found.items()}
    copy[name][index] *= factor
    return copy


def test_equal_tensors_agree(found):
    assert first_difference(found, found, LABELS) is None


@pytest.mark.parametrize("name", ["step 1/terms/supervised", "step 1/gradients/b", "step 1/gradients/a"])
def test_three_in_ten_thousand_are_seen(name, found):
    index = np.unravel_index(np.argmax(found[name]), found[name].shape)
    problem = first_difference(found, changed(found, name, index, 1.0003), LABELS)
    assert problem.startswith(f"{name} differs by 3.0e-04, more than 1e-04: torch has ")
    assert first_difference(found, changed(found, name, index, 1.00003), LABELS) is None


def test_the_first_in_order_is_named_with_both_values(found):
    other = changed(changed(found, "step 1/gradients/a", 0, 2.0), "step 1/gradients/b", (2, 1), -1.0)
    value = found["step 1/gradients/b"][2, 1]
    problem = first_difference(found, other, LABELS)
    assert (
        problem.startswith("step 1/gradients/b") and f"torch has {value:.9g} at [2, 1], jax has {-value:.9g}" in problem
    )


def test_the_scale_is_the_tensors_largest_value():
    first, second = ({"step 1/weights/a": np.float32([4.0, 1e-6 * i])} for i in (1, 5))
    assert dict(differences(first, second)) == {"step 1/weights/a": pytest.approx(1e-6)}


def test_small_gradients_count_by_the_largest_of_the_network():
    # 2e-6 apart: more than 1e-4 of 1e-3, but not of a hundredth of 4.
    first = {"step 1/gradients/a": np.float32([4.0]), "step 1/gradients/b": np.float32([1e-3])}
    second = {**first, "step 1/gradients/b": np.float32([1e-3 + 2e-6])}
    assert first_difference(first, second, LABELS) is None
    second["step 1/gradients/b"] += np.float32(8e-6)
    assert "step 1/gradients/b differs by 2.5e-04" in first_difference(first, second, LABELS)


def test_what_is_no_number_differs(found):
    assert "differs by nan" in first_difference(found, changed(found, "step 1/gradients/a", 1, np.nan), LABELS)


def test_missing_and_misshapen_tensors_differ(found):
    missing = {name: value for name, value in found.items() if name != "step 1/gradients/b"}
    assert "torch has shape (3, 2), jax has no such tensor" in first_difference(found, missing, LABELS)
    assert "torch has no such tensor" in first_difference(missing, found, LABELS)
    flat = {**found, "step 1/gradients/b": np.zeros(6, "float32")}
    assert "torch has shape (3, 2), jax has shape (6,)" in first_difference(found, flat, LABELS)
