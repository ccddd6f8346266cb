"""Padding before a max pooling that never wins, as a layer that ``dilate`` and saving know."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class InfinitePadding2D(keras.layers.ZeroPadding2D):
    """Pads with minus infinity instead of zero; otherwise ``keras.layers.ZeroPadding2D``."""

    def call(self, inputs):
        """See the class."""
        return ops.pad(inputs, ((0, 0), *self.padding, (0, 0)), constant_values=float("-inf"))
