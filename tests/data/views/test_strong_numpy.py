import colorsys

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from rankmatch_keras.data.views.policies import (
    OPERATIONS,
    POLICIES,
    ChannelFactors,
    ChannelJitter,
    JitterFactors,
    OperationFactors,
    strength,
)
from rankmatch_keras.data.views.strong_numpy import blur, strong_view

RNG = np.random.default_rng(0)
IMAGE = np.kron(RNG.integers(30, 226, (8, 10, 3)), np.ones((5, 5, 1))).astype(np.float32)  # 40 x 50
IMAGE[:10, :10] = 120.0  # gray: no hue
PICTURE = Image.fromarray(IMAGE.astype(np.uint8))
GRAY = np.kron(RNG.integers(0, 256, (6, 8, 1)), np.ones((5, 5, 1))).astype(np.float32)
SIX = RNG.uniform(100, 4000, (20, 24, 6)).astype(np.float32)
NOTHING = JitterFactors(True, (0, 1, 2, 3), 1.0, 1.0, 1.0, 0.0, False, False, 1.0)


def jittered(**factors):
    return strong_view(IMAGE, POLICIES["jitter"], NOTHING._replace(**factors))


def jittered_channels(image, bounded=False, brightness=1.0, contrast=1.0, **factors):
    channels = image.shape[-1]
    values = {"jitter": True, "contrast_first": False, "blur": False, "sigma": 1.0} | factors
    each = {"brightness": brightness, "contrast": contrast}
    values |= {name: np.broadcast_to(np.float32(value), (channels,)) for name, value in each.items()}
    return strong_view(image, ChannelJitter(channels, bounded), ChannelFactors(**values))


def operated(*operations, magnitude=0.4):
    places = [OPERATIONS.index(name) for name in operations]
    strengths = tuple(strength(name, magnitude) for name in operations) + (0.0, 0.0)
    return strong_view(IMAGE, POLICIES["intensity"], OperationFactors(len(places), (*places, 0, 0)[:3], strengths[:3]))


