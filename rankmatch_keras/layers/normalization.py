"""Per-channel normalization of raw images, as a layer that is saved with the model."""

from collections.abc import Sequence

import keras
from keras import ops

from rankmatch_keras.layers.base import ConfigFromArguments


@keras.saving.register_keras_serializable("rankmatch_keras")
class ChannelNormalization(ConfigFromArguments, keras.layers.Layer):
    """Normalization to what the encoder was trained on: `(x - mean) / std` per channel, then RGB to BGR if asked.

    NaN, which marks pixels without data, becomes the mean: 0.

    Args:
        mean: one float per channel, in raw units (0..255 for 8-bit images).
        std: one positive float per channel, in raw units.
        reverse_channels: whether the last axis is reversed afterwards (for an encoder that expects BGR).
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], reverse_channels: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.mean = tuple(float(m) for m in mean)
        self.std = tuple(float(s) for s in std)
        self.reverse_channels = bool(reverse_channels)
        if len(self.mean) != len(self.std) or min(self.std, default=0.0) <= 0.0:
            raise ValueError(f"Expected as many positive std as mean values. Received: mean={mean}, std={std}")

    def call(self, images):
        """Normalize raw images `(B, H, W, C)` of any dtype to floats of the same shape."""
        images = ops.cast(images, self.compute_dtype)
        mean = ops.convert_to_tensor(self.mean, dtype=self.compute_dtype)
        images = ops.where(ops.isnan(images), mean, images)
        scale = ops.convert_to_tensor([1.0 / s for s in self.std], dtype=self.compute_dtype)
        images = (images - mean) * scale
        return ops.flip(images, axis=-1) if self.reverse_channels else images

    def compute_output_shape(self, input_shape):
        """Return the shape of the input."""
        return input_shape
