"""Weak views in TensorFlow: joint resize, padding, crop and flip of an image and its mask.

Twin of `weak_numpy`. Resize, padding and crop are one operation, which computes only the pixels inside the crop: its
cost depends on the crop and not on how much the image is enlarged.
"""

import tensorflow as tf

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.views.sampling import WeakGeometry


def weak_image(image: tf.Tensor, geometry: WeakGeometry, crop: tuple[int, int]) -> tf.Tensor:
    """Cut the weak view out of an image; bilinear, smoothed when it shrinks (as PIL does), padding 0.

    Args:
        image: (H, W, C), uint8 or float32; C must be known.
        geometry: where the view lies, as int32 scalars and a bool.
        crop: height and width of the view.

    Returns:
        float32 (crop height, crop width, C), in the image's units.
    """
    new = tf.cast(tf.stack([geometry.height, geometry.width]), tf.float32)
    view = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=tf.constant(crop, tf.int32),
        scale=new / tf.cast(tf.shape(image)[:2], tf.float32),
        translation=-tf.cast(tf.stack([geometry.top, geometry.left]), tf.float32),
        kernel_type="triangle",
        antialias=True,
    )[0]
    # Rounding of the scale may put the first padded pixel on the image's edge.
    view *= tf.cast(_inside(geometry, crop), tf.float32)[..., None]
    return tf.ensure_shape(_mirror(view, geometry), (*crop, image.shape[-1]))


def weak_mask(mask: tf.Tensor, geometry: WeakGeometry, crop: tuple[int, int]) -> tf.Tensor:
    """Cut the weak view out of a mask; nearest pixel, padding 255.

    Args:
        mask: int32 (H, W).
        geometry: as for the image.
        crop: height and width of the view.

    Returns:
        int32 (crop height, crop width).
    """
    rows = _nearest(geometry.top, crop[0], geometry.height, tf.shape(mask)[0])
    columns = _nearest(geometry.left, crop[1], geometry.width, tf.shape(mask)[1])
    view = tf.gather(tf.gather(mask, rows), columns, axis=1)
    view = tf.where(_inside(geometry, crop), view, IGNORE_INDEX)
    return tf.ensure_shape(_mirror(view[..., None], geometry)[..., 0], crop)


def part_of(image: tf.Tensor, top: tf.Tensor, left: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Cut a part out of an image at its own size; padding 0.

    Args:
        image: (H, W, C), uint8 or float32; C must be known.
        top: its first row, int32.
        left: its first column, int32.
        size: height and width of the part.

    Returns:
        float32 (height, width, C), in the image's units.
    """
    part = tf.cast(image[top : top + size[0], left : left + size[1]], tf.float32)
    missing = tf.constant(size) - tf.shape(part)[:2]
    return tf.ensure_shape(tf.pad(part, [[0, missing[0]], [0, missing[1]], [0, 0]]), (*size, image.shape[-1]))


def valid_area(geometry: WeakGeometry, crop: tuple[int, int]) -> tf.Tensor:
    """Return bool (crop height, crop width): True on the image, False on padding."""
    return tf.ensure_shape(_mirror(_inside(geometry, crop)[..., None], geometry)[..., 0], crop)


def _inside(geometry: WeakGeometry, crop: tuple[int, int]) -> tf.Tensor:
    rows = tf.range(crop[0]) + geometry.top < geometry.height
    columns = tf.range(crop[1]) + geometry.left < geometry.width
    return rows[:, None] & columns[None, :]


def _nearest(start: tf.Tensor, length: int, new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
    """Return the source index of each output pixel: floor((i + 1/2) * old / new), in whole numbers."""
    doubled = 2 * tf.cast(tf.range(length) + start, tf.int64) + 1
    index = doubled * tf.cast(old, tf.int64) // (2 * tf.cast(new, tf.int64))
    return tf.minimum(index, tf.cast(old, tf.int64) - 1)


def _mirror(view: tf.Tensor, geometry: WeakGeometry) -> tf.Tensor:
    return tf.cond(geometry.flip, lambda: tf.reverse(view, [1]), lambda: view)
