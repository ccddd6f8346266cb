import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from scipy.stats import ks_2samp

from rankmatch_keras.data.views.policies import INTENSITIES, OPERATIONS
from rankmatch_keras.data.views.random_intensity_numpy import RandomIntensityAugmentation, RandomIntensityFactors

RNG = np.random.default_rng(0)
IMAGE = np.kron(RNG.integers(30, 200, (8, 10, 3)), np.ones((5, 5, 1))).astype(np.float32)  # 40 x 50
PICTURE = Image.fromarray(IMAGE.astype(np.uint8))
LAYER = RandomIntensityAugmentation()


def factors(*operations, magnitude=0.4):
    places = [OPERATIONS.index(name) for name in operations]
    return RandomIntensityFactors(len(places), tuple([*places, 0, 0][:3]), (magnitude, 0.8, 0.1))


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
def test_agrees_with_pil(operation, in_pil, magnitude):
    view = LAYER.augment_image(IMAGE, factors(operation, magnitude=magnitude))
    # PIL truncates to whole levels, and rounds the grey it blends with.
    np.testing.assert_allclose(view, np.asarray(in_pil(PICTURE, magnitude)).astype(float), atol=1.6)
    assert view.dtype == np.float32


def test_blur_is_pils():
    view = LAYER.augment_image(IMAGE, factors("blur", magnitude=0.9))
    blurred = np.asarray(PICTURE.filter(ImageFilter.GaussianBlur(0.1 + 1.9 * 0.9))).astype(float)
    assert abs(view - blurred).mean() < 2.0  # PIL approximates a Gaussian by three box filters


def test_only_the_drawn_number_is_applied_in_their_order():
    places = tuple(OPERATIONS.index(name) for name in ("brightness", "solarize", "contrast"))
    first = LAYER.augment_image(IMAGE, RandomIntensityFactors(1, places, (0.5, 0.2, 0.3)))
    np.testing.assert_allclose(first, 0.5 * IMAGE, rtol=1e-5)
    second = LAYER.augment_image(IMAGE, RandomIntensityFactors(2, places, (0.5, 0.2, 0.3)))
    np.testing.assert_allclose(second, np.where(first < 52, first, 255 - first), rtol=1e-5)


def test_a_flat_image_survives_everything_and_the_weak_view_is_never_changed():
    for image in (np.full((6, 7, 3), 90.0, np.float32), IMAGE):
        before = image.copy()
        for n in range(60):
            view = LAYER.augment(image, np.random.default_rng(n))
            assert np.isfinite(view).all() and view.min() >= 0 and view.max() <= 255.001
            assert view.dtype == np.float32 and view.shape == image.shape
        np.testing.assert_array_equal(image, before)


@pytest.fixture(scope="module")
def twin():
    """The twin in TensorFlow: its layer, and a function of an image and of factors in NumPy."""
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("keras_cv")
    from rankmatch_keras.data.views import random_intensity_keras_cv as random_intensity

    layer = random_intensity.RandomIntensityAugmentation()

    @tf.function(autograph=False)
    def augment(image, *values):
        return layer.augment_image(image, random_intensity.RandomIntensityFactors(*values))

    types = (tf.int32, tf.int32, tf.float32)

    def run(image, f):
        return augment(tf.constant(image), *(tf.constant(v, t) for v, t in zip(f, types, strict=True)))

    return layer, run


@pytest.mark.parametrize("operation", OPERATIONS)
def test_same_pixels_as_tf_data(twin, operation):
    for magnitude in (0.1, 0.7):
        f = factors(operation, magnitude=magnitude)
        np.testing.assert_allclose(LAYER.augment_image(IMAGE, f), twin[1](IMAGE, f), atol=2e-3)
    flat = np.full((40, 50, 3), 90.0, np.float32)
    np.testing.assert_allclose(LAYER.augment_image(flat, f), twin[1](flat, f), atol=2e-3)


def test_factors_have_the_distribution_of_tf_data(twin):
    import tensorflow as tf

    from rankmatch_keras.data.views.seeds_tensorflow import fold

    drawn = tf.data.Dataset.range(2000).map(lambda n: twin[0].draw_factors(fold((1, 1), n))).batch(2000)
    theirs = [value.numpy() for value in next(iter(drawn))]
    drawn = [LAYER.draw_factors(np.random.default_rng(n)) for n in range(2000)]
    ours = [np.array(values) for values in zip(*drawn, strict=True)]
    for count, operations, magnitudes in (theirs, ours):
        # Five standard deviations of a share of 2000 and of 6000 draws.
        np.testing.assert_allclose(np.bincount(count, minlength=4) / 2000, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.053)
        np.testing.assert_allclose(np.bincount(operations.ravel()) / 6000, np.full(11, 1 / 11), atol=0.019)
        np.testing.assert_allclose(np.quantile(magnitudes, [0, 0.5, 1]), [0, 0.5, 1], atol=0.03)
        numbers = np.concatenate([count[:, None], operations, magnitudes], axis=1)
        assert abs(np.corrcoef(numbers.T) - np.eye(7)).max() < 0.12
    assert ks_2samp(ours[2].ravel(), theirs[2].ravel()).pvalue > 1e-3


@pytest.mark.parametrize("policy", INTENSITIES)
def test_number_of_operations_of_a_policy(policy):
    layer = RandomIntensityAugmentation(*INTENSITIES[policy])
    counts = {layer.draw_factors(np.random.default_rng(n)).number for n in range(50)}
    assert counts == set(range(INTENSITIES[policy][0], INTENSITIES[policy][1] + 1))
