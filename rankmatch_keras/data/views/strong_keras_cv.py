"""Strong views as keras-cv augmentation layers; twin of `strong_numpy`.

keras-cv's own jitter means other things by the same words (brightness adds, contrast works per channel, saturation
scales HSV), so of keras-cv we use the layer class and the pixel work of gray, blur, autocontrast, sharpness and
solarization, and hand every layer the factors that its policy sampled. Hue is what keras-cv calls underneath: turning
the color circle does not depend on the range, so that scaling to 0..1 and back, a third of its time, is left out. Its
equalization takes another step between levels and needs AutoGraph, and its posterization knows one number of bits.
"""

from collections.abc import Callable
from typing import Any

import keras_cv
import numpy as np
import tensorflow as tf

from rankmatch_keras.data.views.policies import (
    MOST_OPERATIONS,
    ChannelFactors,
    ChannelJitter,
    ColorJitter,
    JitterFactors,
    OperationFactors,
    Policy,
    RandomOperations,
    StrongFactors,
)
from rankmatch_keras.data.views.sampling_tensorflow import sample_in_graph
from rankmatch_keras.data.views.strong_numpy import GRAY_WEIGHTS, MAX_RADIUS


class StrongView(keras_cv.layers.BaseImageAugmentationLayer):
    """A strong view of one image from given factors.

    Called as a keras-cv layer by itself, it samples factors of its own.

    Args:
        policy: how the view is made.
    """

    def __init__(self, policy: Policy, **kwargs):
        super().__init__(**kwargs)
        self.policy = policy
        # Only its pixel work is used: the factor given here is never sampled.
        self._blur_layer = keras_cv.layers.RandomGaussianBlur(2 * MAX_RADIUS + 1, factor=1.0)

    def get_random_transformation(self, **kwargs) -> StrongFactors:
        """Sample the factors of one view from the layer's own random numbers."""
        seed = self._random_generator.uniform((2,), 0, 2**31 - 1, dtype=tf.int32)
        return sample_in_graph(lambda seed: self.policy.sample(np.random.default_rng(seed)), [seed], [(0, 0)])

    def augment_image(self, image: tf.Tensor, transformation: StrongFactors, **kwargs) -> tf.Tensor:
        """Make the view; what the factors leave out costs nothing.

        Args:
            image: float32 (H, W, C), the weak view. Bounded images lie in 0..255.
            transformation: the factors as tensors.
            **kwargs: what keras-cv passes besides; unused.

        Returns:
            float32 (H, W, C).
        """
        return tf.ensure_shape(self._view(image, transformation), image.shape)

    def _view(self, image: tf.Tensor, factors: Any) -> tf.Tensor:
        raise NotImplementedError

    def _blur(self, image: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
        # keras-cv pads with zeros, which would darken the border: repeat the border pixel, then cut.
        padded = _repeat_border(_repeat_border(image, 0), 1)
        weights = self._blur_layer.get_kernel(sigma, 2 * MAX_RADIUS + 1)
        kernels = (weights[:, None, None, None], weights[None, :, None, None])
        blurred = self._blur_layer.augment_image(padded, transformation=kernels)
        return blurred[MAX_RADIUS:-MAX_RADIUS, MAX_RADIUS:-MAX_RADIUS]


class ColorJitterView(StrongView):
    """The strong view of `ColorJitter`."""

    def __init__(self, policy: ColorJitter, **kwargs):
        super().__init__(policy, **kwargs)
        self._gray_layer = keras_cv.layers.Grayscale(output_channels=3)

    def _view(self, image: tf.Tensor, factors: JitterFactors) -> tf.Tensor:
        image = tf.cond(factors.jitter, lambda: _jitter_colors(image, factors), lambda: image)
        image = tf.cond(factors.gray, lambda: self._gray_layer.augment_images(image), lambda: image)
        return tf.cond(factors.blur, lambda: self._blur(image, factors.sigma), lambda: image)


class ChannelJitterView(StrongView):
    """The strong view of `ChannelJitter`."""

    policy: ChannelJitter

    def _view(self, image: tf.Tensor, factors: ChannelFactors) -> tf.Tensor:
        def brighten(image):
            return self._bound(image * factors.brightness)

        def contrast(image):
            mean = tf.reduce_mean(image, axis=(0, 1))
            return self._bound(mean + (image - mean) * factors.contrast)

        def jitter():
            return tf.cond(factors.contrast_first, lambda: brighten(contrast(image)), lambda: contrast(brighten(image)))

        image = tf.cond(factors.jitter, jitter, lambda: image)
        return tf.cond(factors.blur, lambda: self._blur(image, factors.sigma), lambda: image)

    def _bound(self, image: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(image, 0.0, 255.0) if self.policy.bounded else image


class RandomOperationsView(StrongView):
    """The strong view of `RandomOperations`."""

    def __init__(self, policy: RandomOperations, **kwargs):
        super().__init__(policy, **kwargs)
        self._autocontrast = keras_cv.layers.AutoContrast(value_range=(0, 255))
        self._sharpness = keras_cv.layers.RandomSharpness(factor=1.0, value_range=(0, 255))
        self._solarization = keras_cv.layers.Solarization(value_range=(0, 255))

    def _view(self, image: tf.Tensor, factors: OperationFactors) -> tf.Tensor:
        for place in range(MOST_OPERATIONS):
            branches = self._branches(image, factors.strengths[place])
            # The first branch is the identity.
            image = tf.switch_case(tf.where(place < factors.number, factors.operations[place], 0), branches)
        return image

    def _branches(self, image: tf.Tensor, strength: tf.Tensor) -> list[Callable[[], tf.Tensor]]:
        """Return what each of OPERATIONS does."""
        return [
            lambda: image,
            lambda: self._autocontrast.augment_images(image[None])[0],
            lambda: _equalize(image),
            lambda: self._blur(image, strength),
            lambda: _blend(image, tf.reduce_mean(_gray(image)), strength),
            lambda: _blend(image, 0.0, strength),
            lambda: _blend(image, _gray(image), strength),
            # keras-cv's factor is the fraction of the smoothed image.
            lambda: self._sharpness.augment_images(image[None], 1.0 - strength)[0],
            lambda: strength * tf.floor(tf.round(image) / strength),
            lambda: self._solarize(image, strength),
            lambda: tf.image.adjust_hue(image, strength),
        ]

    def _solarize(self, image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
        return self._solarization.augment_images(image[None], {"thresholds": threshold, "additions": 0.0})[0]


def strong_view_layer(policy: Policy) -> StrongView:
    """Return the keras-cv layer of a policy."""
    layers = {ColorJitter: ColorJitterView, ChannelJitter: ChannelJitterView, RandomOperations: RandomOperationsView}
    return layers[type(policy)](policy)


def _jitter_colors(image: tf.Tensor, factors: JitterFactors) -> tf.Tensor:
    for place in range(4):
        image = tf.switch_case(
            factors.order[place],
            [
                lambda x=image: _blend(x, 0.0, factors.brightness),
                lambda x=image: _blend(x, tf.reduce_mean(_gray(x)), factors.contrast),
                lambda x=image: _blend(x, _gray(x), factors.saturation),
                lambda x=image: tf.image.adjust_hue(x, factors.hue),
            ],
        )
    return image


def _gray(image: tf.Tensor) -> tf.Tensor:
    """(H, W, 3) -> (H, W, 1)."""
    red, green, blue = (image[..., i : i + 1] * GRAY_WEIGHTS[i] for i in range(3))
    return red + green + blue


def _blend(image: tf.Tensor, other: tf.Tensor | float, factor: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(image * factor + other * (1.0 - factor), 0.0, 255.0)


def _repeat_border(image: tf.Tensor, axis: int) -> tf.Tensor:
    size = tf.shape(image)[axis]
    places = tf.clip_by_value(tf.range(-MAX_RADIUS, size + MAX_RADIUS), 0, size - 1)
    return tf.gather(image, places, axis=axis)


def _equalize(image: tf.Tensor) -> tf.Tensor:
    levels = tf.cast(tf.round(image), tf.int32)
    return tf.stack([_equalize_channel(levels[..., channel]) for channel in range(3)], axis=-1)


def _equalize_channel(levels: tf.Tensor) -> tf.Tensor:
    """Map the levels of one channel so that each range of them has equally many pixels, as PIL does."""
    histogram = tf.reshape(tf.math.bincount(tf.reshape(levels, [-1]), minlength=256, maxlength=256), [256])
    step = (tf.size(levels) - histogram[tf.reduce_max(levels)]) // 255
    before = tf.cumsum(histogram, exclusive=True)
    table = tf.minimum((tf.maximum(step, 1) // 2 + before) // tf.maximum(step, 1), 255)
    return tf.cast(tf.where(step > 0, tf.gather(table, levels), levels), tf.float32)
