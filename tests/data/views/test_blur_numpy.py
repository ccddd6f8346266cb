import numpy as np
import pytest

from rankmatch_keras.data.views.blur_numpy import blur

IMAGE = np.random.default_rng(0).uniform(0, 255, (18, 23, 4)).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.1, 0.6, 1.0, 2.0])
def test_is_a_gaussian_with_the_border_repeated(sigma):
    offsets = np.arange(-6, 7)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    padded = np.pad(IMAGE.astype(float), ((6, 6), (6, 6), (0, 0)), mode="edge")
    rows = sum(w * padded[6 + d : 24 + d] for w, d in zip(weights, offsets, strict=True))
    expected = sum(w * rows[:, 6 + d : 29 + d] for w, d in zip(weights, offsets, strict=True))
    blurred = blur(IMAGE, sigma)
    np.testing.assert_allclose(blurred, expected, atol=1e-3)
    assert blurred.dtype == np.float32


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
@pytest.mark.parametrize("shape", [(18, 23, 4), (3, 4, 1)])
def test_same_pixels_as_tf_data(sigma, shape):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("keras_cv")
    from rankmatch_keras.data.views.blur_keras_cv import Blur

    image = IMAGE[: shape[0], : shape[1], : shape[2]]
    np.testing.assert_allclose(blur(image, sigma), Blur()(tf.constant(image), tf.constant(sigma)), atol=1e-3)


def test_a_view_smaller_than_the_kernel_keeps_a_constant():
    flat = np.full((3, 4, 3), 100.0, np.float32)
    np.testing.assert_allclose(blur(flat, 2.0), flat, rtol=1e-6)
