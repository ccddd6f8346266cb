"""The strong view of 8-bit colour images by a few random operations on their intensities (METHODS: AugSeg, A1).

The meaning of the magnitudes is PIL's. keras-cv does the pixel work where its operation is PIL's: its equalisation
takes another step between levels and needs AutoGraph, and its posterisation knows one number of bits.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras_cv
import tensorflow as tf

from rankmatch_keras.data.views.blur_keras_cv import Blur
from rankmatch_keras.data.views.policies import OPERATIONS
from rankmatch_keras.data.views.seeds_tensorflow import below, between, uniform
from rankmatch_keras.data.views.strong_keras_cv import blend, grey

MOST = 3  # operations of one view


class RandomIntensityFactors(NamedTuple):
    """All that is random about one strong view."""

    number: tf.Tensor  # int32: how many of the following are applied
    operations: tf.Tensor  # int32 (3,): places in OPERATIONS
    magnitudes: tf.Tensor  # float32 (3,): 0 up to 1, over each operation's range


class RandomIntensityAugmentation(keras_cv.layers.BaseImageAugmentationLayer):
    """Applies a random number of operations, drawn with replacement, with random magnitudes, from a seed.

    A keras-cv augmentation layer; the pipeline calls `augment(image, seed)`.

    Args:
        least: smallest number of operations, at least 0.
        most: largest number of operations, at most 3.
    """

    def __init__(self, least: int = 1, most: int = MOST, **kwargs):
        super().__init__(**kwargs)
        self.least = least
        self.most = most
        self._blur = Blur()
        # Only their pixel work is used: what they would draw is never drawn.
        self._autocontrast = keras_cv.layers.AutoContrast(value_range=(0, 255))
        self._sharpness = keras_cv.layers.RandomSharpness(factor=1.0, value_range=(0, 255))
        self._solarization = keras_cv.layers.Solarization(value_range=(0, 255))

    def augment(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Return the strong view of float32 (H, W, 3) in 0..255; the same seed gives the same view."""
        return self.augment_image(image, self.draw_factors(seed))

    def draw_factors(self, seed: tf.Tensor) -> RandomIntensityFactors:
        """Draw what is random about one view from a stateless seed (2,)."""
        draws = uniform(seed, 1 + 2 * MOST)
        return RandomIntensityFactors(
            number=self.least + below(draws[0], self.most - self.least + 1),
            operations=below(draws[1 : 1 + MOST], len(OPERATIONS)),
            magnitudes=draws[1 + MOST :],
        )

    def get_random_transformation(self, **kwargs) -> RandomIntensityFactors:
        """Draw the factors of one view when the object is called as a keras-cv layer."""
        return self.draw_factors(self._random_generator.uniform((2,), 0, 2**31 - 1, dtype=tf.int32))

    def augment_image(self, image: tf.Tensor, transformation: RandomIntensityFactors, **kwargs) -> tf.Tensor:
        """Apply given factors; what is not drawn costs nothing.

        Args:
            image: float32 (H, W, 3), 0..255.
            transformation: the factors.
            **kwargs: what keras-cv passes besides; unused.

        Returns:
            float32 (H, W, 3), 0..255.
        """
        f = transformation
        shape = image.shape
        for place in range(MOST):
            branches = self._branches(image, f.magnitudes[place])
            # The first branch is the identity.
            image = tf.switch_case(tf.where(place < f.number, f.operations[place], 0), branches)
        return tf.ensure_shape(image, shape)

    def _branches(self, image: tf.Tensor, magnitude: tf.Tensor) -> list[Callable[[], tf.Tensor]]:
        factor = between(magnitude, 0.05, 0.95)
        return [
            lambda: image,
            lambda: self._autocontrast.augment_images(image[None])[0],
            lambda: _equalized(image),
            lambda: self._blur(image, between(magnitude, 0.1, 2.0)),
            lambda: blend(image, tf.reduce_mean(grey(image)), factor),
            lambda: blend(image, 0.0, factor),
            lambda: blend(image, grey(image), factor),
            # keras-cv's factor is the share of the smoothed image.
            lambda: self._sharpness.augment_images(image[None], 1.0 - factor)[0],
            lambda: _posterized(image, 4 + below(magnitude, 4)),
            lambda: self._solarized(image, between(magnitude, 1.0, 256.0)),
            lambda: tf.image.adjust_hue(image, between(magnitude, -0.5, 0.5)),
        ]

    def _solarized(self, image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
        return self._solarization.augment_images(image[None], {"thresholds": threshold, "additions": 0.0})[0]


def _posterized(image: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    step = tf.cast(tf.bitwise.left_shift(1, 8 - bits), tf.float32)
    return step * tf.floor(tf.round(image) / step)


def _equalized(image: tf.Tensor) -> tf.Tensor:
    """Map the levels of each channel so that each range of them has equally many pixels, as PIL does."""
    levels = tf.cast(tf.round(image), tf.int32)
    return tf.stack([_equalized_channel(levels[..., channel]) for channel in range(3)], axis=-1)


def _equalized_channel(levels: tf.Tensor) -> tf.Tensor:
    histogram = tf.reshape(tf.math.bincount(tf.reshape(levels, [-1]), minlength=256, maxlength=256), [256])
    step = (tf.size(levels) - histogram[tf.reduce_max(levels)]) // 255
    before = tf.cumsum(histogram, exclusive=True)
    table = tf.minimum((tf.maximum(step, 1) // 2 + before) // tf.maximum(step, 1), 255)
    return tf.cast(tf.where(step > 0, tf.gather(table, levels), levels), tf.float32)
