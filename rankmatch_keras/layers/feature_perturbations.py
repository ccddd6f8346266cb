"""CCT's perturbations of an encoder's maps (Ouali et al., CVPR 2020, Section 3.2), in fixed shapes.

Each is a layer of `(maps, logits)`: a dict of `(B, h, w, C)`, and the main decoder's `(B, H, W, K)` on the clean maps,
of which only the most probable class is read. The masks of guided cutout, context and object masking are made at image
size and read at the pixels of each map. `FeatureDropout` drops whole channels; `AdversarialMove` is in a room
of its own.
"""

import keras
from keras import ops

from rankmatch_keras.layers.base import uniform
from rankmatch_keras.layers.feature_dropout import Perturbation, each_map
from rankmatch_keras.layers.pixels import on_grid

SMALLEST_OBJECT = 50  # pixels


def keep_where(maps, mask):
    """Zeroes the maps where a mask `(B, H, W)` bool of the image is False."""

    def kept(value):
        return value * ops.cast(on_grid(mask, value.shape[1:3])[..., None], value.dtype)

    return each_map(maps, kept)


@keras.saving.register_keras_serializable("rankmatch_keras")
class FeatureNoise(Perturbation):
    """Multiplies by 1 + n, n uniform in -0.3 to 0.3 for each value of a map, the same for all images."""

    limit = 0.3

    def call(self, maps, logits=None):
        """See the class."""
        return each_map(maps, lambda value: value * ops.cast(1.0 + self._noise(value.shape[1:]), value.dtype))

    def _noise(self, shape):
        return self.sample((1, *shape), -self.limit, self.limit)


@keras.saving.register_keras_serializable("rankmatch_keras")
class FeatureDrop(Perturbation):
    """Drops the most active places: where a map's mean over the channels reaches U(0.7, 0.9) of its image's maximum."""

    def call(self, maps, logits=None):
        """See the class."""
        share = self.sample((), 0.7, 0.9)

        def dropped(value):
            attention = ops.mean(ops.cast(value, "float32"), axis=-1, keepdims=True)  # (B, h, w, 1)
            limit = ops.max(attention, axis=(1, 2), keepdims=True) * share
            return value * ops.cast(attention < limit, value.dtype)

        return each_map(maps, dropped)


@keras.saving.register_keras_serializable("rankmatch_keras")
class ObjectMasking(Perturbation):
    """Keeps what is predicted as class 0, the background."""

    def call(self, maps, logits):
        """See the class."""
        return keep_where(maps, ops.argmax(logits, axis=-1) == 0)


@keras.saving.register_keras_serializable("rankmatch_keras")
class ContextMasking(Perturbation):
    """Keeps what is predicted as another class than 0."""

    def call(self, maps, logits):
        """See the class."""
        return keep_where(maps, ops.argmax(logits, axis=-1) > 0)


@keras.saving.register_keras_serializable("rankmatch_keras")
class GuidedCutout(Perturbation):
    """Zeroes a random box within what is predicted of each class but 0, of 0.4 of the sides of its bounding box.

    The publication takes each contour's bounding box by a library on the host; here all pixels of a class in an image
    share one, and classes of fewer than 50 pixels are left alone.
    """

    share = 0.4

    def call(self, maps, logits):
        """See the class."""
        boxes, counted = bounding_boxes(ops.argmax(logits, axis=-1), logits.shape[-1])
        draws = uniform((ops.shape(logits)[0], logits.shape[-1] - 1, 2), self.seed_generator)
        return keep_where(maps, ops.logical_not(self.cut(boxes, counted, draws, logits.shape[1:3])))

    def cut(self, boxes, counted, draws, size):
        """Marks the pixels of the boxes that are cut.

        Args:
            boxes: `(B, K - 1, 4)` int32, `y0, x0, y1, x1`, ends excluded.
            counted: `(B, K - 1)` bool, whether the class is there.
            draws: `(B, K - 1, 2)` in 0 to 1, where in its bounding box each cut lies.
            size: `(H, W)`.

        Returns:
            `(B, H, W)` bool.
        """
        starts, ends = ops.cast(boxes[..., :2], "float32"), ops.cast(boxes[..., 2:], "float32")
        sides = ops.floor(self.share * (ends - starts))
        starts = starts + ops.floor(draws * (ends - starts - sides + 1.0))
        inside = [
            ops.logical_and(place >= starts[..., axis : axis + 1], place < (starts + sides)[..., axis : axis + 1])
            for axis, place in enumerate(ops.arange(side, dtype="float32") for side in size)
        ]  # (B, K - 1, H) and (B, K - 1, W)
        rows = ops.logical_and(inside[0], counted[..., None])
        return ops.any(ops.logical_and(rows[..., :, None], inside[1][..., None, :]), axis=1)


def bounding_boxes(label, num_classes: int):
    """Bounding boxes of the classes from 1 on.

    Args:
        label: `(B, H, W)` int.
        num_classes: K.

    Returns:
        `(B, K - 1, 4)` int32, `y0, x0, y1, x1`, ends excluded, and `(B, K - 1)` bool, whether the class has 50 pixels
        or more; the box of an absent class says nothing.
    """
    classes = ops.reshape(ops.arange(1, num_classes, dtype="int32"), (1, -1, 1, 1))
    of_class = ops.cast(label, "int32")[:, None] == classes  # (B, K - 1, H, W)
    sides = []
    for other in (3, 2):
        shown = ops.any(of_class, axis=other)  # (B, K - 1, side)
        places = ops.arange(shown.shape[-1], dtype="int32")
        first = ops.min(ops.where(shown, places, shown.shape[-1]), axis=-1)
        sides.append((first, ops.max(ops.where(shown, places, -1), axis=-1) + 1))
    counted = ops.sum(ops.cast(of_class, "int32"), axis=(2, 3)) >= SMALLEST_OBJECT
    (top, bottom), (left, right) = sides
    return ops.stack([top, left, bottom, right], axis=-1), counted
