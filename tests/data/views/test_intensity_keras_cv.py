import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance

from rankmatch_keras.data.views.intensity_keras_cv import IntensityAugmentation, IntensityFactors
from rankmatch_keras.data.views.seeds_tensorflow import fold

RNG = np.random.default_rng(0)
SIX = RNG.uniform(100, 4000, (20, 24, 6)).astype("float32")


def factors(channels, jitter=True, contrast_first=False, brightness=1.0, contrast=1.0, blur=False, sigma=1.0):
    def per_channel(value):
        return tf.constant(np.broadcast_to(np.float32(value), (channels,)))

    return IntensityFactors(
        tf.constant(jitter),
        tf.constant(contrast_first),
        per_channel(brightness),
        per_channel(contrast),
        tf.constant(blur),
        tf.constant(sigma),
    )


def apply(image, bounded=False, **kwargs):
    layer = IntensityAugmentation(image.shape[-1], bounded)
    return layer.augment_image(tf.constant(image, tf.float32), factors(image.shape[-1], **kwargs)).numpy()


def test_channels_have_factors_of_their_own():
    brightness = [0.5, 0.6, 0.8, 1.0, 1.2, 1.5]
    np.testing.assert_allclose(apply(SIX, brightness=brightness), SIX * np.float32(brightness), rtol=1e-6)
    contrast = np.float32([1.5, 1.0, 0.5, 0.7, 1.0, 1.1])
    mean = SIX.mean((0, 1))
    np.testing.assert_allclose(apply(SIX, contrast=contrast), mean + (SIX - mean) * contrast, rtol=1e-4)


@pytest.mark.parametrize("factor", [0.5, 1.5])
@pytest.mark.parametrize("name, kind", [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast)])
def test_one_channel_agrees_with_pil(name, kind, factor):
    grey = RNG.integers(0, 256, (30, 40)).astype(np.uint8)
    expected = np.asarray(kind(Image.fromarray(grey)).enhance(factor)).astype(float)
    np.testing.assert_allclose(apply(grey[..., None], True, **{name: factor})[..., 0], expected, atol=1.6)


def test_only_bounded_images_are_clipped():
    image = np.full((4, 4, 1), 200.0, "float32")
    assert apply(image, bounded=True, brightness=1.5).max() == 255.0
    assert apply(image, bounded=False, brightness=1.5).max() == pytest.approx(300.0)


def test_order_matters_and_is_followed():
    image = np.zeros((2, 2, 1), "float32")
    image[0] = 200.0  # mean 100
    # Brightness first: 300 is cut to 255, mean 127.5, half the contrast: 191.25 and 63.75.
    first = apply(image, True, brightness=1.5, contrast=0.5)
    np.testing.assert_allclose(first[:, 0, 0], [191.25, 63.75])
    # Contrast first: 150 and 50, then 225 and 75.
    second = apply(image, True, contrast_first=True, brightness=1.5, contrast=0.5)
    np.testing.assert_allclose(second[:, 0, 0], [225.0, 75.0])


def test_nothing_drawn_changes_nothing():
    np.testing.assert_array_equal(apply(SIX, jitter=False, brightness=0.5), SIX)


def test_blur_keeps_flat_images_and_their_border():
    flat = np.full((9, 11, 6), 1234.5, "float32")
    np.testing.assert_allclose(apply(flat, jitter=False, blur=True, sigma=2.0), flat, rtol=1e-5)
    assert apply(SIX, jitter=False, blur=True).std() < SIX.std() / 2


def test_distribution_of_the_factors():
    layer = IntensityAugmentation(4, bounded=False)
    drawn = [layer.draw_factors(fold((0, 0), n)) for n in range(400)]
    assert np.mean([f.jitter for f in drawn]) == pytest.approx(0.8, abs=0.06)
    assert np.mean([f.blur for f in drawn]) == pytest.approx(0.5, abs=0.08)
    assert np.mean([f.contrast_first for f in drawn]) == pytest.approx(0.5, abs=0.08)
    for name in ("brightness", "contrast"):
        values = np.stack([getattr(f, name) for f in drawn])
        assert values.shape == (400, 4)
        assert values.min() >= 0.5 and values.max() <= 1.5
        assert values.mean() == pytest.approx(1.0, abs=0.05)
        assert abs(np.corrcoef(values.T)[0, 1]) < 0.15  # channels are independent
    sigma = np.array([f.sigma for f in drawn])
    assert sigma.min() >= 0.1 and sigma.max() <= 2.0


def test_same_seed_same_view():
    layer = IntensityAugmentation(6, bounded=False)
    views = [layer.augment(tf.constant(SIX), fold((1, 2), n)).numpy() for n in (3, 3, 4)]
    np.testing.assert_array_equal(views[0], views[1])
    assert (views[0] != views[2]).any()
