"""Layers that connect a network from Keras 2 to a segmenter; they need only Keras 3."""

import keras
from keras import layers, ops

from rankmatch_keras.layers.base import ConfigFromArguments
from rankmatch_keras.layers.resize import resize_align_corners


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class ResizeTo(ConfigFromArguments, layers.Layer):
    """Align-corners bilinear resizing of images (B, H, W, C) to one size; images of that size stay as they are.

    Args:
        size: (height, width).
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, images):
        """Resize the images."""
        return resize_align_corners(images, self.size)

    def compute_output_shape(self, input_shape):
        """Return (B, height, width, C)."""
        return (input_shape[0], *self.size, input_shape[3])


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class PadToMultiple(ConfigFromArguments, layers.Layer):
    """Zero padding of images (B, H, W, C) at the bottom and right to the next multiple of a number of pixels.

    Args:
        multiple: that number.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, multiple, **kwargs):
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, images):
        """Pad the images."""
        _, height, width, _ = ops.shape(images)
        bottom, right = -height % self.multiple, -width % self.multiple
        return ops.pad(images, ((0, 0), (0, bottom), (0, right), (0, 0)))

    def compute_output_shape(self, input_shape):
        """Return the shape with known sides grown to the next multiple."""
        batch, *sides, channels = input_shape
        return (batch, *(None if side is None else side + -side % self.multiple for side in sides), channels)


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class TwoClasses(layers.Layer):
    """Logits (0, z), (B, h, w, 2), of z (B, h, w, 1): their softmax is (1 - sigmoid(z), sigmoid(z))."""

    def call(self, logits):
        """Put the zeros in front."""
        return ops.concatenate([ops.zeros_like(logits), logits], axis=-1)

    def compute_output_shape(self, input_shape):
        """Return (B, h, w, 2)."""
        return (*input_shape[:-1], 2)


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class ResizeImageLike(ConfigFromArguments, layers.Layer):
    """`tf.image.resize(x, tf.shape(reference)[1:3])`, with half-pixel centers as in TensorFlow 2.

    Args:
        interpolation: "bilinear" or "nearest".
        **kwargs: of `keras.layers.Layer`.

    Call arguments:
        x: (B, h, w, C).
        reference: (B, H, W, any).

    Returns:
        (B, H, W, C).
    """

    def __init__(self, interpolation="bilinear", **kwargs):
        super().__init__(**kwargs)
        self.interpolation = interpolation

    def call(self, x, reference):
        """Resize `x`."""
        return ops.image.resize(x, ops.shape(reference)[1:3], self.interpolation, data_format="channels_last")

    def compute_output_spec(self, x, reference):
        """Return the symbolic (B, H, W, C) without tracing the call."""
        return keras.KerasTensor((x.shape[0], *reference.shape[1:3], x.shape[3]), dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class NoChannels(layers.Layer):
    """A map (B, H, W, 0) that carries the size of (B, H, W, C) and nothing else."""

    def call(self, images):
        """Drop the channels."""
        return images[..., :0]

    def compute_output_shape(self, input_shape):
        """Return (B, H, W, 0)."""
        return (*input_shape[:-1], 0)


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class InferenceBatchNormalization(layers.BatchNormalization):
    """Batch normalization that always uses its moving statistics; its scale and offset train like any weight."""

    def call(self, inputs, training=None, mask=None):
        """Normalize in inference mode."""
        return super().call(inputs, training=False, mask=mask)
