import numpy as np
import pytest

from rankmatch_keras.data.views.policies import (
    OPERATIONS,
    POLICIES,
    ChannelFactors,
    ChannelJitter,
    ColorJitter,
    JitterFactors,
    RandomOperations,
    require_policy,
    strength,
    strong_policy,
)
from rankmatch_keras.errors import UserError


def sampled(policy, count):
    return [policy.sample(np.random.default_rng(n)) for n in range(count)]


def assert_uniform(values, low, high):
    quantiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(quantiles, np.linspace(low, high, 5), atol=0.05 * (high - low))


@pytest.mark.parametrize("name", ["jitter", "light_jitter", "soft_jitter"])
def test_color_jitter(name):
    policy = POLICIES[name]
    f = JitterFactors(*map(np.array, zip(*sampled(policy, 2000), strict=True)))
    for kind in ("brightness", "contrast", "saturation"):
        assert_uniform(getattr(f, kind), 1 - getattr(policy, kind), 1 + getattr(policy, kind))
    assert_uniform(f.hue, -policy.hue, policy.hue)
    assert_uniform(f.sigma, *policy.sigma)
    # Five standard deviations of a fraction of 2000 samples: at most 0.056.
    rates = [policy.jitter_probability, policy.gray_probability, policy.blur_probability]
    np.testing.assert_allclose([f.jitter.mean(), f.gray.mean(), f.blur.mean()], rates, atol=0.056)
    orders, counts = np.unique(f.order, axis=0, return_counts=True)
    assert len(orders) == 24 and counts.min() > 40  # 83 expected of each
    numbers = [f.brightness, f.contrast, f.saturation, f.hue, f.sigma]
    assert abs(np.corrcoef(numbers) - np.eye(5)).max() < 0.12


def test_ranges_are_the_papers():
    assert POLICIES["jitter"] == ColorJitter(0.5, 0.5, 0.5, 0.25, 0.8, 0.2, 0.5, (0.1, 2.0))
    assert POLICIES["light_jitter"] == ColorJitter(0.4, 0.4, 0.4, 0.1, 0.8, 0.2, 0.0, (0.1, 2.0))
    assert POLICIES["soft_jitter"] == ColorJitter(0.25, 0.25, 0.25, 0.25, 0.8, 0.0, 0.5, (0.15, 1.15))
    assert POLICIES["intensity"] == RandomOperations(1, 3)
    assert POLICIES["two_intensities"] == RandomOperations(2, 2)


def test_channel_jitter():
    f = ChannelFactors(*map(np.array, zip(*sampled(ChannelJitter(3, bounded=False), 1500), strict=True)))
    for values in (*f.brightness.T, *f.contrast.T):
        assert_uniform(values, 0.5, 1.5)
    assert_uniform(f.sigma, 0.1, 2.0)
    # Five standard deviations of a fraction of 1500 samples: at most 0.065.
    np.testing.assert_allclose([f.jitter.mean(), f.contrast_first.mean(), f.blur.mean()], [0.8, 0.5, 0.5], atol=0.065)
    numbers = [*f.brightness.T, *f.contrast.T, f.sigma, f.jitter, f.blur, f.contrast_first]
    assert abs(np.corrcoef(numbers) - np.eye(len(numbers))).max() < 0.13  # all are independent


@pytest.mark.parametrize("name", ["intensity", "two_intensities"])
def test_random_operations(name):
    policy = POLICIES[name]
    number, operations, strengths = (np.array(each) for each in zip(*sampled(policy, 2000), strict=True))
    expected = np.zeros(4)
    expected[policy.least : policy.most + 1] = 1 / (policy.most + 1 - policy.least)
    # Five standard deviations of a fraction of 2000 and of 6000 samples.
    np.testing.assert_allclose(np.bincount(number, minlength=4) / 2000, expected, atol=0.053)
    np.testing.assert_allclose(np.bincount(operations.ravel()) / 6000, np.full(11, 1 / 11), atol=0.019)
    assert abs(np.corrcoef(operations.T) - np.eye(3)).max() < 0.12
    for operation, low, high in (("brightness", 0.05, 0.95), ("solarize", 1, 256), ("hue", -0.5, 0.5)):
        assert_uniform(strengths[operations == OPERATIONS.index(operation)], low, high)


def test_strengths_have_the_units_of_their_operations():
    assert [strength("posterize", m) for m in (0, 0.24, 0.26, 0.99)] == [16, 16, 8, 2]  # 4, 4, 5 and 7 bits
    assert strength("blur", 0.5) == pytest.approx(1.05) and strength("contrast", 0.5) == pytest.approx(0.5)
    assert [strength(name, 0.7) for name in ("identity", "autocontrast", "equalize")] == [0, 0, 0]


def test_images_other_than_8_bit_color_have_channel_jitter():
    assert strong_policy("intensity", 3, "uint8") is POLICIES["intensity"]
    assert strong_policy("jitter", 1, "uint8") == ChannelJitter(1, bounded=True)
    assert strong_policy("jitter", 3, "float32") == ChannelJitter(3, bounded=False)


def test_other_names_are_refused():
    require_policy("jitter")
    with pytest.raises(UserError, match="strong views of none, jitter, .*'jittr'"):
        require_policy("jittr")
