"""The strong view of images that are not 8-bit colour: brightness and contrast per channel, and blur.

Hue, saturation and grey have no meaning for electron microscopy, for infrared bands or for 16-bit counts. What the
colour jitter does to the single channels remains, with factors of its own for every channel; for one channel it is
the papers' jitter of a grey image.
"""

from typing import NamedTuple

import keras_cv
import tensorflow as tf

from rankmatch_keras.data.views.blur_keras_cv import Blur
from rankmatch_keras.data.views.seeds_tensorflow import between, fold, uniform


class IntensityFactors(NamedTuple):
    """All that is random about one strong view."""

    jitter: tf.Tensor  # bool: whether the channels are jittered
    contrast_first: tf.Tensor  # bool
    brightness: tf.Tensor  # (C,)
    contrast: tf.Tensor  # (C,)
    blur: tf.Tensor  # bool
    sigma: tf.Tensor  # pixels


class IntensityAugmentation(keras_cv.layers.BaseImageAugmentationLayer):
    """Brightness, contrast and blur of one image of any number of channels, from a seed.

    A keras-cv augmentation layer; the pipeline calls `augment(image, seed)`.

    Args:
        channels: number of channels C.
        bounded: whether values are 0..255 and stay there; otherwise they have no bounds.
        brightness: every channel is multiplied by a factor uniform in 1 -+ this.
        contrast: every channel's distance from its mean is multiplied by a factor uniform in 1 -+ this.
        jitter_probability: how often the two are applied, in random order.
        blur_probability: how often the image is blurred.
        sigma: range of the blur's standard deviation in pixels, at most 2.
    """

    def __init__(
        self,
        channels: int,
        bounded: bool,
        brightness: float = 0.5,
        contrast: float = 0.5,
        jitter_probability: float = 0.8,
        blur_probability: float = 0.5,
        sigma: tuple[float, float] = (0.1, 2.0),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.channels = channels
        self.bounded = bounded
        self.brightness = brightness
        self.contrast = contrast
        self.jitter_probability = jitter_probability
        self.blur_probability = blur_probability
        self.sigma = tuple(sigma)
        self._blur = Blur()

    def augment(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Return the strong view of float32 (H, W, C); the same seed gives the same view."""
        return self.augment_image(image, self.draw_factors(seed))

    def draw_factors(self, seed: tf.Tensor) -> IntensityFactors:
        """Draw what is random about one view from a stateless seed (2,)."""
        draws = tf.unstack(uniform(fold(seed, 0), 4))
        brightness, contrast = tf.unstack(uniform(fold(seed, 1), 2, self.channels))
        return IntensityFactors(
            jitter=draws[0] < self.jitter_probability,
            contrast_first=draws[1] < 0.5,
            brightness=between(brightness, 1 - self.brightness, 1 + self.brightness),
            contrast=between(contrast, 1 - self.contrast, 1 + self.contrast),
            blur=draws[2] < self.blur_probability,
            sigma=between(draws[3], *self.sigma),
        )

    def get_random_transformation(self, **kwargs) -> IntensityFactors:
        """Draw the factors of one view when the object is called as a keras-cv layer."""
        return self.draw_factors(self._random_generator.uniform((2,), 0, 2**31 - 1, dtype=tf.int32))

    def augment_image(self, image: tf.Tensor, transformation: IntensityFactors, **kwargs) -> tf.Tensor:
        """Apply given factors.

        Args:
            image: float32 (H, W, C).
            transformation: the factors.
            **kwargs: what keras-cv passes besides; unused.

        Returns:
            float32 (H, W, C).
        """
        f = transformation
        shape = image.shape
        image = tf.cond(f.jitter, lambda: self._jitter(image, f), lambda: image)
        image = tf.cond(f.blur, lambda: self._blur(image, f.sigma), lambda: image)
        return tf.ensure_shape(image, shape)

    def _jitter(self, image: tf.Tensor, f: IntensityFactors) -> tf.Tensor:
        return tf.cond(
            f.contrast_first,
            lambda: self._brighter(self._contrasted(image, f), f),
            lambda: self._contrasted(self._brighter(image, f), f),
        )

    def _brighter(self, image: tf.Tensor, f: IntensityFactors) -> tf.Tensor:
        return self._bound(image * f.brightness)

    def _contrasted(self, image: tf.Tensor, f: IntensityFactors) -> tf.Tensor:
        mean = tf.reduce_mean(image, axis=(0, 1))
        return self._bound(mean + (image - mean) * f.contrast)

    def _bound(self, image: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(image, 0.0, 255.0) if self.bounded else image
