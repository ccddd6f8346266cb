"""TensorFlow and keras-cv make the pixels that NumPy makes, from the same random numbers."""

import functools

import numpy as np
import pytest

from rankmatch_keras.data.views import strong_numpy, weak_numpy
from rankmatch_keras.data.views.policies import (
    OPERATIONS,
    POLICIES,
    ChannelJitter,
    ColorJitter,
    JitterFactors,
    OperationFactors,
    strength,
)
from rankmatch_keras.data.views.sampling import WeakGeometry, sample_geometry

tf = pytest.importorskip("tensorflow")
keras_cv = pytest.importorskip("keras_cv")

from rankmatch_keras.data.views import weak_tensorflow  # noqa: E402
from rankmatch_keras.data.views.sampling_tensorflow import sample_in_graph  # noqa: E402
from rankmatch_keras.data.views.strong_keras_cv import strong_view_layer  # noqa: E402

RNG = np.random.default_rng(0)
BLOCKS = np.kron(RNG.integers(0, 256, (9, 13, 3)), np.ones((4, 4, 1))).astype(np.uint8)  # 36 x 52
MASK = np.kron(RNG.integers(0, 5, (9, 13)), np.ones((4, 4))).astype(np.int32)
BANDS = RNG.uniform(100, 4000, (37, 23, 6)).astype(np.float32)
IMAGE = np.kron(RNG.integers(30, 226, (8, 10, 3)), np.ones((5, 5, 1))).astype(np.float32)  # 40 x 50
IMAGE[:10, :10] = 120.0  # gray: no hue
GRAY = np.kron(RNG.integers(0, 256, (6, 8, 1)), np.ones((5, 5, 1))).astype(np.float32)
NOTHING = JitterFactors(True, (0, 1, 2, 3), 1.0, 1.0, 1.0, 0.0, False, False, 1.0)


def tensors(nest):
    """Numbers as the graph has them: float32 instead of Python's floats."""
    return tf.nest.map_structure(lambda leaf: tf.constant(np.float32(leaf) if type(leaf) is float else leaf), nest)


# Random numbers in the graph.


def test_sampled_numbers_enter_the_graph_with_types_and_shapes():
    policy = ChannelJitter(4, bounded=False)

    def sample(n):
        return (policy.sample(np.random.default_rng(int(n))), np.arange(n, n + 2))

    dataset = tf.data.Dataset.range(6).map(lambda n: sample_in_graph(sample, [n], [0]), num_parallel_calls=2)
    factors, numbers = dataset.element_spec
    assert type(factors).__name__ == "ChannelFactors" and numbers == tf.TensorSpec((2,), tf.int32)
    assert (factors.jitter, factors.sigma) == (tf.TensorSpec((), tf.bool), tf.TensorSpec((), tf.float32))
    assert factors.brightness == tf.TensorSpec((4,), tf.float32)
    for n, (made, numbers) in enumerate(dataset):
        expected = sample(n)
        assert numbers.numpy().tolist() == [n, n + 1] and bool(made.jitter) == expected[0].jitter
        np.testing.assert_array_equal(made.contrast, expected[0].contrast)
        np.testing.assert_allclose(made.sigma, expected[0].sigma, rtol=1e-7)


# Weak views.

CASES = [
    (36, 52, 0, 0, False, (36, 52)),
    (36, 52, 3, 9, True, (20, 24)),
    (18, 26, 0, 0, False, (40, 40)),  # padded below and right
    (18, 26, 0, 5, True, (24, 20)),  # padded below
    (72, 104, 11, 30, False, (33, 47)),
    (57, 83, 20, 0, True, (37, 90)),
    (25, 37, 1, 2, False, (21, 21)),
    (9, 5, 0, 0, True, (10, 7)),  # four times smaller, and ten
    (1, 1, 0, 0, False, (3, 2)),
]


def weak_images(image, numbers, crop):
    geometry = WeakGeometry(*numbers)
    view = weak_tensorflow.weak_image(tf.constant(image), tensors(geometry), crop)
    assert view.dtype == tf.float32
    return weak_numpy.weak_image(image, geometry, crop), view


@pytest.mark.parametrize("case", CASES)
def test_weak_views(case):
    *numbers, crop = case
    np.testing.assert_allclose(*weak_images(BLOCKS, numbers, crop), atol=1e-3)
    geometry = WeakGeometry(*numbers)
    mask = weak_tensorflow.weak_mask(tf.constant(MASK), tensors(geometry), crop)
    np.testing.assert_array_equal(weak_numpy.weak_mask(MASK, geometry, crop), mask)
    valid = weak_tensorflow.valid_area(tensors(geometry), crop)
    np.testing.assert_array_equal(weak_numpy.valid_area(geometry, crop), valid)
    assert (mask.dtype, valid.dtype) == (tf.int32, tf.bool)


@pytest.mark.parametrize("numbers, crop", [((50, 31, 7, 2, True), (30, 40)), ((20, 12, 0, 0, False), (24, 10))])
def test_weak_views_of_other_images(numbers, crop):
    np.testing.assert_allclose(*weak_images(BANDS, numbers, crop), rtol=1e-5, atol=0.02)


