"""ClassMix: pasting the pixels of half of the classes that an image shows (Olsson et al., WACV 2021)."""

import keras
from keras import ops

from rankmatch_keras.layers.base import Float32Layer, uniform


def pixels_of(label, chosen):
    """Marks the pixels of each image's chosen classes.

    Args:
        label: `(B, H, W)` int, 0 up to K - 1; other values count as the nearest of these.
        chosen: `(B, K)` bool.

    Returns:
        `(B, H, W)` bool.
    """
    shape = ops.shape(label)
    flat = ops.reshape(ops.clip(ops.cast(label, "int32"), 0, chosen.shape[1] - 1), (shape[0], -1))
    return ops.reshape(ops.take_along_axis(ops.cast(chosen, "int32"), flat, axis=1) == 1, shape)


def class_shares(label, num_classes: int, valid=None):
    """Each class's share of the pixels of each image.

    Args:
        label: `(B, H, W)` int.
        num_classes: K.
        valid: `(B, H, W)` bool: other pixels belong to no class.

    Returns:
        `(B, K)` float32.
    """
    belongs = ops.cast(label, "int32")[..., None] == ops.arange(num_classes, dtype="int32")
    if valid is not None:
        belongs = ops.logical_and(belongs, ops.cast(valid, "bool")[..., None])  # (B, H, W, K)
    return ops.mean(ops.cast(belongs, "float32"), axis=(1, 2))


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassMix(Float32Layer):
    """Marks the pixels of a random half of the classes that each image is predicted to show, rounded up.

    Args:
        num_classes: number of classes K.
        seed: int or `None`.
    """

    def __init__(self, num_classes: int, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, label, valid=None):
        """Draws the masks.

        Args:
            label: `(B, H, W)` int, the predicted class of each pixel.
            valid: `(B, H, W)` bool: other pixels are not marked, and their classes not counted.

        Returns:
            `(B, H, W)` bool, True where the pixel is pasted.
        """
        present = class_shares(label, self.num_classes, valid) > 0.0  # (B, K)
        draws = uniform((ops.shape(label)[0], self.num_classes), self.seed_generator)
        # Absent classes come last in the random order.
        draws = ops.where(present, draws, 2.0)
        place = ops.argsort(ops.argsort(draws, axis=-1), axis=-1)  # (B, K)
        half = (ops.sum(ops.cast(present, "int32"), axis=-1, keepdims=True) + 1) // 2
        mask = pixels_of(label, ops.cast(place, "int32") < half)
        return mask if valid is None else ops.logical_and(mask, ops.cast(valid, "bool"))
