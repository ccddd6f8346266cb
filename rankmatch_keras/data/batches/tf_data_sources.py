"""Numbered single images, with or without masks, from a list of samples or from a `tf.data.Dataset`."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from rankmatch_keras.data.batches.sample_order import SampleOrder, require_masks
from rankmatch_keras.data.batches.settings import BatchRows
from rankmatch_keras.data.sets.pixel_statistics import ImageFormat, image_format
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.errors import UserError


class ExampleSource(Protocol):
    """An endless numbered stream of images."""

    format: ImageFormat

    def examples(self, start_step: int, steps: int | None, rows: BatchRows, parallel_calls: int) -> tf.data.Dataset:
        """Return the examples of `steps` batches (None: endless) from batch number `start_step` on.

        Args:
            start_step: number of the first batch.
            steps: how many batches.
            rows: which rows of each batch are wanted; they come in ascending order.
            parallel_calls: how many are read at the same time.

        Returns:
            (number, image (H, W, C)) or (number, image, mask (H, W) int32); images uint8 or float32.
        """


def examples_of(source: Sequence[Sample] | tf.data.Dataset, with_masks: bool, seed: tuple[int, ...]) -> ExampleSource:
    """Return the stream of a list or of a dataset.

    Args:
        source: samples, or a dataset of single images or (image, mask) pairs.
        with_masks: whether the examples have masks.
        seed: decides the order of a list; a dataset keeps its own.

    Raises:
        UserError: there are no samples, one lacks its mask, or the dataset holds something else.
    """
    if isinstance(source, tf.data.Dataset):
        return DatasetExamples(source, with_masks)
    if with_masks:
        require_masks(source)
    return SampleExamples(source, with_masks, seed)


class SampleExamples:
    """Examples from a list of samples, reshuffled for every pass.

    Args:
        samples: the list.
        with_masks: whether masks are read.
        seed: decides the order.
    """

    def __init__(self, samples: Sequence[Sample], with_masks: bool, seed: tuple[int, ...]):
        self.stream = SampleOrder(samples, seed)
        self.with_masks = with_masks
        self.format = image_format(samples)

    def examples(self, start_step: int, steps: int | None, rows: BatchRows, parallel_calls: int) -> tf.data.Dataset:
        """See `ExampleSource`."""
        own = len(rows.rows)
        ascending = tf.constant(sorted(rows.rows), tf.int64)
        start = start_step * own
        end = np.iinfo(np.int64).max if steps is None else start + steps * own

        def read(k: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return self._read(k // own * rows.batch_size + ascending[k % own])

        return tf.data.Dataset.range(start, end).map(read, num_parallel_calls=parallel_calls)

    def _read(self, n: tf.Tensor) -> tuple[tf.Tensor, ...]:
        image = _call(self.stream.image, n, tf.as_dtype(self.format.dtype), (None, None, self.format.channels))
        return (n, image, _call(self.stream.mask, n, tf.int32, (None, None))) if self.with_masks else (n, image)


class DatasetExamples:
    """Examples from a finite or endless `tf.data.Dataset`, repeated in its own order.

    Args:
        dataset: single images (H, W, C), or (image, mask) pairs with masks (H, W) or (H, W, 1); C must be known.
            8-bit images stay so, all others become float32.
        with_masks: whether it holds pairs; the masks of pairs are left out otherwise.
    """

    def __init__(self, dataset: tf.data.Dataset, with_masks: bool):
        self.dataset = dataset
        self.with_masks = with_masks
        spec = dataset.element_spec
        is_pair = isinstance(spec, tuple) and len(spec) == 2
        image = spec[0] if is_pair else spec
        if (with_masks and not is_pair) or getattr(image, "shape", None) is None or not _is_image(image.shape):
            raise UserError(
                "a dataset of single (image (H, W, C), mask (H, W)) pairs, or of single images, with known channels",
                f"elements {spec}",
                "Map it to that form, without batching.",
            )
        self.is_pair = is_pair
        self.format = ImageFormat(int(image.shape[-1]), "uint8" if image.dtype == tf.uint8 else "float32")

    def examples(self, start_step: int, steps: int | None, rows: BatchRows, parallel_calls: int) -> tf.data.Dataset:
        """See `ExampleSource`."""
        start = start_step * rows.batch_size
        numbered = self.dataset.repeat().skip(start).enumerate(start)
        if steps is not None:
            numbered = numbered.take(steps * rows.batch_size)
        if len(rows.rows) < rows.batch_size:
            own = tf.constant([row in rows.rows for row in range(rows.batch_size)])
            numbered = numbered.filter(lambda n, element: own[n % rows.batch_size])
        return numbered.map(self._read, num_parallel_calls=parallel_calls)

    def _read(self, n: tf.Tensor, element: Any) -> tuple[tf.Tensor, ...]:
        image = element[0] if self.is_pair else element
        image = tf.cast(image, self.format.dtype)
        if not self.with_masks:
            return n, image
        mask = tf.cast(element[1], tf.int32)
        return n, image, mask[..., 0] if mask.shape.rank == 3 else tf.ensure_shape(mask, (None, None))


def _is_image(shape: tf.TensorShape) -> bool:
    return shape.rank == 3 and shape[-1] is not None


def _call(read: Any, n: tf.Tensor, dtype: tf.DType, shape: tuple) -> tf.Tensor:
    """Call a Python reader: identical pixels to evaluation, and Pillow decodes outside Python's lock."""
    return tf.ensure_shape(tf.numpy_function(read, [n], dtype, stateful=False), shape)
