"""Gaussian blur with PIL's border, on keras-cv's kernels."""

import keras_cv
import tensorflow as tf

MAX_RADIUS = 6  # Three times the largest sigma: what lies beyond weighs under 0.3 %.


class Blur:
    """Blurs one image; keras-cv's layer does the pixel work, the border pixel is repeated as in PIL."""

    def __init__(self):
        # The factor given here is never drawn.
        self._layer = keras_cv.layers.RandomGaussianBlur(2 * MAX_RADIUS + 1, factor=1.0)

    def __call__(self, image: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
        """Return float32 (H, W, C) blurred by a standard deviation of `sigma` pixels, at most 2."""
        # keras-cv pads with zeros, which would darken the border: repeat the border pixel, then cut.
        padded = _repeat_border(_repeat_border(image, 0), 1)
        weights = self._layer.get_kernel(sigma, 2 * MAX_RADIUS + 1)
        kernels = (weights[:, None, None, None], weights[None, :, None, None])
        blurred = self._layer.augment_image(padded, transformation=kernels)
        return blurred[MAX_RADIUS:-MAX_RADIUS, MAX_RADIUS:-MAX_RADIUS]


def _repeat_border(image: tf.Tensor, axis: int) -> tf.Tensor:
    size = tf.shape(image)[axis]
    places = tf.clip_by_value(tf.range(-MAX_RADIUS, size + MAX_RADIUS), 0, size - 1)
    return tf.gather(image, places, axis=axis)
