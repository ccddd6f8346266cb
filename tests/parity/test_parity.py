"""TensorFlow, PyTorch and JAX compute the same training steps, and go on with what another one saved."""

import itertools

import numpy as np
import pytest
from cases import CASES, RELU
from comparing import differences, first_difference, kind_of, scales
from processes import BACKENDS

from rankmatch_keras import methods

PAIRS = list(itertools.combinations(BACKENDS, 2))
BOTH_WAYS = list(itertools.permutations(BACKENDS, 2))


def test_every_method_is_compared():
    public = {kind for kind in vars(methods).values() if isinstance(kind, type) and issubclass(kind, methods.Method)}
    assert {case.kind for case in CASES.values()} == public - {methods.Method}


@pytest.mark.parametrize("case", [*CASES, RELU])
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_steps_agree(pair, case, results, read, note_largest):
    first, second = (read(results / backend / f"{case}.npz") for backend in pair)
    kinds = {kind_of(name) for name in first}
    assert {"terms", "total", "gradients", "weights", "batch statistics", "other variables", "velocities"} <= kinds
    problem = first_difference(first, second, pair)
    assert problem is None, f"{case}: {problem}"
    for name, difference in differences(first, second):
        note_largest(kind_of(name), difference)


def test_a_change_of_three_in_ten_thousand_is_named(results, read):
    found = read(results / BACKENDS[0] / "unimatch.npz")
    for name, scale in scales(found).items():
        largest = np.unravel_index(np.argmax(np.abs(found[name])), found[name].shape)
        changed = found[name].astype("float64")
        changed[largest] += 3e-4 * scale
        assert first_difference(found, {**found, name: changed}, PAIRS[0]).startswith(f"{name} differs by 3.0e-04")


@pytest.mark.parametrize("case", CASES)
def test_steps_are_no_standstill(case, results, read):
    # Otherwise all would agree on nothing.
    found = read(results / BACKENDS[0] / f"{case}.npz")
    moves = [np.abs(value).max() for name, value in found.items() if kind_of(name) == "moves of the weights"]
    assert min(moves) > 0 and max(moves) > 1e-3
    terms = {name: value for name, value in found.items() if kind_of(name) == "terms"}
    # A teacher that sees what its student sees differs from it from the second step on.
    last = max(name.partition("/")[0] for name in terms)
    assert all(value > 0 for name, value in terms.items() if name.startswith(last))
    ratios = [float(value) for name, value in terms.items() if name.endswith("mask_ratio")]
    assert all(0.0 < ratio < 1.0 for ratio in ratios)


@pytest.mark.parametrize(("saver", "loader"), BOTH_WAYS)
def test_a_model_predicts_the_same_classes_elsewhere(saver, loader, results):
    expected, found = (np.load(results / place / f"classes of {saver}.npy") for place in (saver, loader))
    assert min(np.bincount(expected.ravel(), minlength=4)) > 0.01 * expected.size
    assert (found == expected).mean() >= 0.9999


@pytest.mark.parametrize(("saver", "loader"), BOTH_WAYS)
def test_a_state_is_taken_over_whole(saver, loader, results, read):
    stopped = [*read(results / saver / "stopped.npz").values()]
    loaded = [*read(results / loader / f"loaded from {saver}.npz").values()]
    assert len(stopped) == len(loaded) > 100
    for expected, found in zip(stopped, loaded, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("saver", "loader"), BOTH_WAYS)
def test_a_run_goes_on_elsewhere(saver, loader, results, read):
    # The step's draws come from the file, by the state of the random streams, which is taken over too.
    expected = read(results / saver / "continued.npz")
    problem = first_difference(expected, read(results / loader / f"continued from {saver}.npz"), (saver, loader))
    assert problem is None, problem
