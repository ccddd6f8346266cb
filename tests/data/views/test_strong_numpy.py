import colorsys
import dataclasses
import inspect

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy.stats import ks_2samp

from rankmatch_keras.data.views.strong_numpy import StrongAugmentation, StrongFactors

RNG = np.random.default_rng(0)
IMAGE = np.kron(RNG.integers(30, 226, (8, 10, 3)), np.ones((5, 5, 1))).astype(np.float32)  # 40 x 50
IMAGE[:10, :10] = 120.0  # grey: no hue
STRONG = StrongAugmentation()
NOTHING = StrongFactors(True, (0, 1, 2, 3), 1.0, 1.0, 1.0, 0.0, False, False, 1.0)


def apply(**factors):
    return STRONG.augment_image(IMAGE, NOTHING._replace(**factors))


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
    expected = np.asarray(kind(Image.fromarray(IMAGE.astype(np.uint8))).enhance(factor)).astype(float)
    # PIL truncates to whole levels, and rounds the grey it blends with.
    np.testing.assert_allclose(apply(**{name: factor}), expected, atol=1.6)


@pytest.mark.parametrize("hue", [-0.5, -0.25, -0.1, 0.1, 0.25])
def test_hue_turns_the_colour_circle(hue):
    expected = np.empty(IMAGE.shape)
    for place in np.ndindex(IMAGE.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*(IMAGE[place] / 255))
        expected[place] = colorsys.hsv_to_rgb((h + hue) % 1, s, v)
    np.testing.assert_allclose(apply(hue=hue), 255 * expected, atol=1e-3)


def test_order_matters_and_is_followed():
    # Both clip, so they do not commute: first 1.5 x brightness, then half the contrast, and the reverse.
    bright = np.clip(1.5 * IMAGE.astype(float), 0, 255)
    weights = [0.2989, 0.587, 0.114]
    expected = 0.5 * bright + 0.5 * (bright @ weights).mean()
    np.testing.assert_allclose(apply(order=(0, 1, 2, 3), brightness=1.5, contrast=0.5), expected, atol=0.01)
    low = 0.5 * IMAGE + 0.5 * (IMAGE @ weights).mean()
    expected = np.clip(1.5 * low, 0, 255)
    np.testing.assert_allclose(apply(order=(3, 1, 2, 0), brightness=1.5, contrast=0.5), expected, atol=0.01)


def test_nothing_drawn_changes_nothing_and_the_weak_view_is_never_changed():
    before = IMAGE.copy()
    np.testing.assert_array_equal(apply(jitter=False, brightness=1.5, hue=0.2), IMAGE)
    for n in range(20):
        STRONG.augment(IMAGE, np.random.default_rng(n))
    np.testing.assert_array_equal(IMAGE, before)


def test_same_generator_same_view():
    views = [STRONG.augment(IMAGE, np.random.default_rng(n)) for n in (1, 1, 2)]
    np.testing.assert_array_equal(views[0], views[1])
    assert abs(views[0] - views[2]).max() > 1


@pytest.fixture(scope="module")
def tf_strong():
    """The twin in TensorFlow: its layer, and one function of an image and of factors in NumPy."""
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("keras_cv")
    from rankmatch_keras.data.views import strong_keras_cv as strong

    layer = strong.StrongAugmentation()

    def augment(image, factors):
        types = (tf.bool, tf.int32, *[tf.float32] * 4, tf.bool, tf.bool, tf.float32)
        tensors = (tf.constant(value, dtype) for value, dtype in zip(factors, types, strict=True))
        return layer.augment_image(tf.constant(image), strong.StrongFactors(*tensors)).numpy()

    return layer, augment


CASES = {
    "brightness": {"brightness": 1.45},
    "dark": {"brightness": 0.55},
    "contrast": {"contrast": 1.4},
    "saturation": {"saturation": 0.3},
    "hue": {"hue": 0.21},
    "hue back": {"hue": -0.21},
    "all": {"order": (3, 1, 0, 2), "brightness": 1.3, "contrast": 0.7, "saturation": 1.5, "hue": 0.1},
    "grey": {"jitter": False, "grey": True},
    "faint blur": {"jitter": False, "blur": True, "sigma": 0.1},
    "blur": {"jitter": False, "blur": True, "sigma": 2.0},
}


@pytest.mark.parametrize("name", CASES)
def test_same_pixels_as_tf_data(tf_strong, name):
    factors = NOTHING._replace(**CASES[name])
    np.testing.assert_allclose(STRONG.augment_image(IMAGE, factors), tf_strong[1](IMAGE, factors), atol=1e-3)


def test_same_pixels_as_tf_data_whatever_is_drawn(tf_strong):
    for n in range(25):
        factors = STRONG.draw_factors(np.random.default_rng(n))
        np.testing.assert_allclose(STRONG.augment_image(IMAGE, factors), tf_strong[1](IMAGE, factors), atol=1e-3)


def test_factors_have_the_distribution_of_tf_data(tf_strong):
    import tensorflow as tf

    from rankmatch_keras.data.views.seeds_tensorflow import fold

    drawn = tf.data.Dataset.range(2000).map(lambda n: tf_strong[0].draw_factors(fold((1, 1), n))).batch(2000)
    theirs = StrongFactors(*(value.numpy() for value in next(iter(drawn))))
    drawn = [STRONG.draw_factors(np.random.default_rng(n)) for n in range(2000)]
    ours = StrongFactors(*map(np.array, zip(*drawn, strict=True)))
    for name in ("brightness", "contrast", "saturation", "hue", "sigma"):
        assert ks_2samp(getattr(ours, name), getattr(theirs, name)).pvalue > 1e-3, name
    for name, rate in (("jitter", 0.8), ("grey", 0.2), ("blur", 0.5)):
        # Five standard deviations of a share of 2000 draws: at most 0.056.
        np.testing.assert_allclose([getattr(f, name).mean() for f in (ours, theirs)], rate, atol=0.056)
    orders, counts = np.unique(ours.order, axis=0, return_counts=True)
    assert len(orders) == 24 and counts.min() > 40  # 83 expected of each
    numbers = [np.asarray(getattr(ours, name), float) for name in StrongFactors._fields if name != "order"]
    assert abs(np.corrcoef(numbers) - np.eye(len(numbers))).max() < 0.12


def test_ranges_are_those_of_tf_data(tf_strong):
    theirs = inspect.signature(type(tf_strong[0])).parameters
    assert {f.name: f.default for f in dataclasses.fields(STRONG)} == {
        name: parameter.default for name, parameter in theirs.items() if name != "kwargs"
    }
