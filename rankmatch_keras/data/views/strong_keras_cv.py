"""The strong view of 8-bit colour images: colour jitter, grey and blur of a weak view.

The distribution is torchvision's and PIL's, which the papers use: brightness and contrast multiply, contrast
blends with the mean grey, saturation blends with the grey image. keras-cv's jitter means other things by the
same words (brightness adds, contrast works per channel, saturation scales HSV), so of keras-cv we use the
layer class and the pixel work of grey and blur, and draw every factor ourselves from stateless seeds. Hue is what
keras-cv calls underneath: turning the colour circle does not depend on the range, so that scaling to 0..1 and back, a
third of its time, is left out.
"""

from typing import NamedTuple

import keras_cv
import tensorflow as tf

from rankmatch_keras.data.views.blur_keras_cv import Blur
from rankmatch_keras.data.views.seeds_tensorflow import between, uniform

GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # ITU-R 601, as PIL's mode L and tf.image.rgb_to_grayscale.


class StrongFactors(NamedTuple):
    """All that is random about one strong view (scalars; `order` (4,))."""

    jitter: tf.Tensor  # bool: whether the colours are jittered
    order: tf.Tensor  # int32 (4,): 0 brightness, 1 contrast, 2 saturation, 3 hue
    brightness: tf.Tensor
    contrast: tf.Tensor
    saturation: tf.Tensor
    hue: tf.Tensor  # fraction of the circle
    grey: tf.Tensor  # bool
    blur: tf.Tensor  # bool
    sigma: tf.Tensor  # pixels


class StrongAugmentation(keras_cv.layers.BaseImageAugmentationLayer):
    """Colour jitter, grey and blur of one image, from a seed (METHODS: UniMatch, strong views).

    A keras-cv augmentation layer; the pipeline calls `augment(image, seed)`.

    Args:
        brightness: factor uniform in 1 -+ this.
        contrast: factor uniform in 1 -+ this.
        saturation: factor uniform in 1 -+ this.
        hue: shift uniform in -+ this fraction of the colour circle, at most 0.5.
        jitter_probability: how often the four are applied, in random order.
        grey_probability: how often the image becomes grey.
        blur_probability: how often it is blurred.
        sigma: range of the blur's standard deviation in pixels, at most 2.
    """

    def __init__(
        self,
        brightness: float = 0.5,
        contrast: float = 0.5,
        saturation: float = 0.5,
        hue: float = 0.25,
        jitter_probability: float = 0.8,
        grey_probability: float = 0.2,
        blur_probability: float = 0.5,
        sigma: tuple[float, float] = (0.1, 2.0),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.jitter_probability = jitter_probability
        self.grey_probability = grey_probability
        self.blur_probability = blur_probability
        self.sigma = tuple(sigma)
        # Only its pixel work is used.
        self._grey = keras_cv.layers.Grayscale(output_channels=3)
        self._blur = Blur()

    def augment(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Return the strong view of float32 (H, W, 3) in 0..255; the same seed gives the same view."""
        return self.augment_image(image, self.draw_factors(seed))

    def draw_factors(self, seed: tf.Tensor) -> StrongFactors:
        """Draw what is random about one view from a stateless seed (2,)."""
        draws = tf.unstack(uniform(seed, 12))
        return StrongFactors(
            jitter=draws[0] < self.jitter_probability,
            order=tf.argsort(draws[1:5]),
            brightness=between(draws[5], 1 - self.brightness, 1 + self.brightness),
            contrast=between(draws[6], 1 - self.contrast, 1 + self.contrast),
            saturation=between(draws[7], 1 - self.saturation, 1 + self.saturation),
            hue=between(draws[8], -self.hue, self.hue),
            grey=draws[9] < self.grey_probability,
            blur=draws[10] < self.blur_probability,
            sigma=between(draws[11], *self.sigma),
        )

    def get_random_transformation(self, **kwargs) -> StrongFactors:
        """Draw the factors of one view when the object is called as a keras-cv layer."""
        return self.draw_factors(self._random_generator.uniform((2,), 0, 2**31 - 1, dtype=tf.int32))

    def augment_image(self, image: tf.Tensor, transformation: StrongFactors, **kwargs) -> tf.Tensor:
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
        image = tf.cond(f.jitter, lambda: self._jitter(image, f), lambda: image)
        image = tf.cond(f.grey, lambda: self._grey.augment_images(image), lambda: image)
        image = tf.cond(f.blur, lambda: self._blur(image, f.sigma), lambda: image)
        return tf.ensure_shape(image, shape)

    def _jitter(self, image: tf.Tensor, f: StrongFactors) -> tf.Tensor:
        for place in range(4):
            image = tf.switch_case(
                f.order[place],
                [
                    lambda x=image: blend(x, 0.0, f.brightness),
                    lambda x=image: blend(x, tf.reduce_mean(grey(x)), f.contrast),
                    lambda x=image: blend(x, grey(x), f.saturation),
                    lambda x=image: tf.image.adjust_hue(x, f.hue),
                ],
            )
        return image


def grey(image: tf.Tensor) -> tf.Tensor:
    """(H, W, 3) -> (H, W, 1)."""
    red, green, blue = (image[..., i : i + 1] * GREY_WEIGHTS[i] for i in range(3))
    return red + green + blue


def blend(image: tf.Tensor, other: tf.Tensor | float, factor: tf.Tensor) -> tf.Tensor:
    """Return `factor` of an image and the rest of another one, within 0..255."""
    return tf.clip_by_value(image * factor + other * (1.0 - factor), 0.0, 255.0)
