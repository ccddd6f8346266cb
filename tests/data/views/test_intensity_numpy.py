import dataclasses
import inspect

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy.stats import ks_2samp

from rankmatch_keras.data.views.intensity_numpy import IntensityAugmentation, IntensityFactors

RNG = np.random.default_rng(0)
SIX = RNG.uniform(100, 4000, (20, 24, 6)).astype(np.float32)
GREY = np.kron(RNG.integers(0, 256, (6, 8, 1)), np.ones((5, 5, 1))).astype(np.float32)


def factors(channels, jitter=True, contrast_first=False, brightness=1.0, contrast=1.0, blur=False, sigma=1.0):
    per_channel = [np.broadcast_to(np.float32(value), (channels,)) for value in (brightness, contrast)]
    return IntensityFactors(jitter, contrast_first, *per_channel, blur, sigma)


def apply(image, bounded=False, **kwargs):
    layer = IntensityAugmentation(image.shape[-1], bounded)
    return layer.augment_image(image, factors(image.shape[-1], **kwargs))


def test_channels_have_factors_of_their_own():
    brightness = [0.5, 0.6, 0.8, 1.0, 1.2, 1.5]
    np.testing.assert_allclose(apply(SIX, brightness=brightness), SIX * np.float32(brightness), rtol=1e-6)
    contrast = np.float32([1.5, 1.0, 0.5, 0.7, 1.0, 1.1])
    mean = SIX.mean((0, 1), dtype=float)
    # Float32 of thousands: some results lie near 0.
    np.testing.assert_allclose(apply(SIX, contrast=contrast), mean + (SIX - mean) * contrast, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("factor", [0.5, 1.5])
@pytest.mark.parametrize("name, kind", [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast)])
def test_one_channel_agrees_with_pil(name, kind, factor):
    expected = np.asarray(kind(Image.fromarray(GREY[..., 0].astype(np.uint8))).enhance(factor)).astype(float)
    np.testing.assert_allclose(apply(GREY, True, **{name: factor})[..., 0], expected, atol=1.6)


def test_only_bounded_images_are_clipped():
    image = np.full((4, 4, 1), 200.0, np.float32)
    assert apply(image, bounded=True, brightness=1.5).max() == 255.0
    assert apply(image, bounded=False, brightness=1.5).max() == pytest.approx(300.0)


def test_order_matters_and_is_followed():
    image = np.zeros((2, 2, 1), np.float32)
    image[0] = 200.0  # mean 100
    # Brightness first: 300 is cut to 255, mean 127.5, half the contrast: 191.25 and 63.75.
    first = apply(image, True, brightness=1.5, contrast=0.5)
    np.testing.assert_allclose(first[:, 0, 0], [191.25, 63.75])
    # Contrast first: 150 and 50, then 225 and 75.
    second = apply(image, True, contrast_first=True, brightness=1.5, contrast=0.5)
    np.testing.assert_allclose(second[:, 0, 0], [225.0, 75.0])


def test_nothing_drawn_changes_nothing_and_the_weak_view_is_never_changed():
    np.testing.assert_array_equal(apply(SIX, jitter=False, brightness=0.5), SIX)
    before = GREY.copy()
    for n in range(20):
        IntensityAugmentation(1, bounded=True).augment(GREY, np.random.default_rng(n))
    np.testing.assert_array_equal(GREY, before)


def tf_layer(channels, bounded):
    pytest.importorskip("tensorflow")
    pytest.importorskip("keras_cv")
    from rankmatch_keras.data.views.intensity_keras_cv import IntensityAugmentation as Twin

    return Twin(channels, bounded)


@pytest.mark.parametrize("image, bounded", [(GREY, True), (SIX, False)], ids=["grey", "six bands"])
def test_same_pixels_as_tf_data_whatever_is_drawn(image, bounded):
    twin = tf_layer(image.shape[-1], bounded)
    import tensorflow as tf

    from rankmatch_keras.data.views.intensity_keras_cv import IntensityFactors as TwinFactors

    layer = IntensityAugmentation(image.shape[-1], bounded)
    kinds = set()
    for n in range(15):
        drawn = layer.draw_factors(np.random.default_rng(n))
        kinds.add((drawn.jitter, drawn.contrast_first, drawn.blur))
        types = (tf.bool, tf.bool, tf.float32, tf.float32, tf.bool, tf.float32)
        tensors = TwinFactors(*(tf.constant(value, dtype) for value, dtype in zip(drawn, types, strict=True)))
        expected = twin.augment_image(tf.constant(image), tensors)
        np.testing.assert_allclose(layer.augment_image(image, drawn), expected, rtol=1e-6, atol=1e-3)
    assert len(kinds) >= 6


def test_factors_have_the_distribution_of_tf_data():
    twin = tf_layer(3, bounded=False)
    import tensorflow as tf

    from rankmatch_keras.data.views.seeds_tensorflow import fold

    layer = IntensityAugmentation(3, bounded=False)
    drawn = tf.data.Dataset.range(1500).map(lambda n: twin.draw_factors(fold((1, 1), n))).batch(1500)
    theirs = IntensityFactors(*(value.numpy() for value in next(iter(drawn))))
    drawn = [layer.draw_factors(np.random.default_rng(n)) for n in range(1500)]
    ours = IntensityFactors(*map(np.array, zip(*drawn, strict=True)))
    for name in ("brightness", "contrast"):
        for channel in range(3):
            values = [getattr(f, name)[:, channel] for f in (ours, theirs)]
            assert ks_2samp(*values).pvalue > 1e-3, name
    assert ks_2samp(ours.sigma, theirs.sigma).pvalue > 1e-3
    for name, rate in (("jitter", 0.8), ("contrast_first", 0.5), ("blur", 0.5)):
        # Five standard deviations of a share of 1500 draws: at most 0.065.
        np.testing.assert_allclose([getattr(f, name).mean() for f in (ours, theirs)], rate, atol=0.065)
    numbers = [*ours.brightness.T, *ours.contrast.T, ours.sigma, ours.jitter, ours.blur, ours.contrast_first]
    assert abs(np.corrcoef(numbers) - np.eye(len(numbers))).max() < 0.13  # all are independent


def test_ranges_are_those_of_tf_data():
    theirs = inspect.signature(type(tf_layer(1, True))).parameters
    ranges = {
        f.name: f.default for f in dataclasses.fields(IntensityAugmentation) if f.default is not dataclasses.MISSING
    }
    assert ranges and ranges == {name: theirs[name].default for name in ranges}
