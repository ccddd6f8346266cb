import colorsys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageFilter

from rankmatch_keras.data.views.seeds_tensorflow import fold
from rankmatch_keras.data.views.strong_keras_cv import StrongAugmentation, StrongFactors

RNG = np.random.default_rng(0)
IMAGE = np.kron(RNG.integers(30, 226, (8, 10, 3)), np.ones((5, 5, 1))).astype(np.uint8)  # 40 x 50
STRONG = StrongAugmentation()


def factors(order=(0, 1, 2, 3), jitter=True, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0, **others):
    values = {"grey": False, "blur": False, "sigma": 1.0} | others
    return StrongFactors(
        tf.constant(jitter),
        tf.constant(order),
        *(tf.constant(v, tf.float32) for v in (brightness, contrast, saturation, hue)),
        *(tf.constant(values[name]) for name in ("grey", "blur", "sigma")),
    )


def apply(**kwargs):
    return STRONG.augment_image(tf.constant(IMAGE, tf.float32), factors(**kwargs)).numpy()


def enhanced(kind, factor, image=IMAGE):
    return np.asarray(kind(Image.fromarray(image)).enhance(factor)).astype(float)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.5])
@pytest.mark.parametrize(
    "name, kind",
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_agrees_with_pil(name, kind, factor):
    # PIL truncates to whole levels, and rounds the grey it blends with.
    np.testing.assert_allclose(apply(**{name: factor}), enhanced(kind, factor), atol=1.6)


@pytest.mark.parametrize("hue", [-0.25, -0.1, 0.1, 0.25])
def test_hue_turns_the_colour_circle(hue):
    expected = np.empty(IMAGE.shape)
    for place in np.ndindex(IMAGE.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*(IMAGE[place] / 255))
        expected[place] = colorsys.hsv_to_rgb((h + hue) % 1, s, v)
    np.testing.assert_allclose(apply(hue=hue), 255 * expected, atol=0.01)


@pytest.mark.parametrize("hue", [-0.25, 0.1])
def test_hue_agrees_with_keras_cv(hue):
    import keras_cv

    layer = keras_cv.layers.RandomHue(factor=0.5, value_range=(0, 255))
    image = tf.constant(IMAGE, tf.float32)
    expected = layer.augment_images(image, transformations=tf.constant(hue))
    np.testing.assert_allclose(apply(hue=hue), expected, atol=0.01)


def test_order_matters_and_is_followed():
    # Both clip, so they do not commute: first 1.5 x brightness, then half the contrast, and the reverse.
    bright = np.clip(1.5 * IMAGE.astype(float), 0, 255)
    weights = [0.2989, 0.587, 0.114]
    expected = 0.5 * bright + 0.5 * (bright @ weights).mean()
    np.testing.assert_allclose(apply(order=(0, 1, 2, 3), brightness=1.5, contrast=0.5), expected, atol=0.01)
    low = 0.5 * IMAGE + 0.5 * (IMAGE @ weights).mean()
    expected = np.clip(1.5 * low, 0, 255)
    np.testing.assert_allclose(apply(order=(3, 1, 2, 0), brightness=1.5, contrast=0.5), expected, atol=0.01)


def test_grey():
    grey = np.asarray(Image.fromarray(IMAGE).convert("L")).astype(float)
    view = apply(jitter=False, grey=True)
    np.testing.assert_allclose(view, np.stack([grey] * 3, -1), atol=0.6)


@pytest.mark.parametrize("sigma", [0.1, 0.6, 1.0, 2.0])
def test_blur(sigma):
    view = apply(jitter=False, blur=True, sigma=sigma)
    offsets = np.arange(-6, 7)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    padded = np.pad(IMAGE.astype(float), ((6, 6), (6, 6), (0, 0)), mode="edge")
    rows = sum(w * padded[6 + d : 46 + d] for w, d in zip(weights, offsets, strict=True))
    expected = sum(w * rows[:, 6 + d : 56 + d] for w, d in zip(weights, offsets, strict=True))
    np.testing.assert_allclose(view, expected, atol=0.01)
    # PIL approximates a Gaussian by three box filters.
    pil = np.asarray(Image.fromarray(IMAGE).filter(ImageFilter.GaussianBlur(sigma))).astype(float)
    assert abs(view - pil).mean() < 2.0


def test_blur_of_a_view_smaller_than_its_kernel():
    small = tf.fill((3, 4, 3), 100.0)
    blurred = STRONG.augment_image(small, factors(jitter=False, blur=True, sigma=2.0))
    np.testing.assert_allclose(blurred, small, rtol=1e-5)  # a constant stays, the border included


def test_nothing_drawn_changes_nothing():
    np.testing.assert_array_equal(apply(jitter=False, brightness=1.5, hue=0.2), IMAGE)


def test_distribution_of_factors():
    drawn = tf.data.Dataset.range(2000).map(lambda n: STRONG.draw_factors(fold((1, 1), n))).batch(2000)
    f = StrongFactors(*(v.numpy() for v in next(iter(drawn))))
    for values, low, high in [
        (f.brightness, 0.5, 1.5),
        (f.contrast, 0.5, 1.5),
        (f.saturation, 0.5, 1.5),
        (f.hue, -0.25, 0.25),
        (f.sigma, 0.1, 2.0),
    ]:
        quantiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(quantiles, np.linspace(low, high, 5), atol=0.05 * (high - low))
    # Five standard deviations of a share of 2000 draws: at most 0.056.
    np.testing.assert_allclose([f.jitter.mean(), f.grey.mean(), f.blur.mean()], [0.8, 0.2, 0.5], atol=0.056)
    orders, counts = np.unique(f.order, axis=0, return_counts=True)
    assert len(orders) == 24 and counts.min() > 40  # 83 expected of each
    assert abs(np.corrcoef([f.brightness, f.contrast, f.saturation, f.hue, f.sigma]) - np.eye(5)).max() < 0.12


def test_same_seed_same_view_eagerly_and_in_map():
    image = tf.constant(IMAGE, tf.float32)
    mapped = tf.data.Dataset.range(8).map(lambda n: STRONG.augment(image, fold((0, 1), n)), num_parallel_calls=2)
    assert mapped.element_spec.shape == IMAGE.shape
    views = np.stack(list(mapped))
    eager = np.stack([STRONG.augment(image, fold((0, 1), n)) for n in range(8)])
    np.testing.assert_allclose(views, eager, atol=0.01)
    assert views.min() >= 0 and views.max() <= 255.001
    assert len({view.tobytes() for view in views}) >= 6  # now and then nothing is drawn


def test_works_as_a_keras_cv_layer():
    view = StrongAugmentation(jitter_probability=0.0, grey_probability=1.0, blur_probability=0.0)(
        tf.constant(IMAGE, tf.float32)
    )
    view = np.asarray(view)
    np.testing.assert_allclose(view[..., 0], IMAGE @ [0.2989, 0.587, 0.114], atol=0.01)