@pytest.mark.parametrize("height, tolerance", [(200, 1e-3), (800, 1e-3), (563, 0.02)])
def test_weak_views_of_large_images(height, tolerance):
    # TensorFlow computes places in float32: beyond 256 pixels they are 3e-5 off, which times 255 levels between
    # neighbors is 0.008 a tap. Where old / new is a power of two nothing is rounded.
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 1), dtype=np.uint8)
    numbers = (height, height, height - 150, height - 90, False)
    np.testing.assert_allclose(*weak_images(noise, numbers, (120, 60)), atol=tolerance)


def test_weak_views_in_map_are_those_of_eager_calls():
    def view(geometry):
        return weak_tensorflow.weak_image(tf.constant(BLOCKS), geometry, (24, 28)), weak_tensorflow.weak_mask(
            tf.constant(MASK), geometry, (24, 28)
        )

    def sample(n):
        return sample_geometry(np.random.default_rng(int(n)), (36, 52), (24, 28))

    mapped = tf.data.Dataset.range(6).map(lambda n: view(sample_in_graph(sample, [n], [0])), num_parallel_calls=2)
    assert mapped.element_spec[0].shape == (24, 28, 3) and mapped.element_spec[1].shape == (24, 28)
    for n, (image, mask) in enumerate(mapped):
        eager_image, eager_mask = view(tensors(sample(n)))
        np.testing.assert_allclose(image, eager_image, atol=1e-3)
        np.testing.assert_array_equal(mask, eager_mask)


# Strong views.


@functools.cache
def traced(policy):
    return tf.function(strong_view_layer(policy).augment_image, autograph=False)


def assert_twins(image, policy, factors, **tolerance):
    expected = strong_numpy.strong_view(image, policy, factors)
    view = traced(policy)(tf.constant(image), tensors(factors))
    np.testing.assert_allclose(view, expected, **tolerance)
    assert view.shape == image.shape


@pytest.mark.parametrize(
    "factors",
    [
        {"brightness": 1.45},
        {"brightness": 0.55},
        {"contrast": 1.4},
        {"saturation": 0.3},
        {"hue": 0.21},
        {"hue": -0.21},
        {"order": (3, 1, 0, 2), "brightness": 1.3, "contrast": 0.7, "saturation": 1.5, "hue": 0.1},
        {"jitter": False, "gray": True},
        {"jitter": False, "blur": True, "sigma": 0.1},
        {"jitter": False, "blur": True, "sigma": 2.0},
    ],
    ids=str,
)
def test_single_jitters(factors):
    assert_twins(IMAGE, POLICIES["jitter"], NOTHING._replace(**factors), atol=1e-3)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_single_operations(operation):
    for magnitude in (0.1, 0.7):
        places = (OPERATIONS.index(operation), 0, 0)
        factors = OperationFactors(1, places, (strength(operation, magnitude), 0.0, 0.0))
        assert_twins(IMAGE, POLICIES["intensity"], factors, atol=2e-3)
    assert_twins(np.full((40, 50, 3), 90.0, np.float32), POLICIES["intensity"], factors, atol=2e-3)


@pytest.mark.parametrize(
    "policy, image",
    [
        *((POLICIES[name], IMAGE) for name in ("jitter", "light_jitter", "soft_jitter")),
        (ChannelJitter(1, bounded=True), GRAY),
        (ChannelJitter(6, bounded=False), BANDS),
    ],
    ids=["jitter", "light_jitter", "soft_jitter", "gray", "six bands"],
)
def test_whatever_a_jitter_samples(policy, image):
    for n in range(25):
        assert_twins(image, policy, policy.sample(np.random.default_rng(n)), rtol=1e-6, atol=1e-3)


def test_whatever_the_random_operations_sample():
    # Rounding decides on which side of a step of solarize, posterize or equalize a level falls.
    policy = POLICIES["intensity"]
    differences = []
    for n in range(40):
        factors = policy.sample(np.random.default_rng(n))
        view = traced(policy)(tf.constant(IMAGE), tensors(factors))
        differences.append(abs(view - strong_numpy.strong_view(IMAGE, policy, factors)).numpy())
    assert (np.array(differences) < 3e-3).mean() > 0.999


def test_blur_of_a_view_smaller_than_its_kernel():
    small = np.full((3, 4, 3), 100.0, np.float32)
    factors = NOTHING._replace(jitter=False, blur=True, sigma=2.0)
    assert_twins(small, POLICIES["jitter"], factors, rtol=1e-5)
    view = traced(POLICIES["jitter"])(tf.constant(small), tensors(factors))
    np.testing.assert_allclose(view, small, rtol=1e-5)  # a constant stays, the border included


@pytest.mark.parametrize("hue", [-0.25, 0.1])
def test_hue_agrees_with_keras_cv(hue):
    layer = keras_cv.layers.RandomHue(factor=0.5, value_range=(0, 255))
    expected = layer.augment_images(tf.constant(IMAGE), transformations=tf.constant(hue))
    view = traced(POLICIES["jitter"])(tf.constant(IMAGE), tensors(NOTHING._replace(hue=hue)))
    np.testing.assert_allclose(view, expected, atol=0.01)


def test_works_as_a_keras_cv_layer():
    policy = ColorJitter(jitter_probability=0.0, gray_probability=1.0, blur_probability=0.0)
    layer = strong_view_layer(policy)
    assert isinstance(layer, keras_cv.layers.BaseImageAugmentationLayer)
    view = np.asarray(layer(tf.constant(IMAGE)))
    np.testing.assert_allclose(view[..., 0], IMAGE @ [0.2989, 0.587, 0.114], atol=0.01)