# Color jitter.


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.5])
@pytest.mark.parametrize(
    "name, kind",
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_jitter_agrees_with_pil(name, kind, factor):
    # PIL truncates to whole levels, and rounds the gray it blends with.
    expected = np.asarray(kind(PICTURE).enhance(factor)).astype(float)
    np.testing.assert_allclose(jittered(**{name: factor}), expected, atol=1.6)


@pytest.mark.parametrize("hue", [-0.5, -0.25, -0.1, 0.1, 0.25])
def test_hue_turns_the_color_circle(hue):
    expected = np.empty(IMAGE.shape)
    for place in np.ndindex(IMAGE.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*(IMAGE[place] / 255))
        expected[place] = colorsys.hsv_to_rgb((h + hue) % 1, s, v)
    np.testing.assert_allclose(jittered(hue=hue), 255 * expected, atol=1e-3)


def test_order_matters_and_is_followed():
    # Both clip, so they do not commute: first 1.5 x brightness, then half the contrast, and the reverse.
    bright = np.clip(1.5 * IMAGE.astype(float), 0, 255)
    weights = [0.2989, 0.587, 0.114]
    expected = 0.5 * bright + 0.5 * (bright @ weights).mean()
    np.testing.assert_allclose(jittered(order=(0, 1, 2, 3), brightness=1.5, contrast=0.5), expected, atol=0.01)
    low = 0.5 * IMAGE + 0.5 * (IMAGE @ weights).mean()
    expected = np.clip(1.5 * low, 0, 255)
    np.testing.assert_allclose(jittered(order=(3, 1, 2, 0), brightness=1.5, contrast=0.5), expected, atol=0.01)


def test_gray_agrees_with_pil():
    gray = np.asarray(PICTURE.convert("L")).astype(float)
    np.testing.assert_allclose(jittered(jitter=False, gray=True), np.stack([gray] * 3, -1), atol=0.6)


@pytest.mark.parametrize("sigma", [0.1, 0.6, 1.0, 2.0])
def test_blur_is_a_gaussian_with_the_border_repeated(sigma):
    offsets = np.arange(-6, 7)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    padded = np.pad(IMAGE.astype(float), ((6, 6), (6, 6), (0, 0)), mode="edge")
    rows = sum(w * padded[6 + d : 46 + d] for w, d in zip(weights, offsets, strict=True))
    expected = sum(w * rows[:, 6 + d : 56 + d] for w, d in zip(weights, offsets, strict=True))
    view = jittered(jitter=False, blur=True, sigma=sigma)
    np.testing.assert_allclose(view, expected, atol=1e-3)
    assert view.dtype == np.float32
    # PIL approximates a Gaussian by three box filters.
    assert abs(view - np.asarray(PICTURE.filter(ImageFilter.GaussianBlur(sigma))).astype(float)).mean() < 2.0


def test_blur_of_a_view_smaller_than_the_kernel_keeps_a_constant():
    flat = np.full((3, 4, 3), 100.0, np.float32)
    np.testing.assert_allclose(blur(flat, 2.0), flat, rtol=1e-6)


# Channel jitter.


def test_channels_have_factors_of_their_own():
    brightness = [0.5, 0.6, 0.8, 1.0, 1.2, 1.5]
    np.testing.assert_allclose(jittered_channels(SIX, brightness=brightness), SIX * np.float32(brightness), rtol=1e-6)
    contrast = np.float32([1.5, 1.0, 0.5, 0.7, 1.0, 1.1])
    mean = SIX.mean((0, 1), dtype=float)
    # Float32 of thousands: some results lie near 0.
    expected = mean + (SIX - mean) * contrast
    np.testing.assert_allclose(jittered_channels(SIX, contrast=contrast), expected, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("factor", [0.5, 1.5])
@pytest.mark.parametrize("name, kind", [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast)])
def test_one_channel_agrees_with_pil(name, kind, factor):
    expected = np.asarray(kind(Image.fromarray(GRAY[..., 0].astype(np.uint8))).enhance(factor)).astype(float)
    np.testing.assert_allclose(jittered_channels(GRAY, True, **{name: factor})[..., 0], expected, atol=1.6)


def test_only_bounded_images_are_clipped():
    image = np.full((4, 4, 1), 200.0, np.float32)
    assert jittered_channels(image, bounded=True, brightness=1.5).max() == 255.0
    assert jittered_channels(image, bounded=False, brightness=1.5).max() == pytest.approx(300.0)


def test_order_of_brightness_and_contrast_is_followed():
    image = np.zeros((2, 2, 1), np.float32)
    image[0] = 200.0  # mean 100
    # Brightness first: 300 is cut to 255, mean 127.5, half the contrast: 191.25 and 63.75.
    first = jittered_channels(image, True, brightness=1.5, contrast=0.5)
    np.testing.assert_allclose(first[:, 0, 0], [191.25, 63.75])
    # Contrast first: 150 and 50, then 225 and 75.
    second = jittered_channels(image, True, contrast_first=True, brightness=1.5, contrast=0.5)
    np.testing.assert_allclose(second[:, 0, 0], [225.0, 75.0])


# Random operations.


@pytest.mark.parametrize("magnitude", [0.0, 0.4, 0.99])
@pytest.mark.parametrize(
    ("operation", "in_pil"),
    [
        ("identity", lambda picture, m: picture),
        ("autocontrast", lambda picture, m: ImageOps.autocontrast(picture)),
        ("equalize", lambda picture, m: ImageOps.equalize(picture)),
        ("contrast", lambda picture, m: ImageEnhance.Contrast(picture).enhance(0.05 + 0.9 * m)),
        ("brightness", lambda picture, m: ImageEnhance.Brightness(picture).enhance(0.05 + 0.9 * m)),
        ("saturation", lambda picture, m: ImageEnhance.Color(picture).enhance(0.05 + 0.9 * m)),
        ("sharpness", lambda picture, m: ImageEnhance.Sharpness(picture).enhance(0.05 + 0.9 * m)),
        ("posterize", lambda picture, m: ImageOps.posterize(picture, int(4 + 4 * m))),
        ("solarize", lambda picture, m: ImageOps.solarize(picture, 1 + 255 * m)),
    ],
)
def test_operations_agree_with_pil(operation, in_pil, magnitude):
    view = operated(operation, magnitude=magnitude)
    # PIL truncates to whole levels, and rounds the gray it blends with.
    np.testing.assert_allclose(view, np.asarray(in_pil(PICTURE, magnitude)).astype(float), atol=1.6)
    assert view.dtype == np.float32


def test_blur_and_hue_are_those_of_the_jitter():
    np.testing.assert_array_equal(operated("blur", magnitude=0.9), blur(IMAGE, 0.1 + 1.9 * 0.9))
    np.testing.assert_array_equal(operated("hue", magnitude=0.7), jittered(order=(3,), hue=0.7 - 0.5))


def test_only_the_sampled_number_is_applied_in_their_order():
    places = tuple(OPERATIONS.index(name) for name in ("brightness", "solarize", "contrast"))
    first = strong_view(IMAGE, POLICIES["intensity"], OperationFactors(1, places, (0.5, 52.0, 0.3)))
    np.testing.assert_allclose(first, 0.5 * IMAGE, rtol=1e-5)
    second = strong_view(IMAGE, POLICIES["intensity"], OperationFactors(2, places, (0.5, 52.0, 0.3)))
    np.testing.assert_allclose(second, np.where(first < 52, first, 255 - first), rtol=1e-5)


# All policies.


def test_nothing_sampled_changes_nothing():
    np.testing.assert_array_equal(jittered(jitter=False, brightness=1.5, hue=0.2), IMAGE)
    np.testing.assert_array_equal(jittered_channels(SIX, jitter=False, brightness=0.5), SIX)


@pytest.mark.parametrize(
    "policy, image",
    [(POLICIES["jitter"], IMAGE), (POLICIES["intensity"], IMAGE), (ChannelJitter(1, bounded=True), GRAY)],
    ids=["jitter", "intensity", "channels"],
)
def test_flat_images_survive_and_the_weak_view_is_never_changed(policy, image):
    for each in (image, np.full((6, 7, image.shape[-1]), 90.0, np.float32)):
        before = each.copy()
        for n in range(60):
            view = strong_view(each, policy, policy.sample(np.random.default_rng(n)))
            assert np.isfinite(view).all() and view.min() >= 0 and view.max() <= 255.001
            assert view.dtype == np.float32 and view.shape == each.shape
        np.testing.assert_array_equal(each, before)
