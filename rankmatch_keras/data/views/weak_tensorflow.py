"""The weak view: joint random resize, padding, random crop and flip of an image and its mask.

Resize, padding and crop are one operation, which computes only the pixels inside the crop: its cost depends
on the crop and not on how much the image is enlarged.
"""

from typing import NamedTuple

import tensorflow as tf

from rankmatch_keras.data.views.seeds_tensorflow import below, uniform

IGNORE = 255


class WeakGeometry(NamedTuple):
    """Where a weak view lies: all that is random about it (int32 scalars, `flip` bool).

    The image is resized to `height` x `width`, padded right and bottom where that is smaller than the crop,
    cut from row `top` and column `left`, and mirrored where `flip`.
    """

    height: tf.Tensor
    width: tf.Tensor
    top: tf.Tensor
    left: tf.Tensor
    flip: tf.Tensor


def draw_geometry(
    seed: tf.Tensor, size: tf.Tensor, crop: tuple[int, int], scale: tuple[float, float] = (0.5, 2.0)
) -> WeakGeometry:
    """Draw the geometry of one weak view.

    Args:
        seed: stateless seed, (2,).
        size: int32 (2,), height and width of the image.
        crop: height and width of the view.
        scale: the long side becomes a whole number of pixels, uniform between these multiples of it.
    """
    draws = tf.unstack(uniform(seed, 4))
    long = tf.reduce_max(size)
    low, high = (tf.cast(tf.cast(long, tf.float32) * s, tf.int32) for s in scale)
    new_long = tf.maximum(low + below(draws[0], high - low + 1), 1)
    ratio = tf.cast(new_long, tf.float32) / tf.cast(long, tf.float32)
    height, width = tf.unstack(tf.maximum(tf.cast(tf.cast(size, tf.float32) * ratio + 0.5, tf.int32), 1))
    top = below(draws[1], tf.maximum(height - crop[0], 0) + 1)
    left = below(draws[2], tf.maximum(width - crop[1], 0) + 1)
    return WeakGeometry(height, width, top, left, draws[3] < 0.5)


def weak_image(image: tf.Tensor, geometry: WeakGeometry, crop: tuple[int, int]) -> tf.Tensor:
    """Cut the weak view out of an image; bilinear, smoothed when it shrinks (as PIL does), padding 0.

    Args:
        image: (H, W, C), uint8 or float32; C must be known.
        geometry: see `WeakGeometry`.
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
    view = tf.where(_inside(geometry, crop), view, IGNORE)
    return tf.ensure_shape(_mirror(view[..., None], geometry)[..., 0], crop)


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
