import math

import numpy as np
import pytest

from rankmatch_keras.comparison.measures import paired_test, summarize

pytestmark = pytest.mark.once


def test_mean_and_sample_deviation_by_hand():
    # Mean 4; squared deviations 4 + 0 + 4 over n - 1 = 2.
    summary = summarize([2.0, 4.0, 6.0, math.nan])
    assert (summary.n, summary.mean, summary.sd) == (3, 4.0, 2.0)
    assert math.isnan(summarize([1.0]).sd) and math.isnan(summarize([]).mean)


def test_paired_t_test_by_hand():
    # Differences 1, 2, 3: mean 2, sd 1, t = 2 / (1 / sqrt 3) = 3.4641 with 2 degrees of freedom,
    # whose two-sided p is 1 - t / sqrt(t^2 + 2).
    test = paired_test({0: 11.0, 1: 22.0, 2: 33.0, 9: 5.0}, {0: 10.0, 1: 20.0, 2: 30.0, 8: 1.0})
    assert (test.n, test.difference, test.sd) == (3, 2.0, 1.0)
    t = 2 * math.sqrt(3)
    assert test.t_test == pytest.approx(1 - t / math.sqrt(t * t + 2), rel=1e-6)
    assert test.wilcoxon is None


def test_wilcoxon_with_enough_seeds():
    first = {seed: 10.0 + seed + 0.1 * seed * seed for seed in range(6)}
    test = paired_test(first, dict.fromkeys(range(6), 9.0))
    # All six differences are positive: the most extreme of 2^6 sign patterns, on both sides.
    assert test.wilcoxon == pytest.approx(2 / 64)


@pytest.mark.parametrize(
    ("first", "second", "n", "note"),
    [
        ({0: 1.0}, {0: 2.0}, 1, "one seed"),
        ({0: 1.0}, {1: 2.0}, 0, "no seed"),
        ({0: 1.0, 1: math.nan}, {0: 2.0, 1: 2.0}, 1, "one seed"),
        ({0: 1.0, 1: 2.0}, {0: 2.0, 1: 3.0}, 2, "equal"),
    ],
)
def test_no_p_without_enough_seeds_or_differences(first, second, n, note):
    test = paired_test(first, second)
    assert test.n == n and test.t_test is None and note in test.note


def test_small_differences_do_not_warn():
    rng = np.random.default_rng(0)
    first = {seed: 50 + 1e-6 * value for seed, value in enumerate(rng.normal(size=4))}
    assert 0 <= paired_test(first, dict.fromkeys(range(4), 50.0)).t_test <= 1
