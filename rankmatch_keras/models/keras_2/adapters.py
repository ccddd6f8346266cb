"""Layers around and inside a network that came from Keras 2; they need nothing but Keras 3."""

import keras
from keras import layers, ops

from rankmatch_keras.layers.resize import resize_align_corners


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class ResizeTo(layers.Layer):
    """Resizes images (B, H, W, C) to one size, align-corners bilinear; those of that size stay as they are.

    Args:
        size: (height, width).
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, images):
        """See the class."""
        return resize_align_corners(images, self.size)

    def compute_output_shape(self, input_shape):
        """(B, height, width, C)."""
        return (input_shape[0], *self.size, input_shape[3])

    def get_config(self):
        """The constructor's argument."""
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class PadToMultiple(layers.Layer):
    """Pads images (B, H, W, C) with zeros at the bottom and right to the next multiple of a number of pixels.

    Args:
        multiple: that number.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, multiple, **kwargs):
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, images):
        """See the class."""
        _, height, width, _ = ops.shape(images)
        bottom, right = -height % self.multiple, -width % self.multiple
        return ops.pad(images, ((0, 0), (0, bottom), (0, right), (0, 0)))

    def compute_output_shape(self, input_shape):
        """Known sides grow to the next multiple."""
        batch, *sides, channels = input_shape
        return (batch, *(None if side is None else side + -side % self.multiple for side in sides), channels)

    def get_config(self):
        """The constructor's argument."""
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class TwoClasses(layers.Layer):
    """(B, h, w, 1) logits z of a sigmoid -> (B, h, w, 2): (0, z), whose softmax is (1 - sigmoid(z), sigmoid(z))."""

    def call(self, logits):
        """See the class."""
        return ops.concatenate([ops.zeros_like(logits), logits], axis=-1)

    def compute_output_shape(self, input_shape):
        """(B, h, w, 2)."""
        return (*input_shape[:-1], 2)


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class ResizeImageLike(layers.Layer):
    """`tf.image.resize(x, tf.shape(reference)[1:3])`: pixel centers at half, as TensorFlow 2 has them.

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
        """See the class."""
        return ops.image.resize(x, ops.shape(reference)[1:3], self.interpolation, data_format="channels_last")

    def compute_output_spec(self, x, reference):
        """(B, H, W, C), without tracing the call."""
        return keras.KerasTensor((x.shape[0], *reference.shape[1:3], x.shape[3]), dtype=self.compute_dtype)

    def get_config(self):
        """The constructor's argument."""
        return {**super().get_config(), "interpolation": self.interpolation}


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class NoChannels(layers.Layer):
    """(B, H, W, C) -> (B, H, W, 0): a map that carries a size and nothing else."""

    def call(self, images):
        """See the class."""
        return images[..., :0]

    def compute_output_shape(self, input_shape):
        """(B, H, W, 0)."""
        return (*input_shape[:-1], 0)


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class InferenceBatchNormalization(layers.BatchNormalization):
    """Batch normalization by its moving statistics at all times; its scale and offset train like any weight."""

    def call(self, inputs, training=None, mask=None):
        """See the class."""
        return super().call(inputs, training=False, mask=mask)
