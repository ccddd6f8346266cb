"""ClassMix: pasting the pixels of half of the classes that an image shows (Olsson et al., WACV 2021)."""

import keras
from keras import ops

from rankmatch_keras.layers.replicas import replicas, share_of


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassMix(keras.layers.Layer):
    """Marks the pixels of a random half of the classes that each image is predicted to show, rounded up.

    Args:
        num_classes: number of classes K.
        seed: int or `None`.
    """

    def __init__(self, num_classes: int, seed: int | None = None, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.built = True  # no weights
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
        classes = ops.arange(self.num_classes, dtype="int32")
        of_class = ops.cast(label, "int32")[..., None] == classes  # (B, H, W, K)
        if valid is not None:
            of_class = ops.logical_and(of_class, ops.cast(valid, "bool")[..., None])
        present = ops.any(of_class, axis=(1, 2))  # (B, K)
        images = ops.shape(label)[0] * replicas().count
        draws = share_of(keras.random.uniform((images, self.num_classes), seed=self.seed_generator))
        # Absent classes come last in the random order.
        draws = ops.where(present, draws, 2.0)
        place = ops.argsort(ops.argsort(draws, axis=-1), axis=-1)  # (B, K)
        half = (ops.sum(ops.cast(present, "int32"), axis=-1, keepdims=True) + 1) // 2
        chosen = ops.cast(place, "int32") < half
        return ops.any(ops.logical_and(of_class, chosen[:, None, None, :]), axis=-1)

    def get_config(self):
        """Returns the constructor's arguments."""
        config = super().get_config()
        config.update(num_classes=self.num_classes, seed=self.seed)
        return config
