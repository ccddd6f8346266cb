"""Training batches by tf.data, with keras-cv's augmentation."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import tensorflow as tf

from rankmatch_keras.backend.numerics import keep_tensorflow_off_gpus
from rankmatch_keras.data.batches.reading_errors import remembered
from rankmatch_keras.data.batches.sample_order import SampleOrder, require_masks
from rankmatch_keras.data.batches.settings import BatchRows, BatchSettings, Normalization, require_same_format
from rankmatch_keras.data.sets.pixel_statistics import ImageFormat, image_format
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.data.views import weak_tensorflow
from rankmatch_keras.data.views.examples import Example, labeled_example, unlabeled_example
from rankmatch_keras.data.views.own import OwnAugmentation
from rankmatch_keras.data.views.policies import Policy, StrongFactors
from rankmatch_keras.data.views.sampling import LABELED, UNLABELED, ExampleFactors, WeakGeometry, sample_example
from rankmatch_keras.data.views.sampling_tensorflow import sample_in_graph
from rankmatch_keras.data.views.strong_keras_cv import strong_view_layer
from rankmatch_keras.errors import UserError

Source: TypeAlias = Sequence[Sample] | tf.data.Dataset


def make_batches(labeled: Source, unlabeled: Source | None, settings: BatchSettings) -> tf.data.Dataset:
    """Make the dataset of training batches; see `training_batches`.

    Args:
        labeled: samples with masks, or a dataset of (image, mask) pairs.
        unlabeled: samples, or a dataset of images; None or empty for supervised training.
        settings: the checked arguments.

    Raises:
        UserError: there is no labeled sample, or one lacks its mask; labeled and unlabeled images differ in
            channels or type, or the normalization has another number of channels.
    """
    keep_tensorflow_off_gpus()
    images = _numbered(labeled, True, settings, LABELED)
    views = _Views(settings, images.format)
    dataset = _batched(images, settings, settings.labeled, views.labeled)
    if isinstance(unlabeled, tf.data.Dataset) or unlabeled:
        others = _numbered(unlabeled, settings.pseudo_labels, settings, UNLABELED)
        require_same_format(images.format, others.format)
        both = tf.data.Dataset.zip(dataset, _batched(others, settings, settings.unlabeled, views.unlabeled))
        dataset = _map(both, lambda a, b: {**a, **b}, None)
    return dataset.prefetch(2).with_options(_options(_threads(settings)))


class NumberedImages(Protocol):
    """An endless numbered stream of images."""

    format: ImageFormat

    def examples(self, start_step: int, steps: int | None, rows: BatchRows, parallel_calls: int) -> tf.data.Dataset:
        """Return the images of `steps` batches (None: endless) from batch number `start_step` on.

        Args:
            start_step: number of the first batch.
            steps: number of batches.
            rows: which rows of each batch are wanted; they come in ascending order.
            parallel_calls: number of images read at the same time.

        Returns:
            (number, image (H, W, C)) or (number, image, mask (H, W) int32); images uint8 or float32.
        """


class ListImages:
    """Numbered images of a list of samples, reshuffled for every pass.

    Args:
        samples: the list.
        with_masks: whether masks are read.
        seed: decides the order; the run's and the stream's.
        augmentation: a person's own function for each image and mask, or None.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        with_masks: bool,
        seed: tuple[int, int],
        augmentation: OwnAugmentation | None = None,
    ):
        self.order = SampleOrder(samples, seed)
        self.augmentation = augmentation
        self.with_masks = with_masks
        self.format = image_format(samples)

    def examples(self, start_step: int, steps: int | None, rows: BatchRows, parallel_calls: int) -> tf.data.Dataset:
        """See `NumberedImages`."""
        own = len(rows.rows)
        ascending = tf.constant(sorted(rows.rows), tf.int64)
        start = start_step * own
        end = np.iinfo(np.int64).max if steps is None else start + steps * own

        def read(k: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return self._read(k // own * rows.batch_size + ascending[k % own])

        return tf.data.Dataset.range(start, end).map(read, num_parallel_calls=parallel_calls)

    def _read(self, n: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # Python readers: the pixels are those of evaluation, and Pillow decodes outside Python's lock.
        dtype, channels = tf.as_dtype(self.format.dtype), self.format.channels
        if self.augmentation is not None:
            image, *masks = tf.numpy_function(
                remembered(self._augmented), [n], [dtype, *[tf.int32] * self.with_masks], stateful=False
            )
            masks = [tf.ensure_shape(mask, (None, None)) for mask in masks]
            return n, tf.ensure_shape(image, (None, None, channels)), *masks
        image = tf.numpy_function(remembered(lambda n: self.order[n].read_image()), [n], dtype, stateful=False)
        image = tf.ensure_shape(image, (None, None, channels))
        if not self.with_masks:
            return n, image
        mask = tf.numpy_function(remembered(lambda n: self.order[n].read_mask()), [n], tf.int32, stateful=False)
        return n, image, tf.ensure_shape(mask, (None, None))

    def _augmented(self, n: np.ndarray) -> tuple[Any, ...]:
        sample, (seed, stream) = self.order[int(n)], self.order.seed
        mask = sample.read_mask() if self.with_masks else None
        pair = cast(OwnAugmentation, self.augmentation)(sample.read_image(), mask, seed, stream == LABELED, int(n))
        return pair if self.with_masks else pair[:1]


class DatasetImages:
    """Numbered images of a finite or endless `tf.data.Dataset`, repeated in its own order.

    Args:
        dataset: single images (H, W, C), or (image, mask) pairs with masks (H, W) or (H, W, 1); C must be known.
            8-bit images stay so, all others become float32.
        with_masks: whether it must hold pairs; masks of pairs are dropped otherwise.
    """

    def __init__(self, dataset: tf.data.Dataset, with_masks: bool):
        self.dataset = dataset
        self.with_masks = with_masks
        spec = dataset.element_spec
        self.is_pair = isinstance(spec, tuple) and len(spec) == 2
        image = spec[0] if self.is_pair else spec
        shape = getattr(image, "shape", None)
        is_image = shape is not None and shape.rank == 3 and shape[-1] is not None
        if (with_masks and not self.is_pair) or not is_image:
            raise UserError(
                "a dataset of single (image (H, W, C), mask (H, W)) pairs, or of single images, with known channels",
                f"elements {spec}",
                "Map it to that form, without batching.",
            )
        self.format = ImageFormat(int(image.shape[-1]), "uint8" if image.dtype == tf.uint8 else "float32")

    def examples(self, start_step: int, steps: int | None, rows: BatchRows, parallel_calls: int) -> tf.data.Dataset:
        """See `NumberedImages`."""
        start = start_step * rows.batch_size
        numbered = self.dataset.repeat().skip(start).enumerate(start)
        if steps is not None:
            numbered = numbered.take(steps * rows.batch_size)
        if len(rows.rows) < rows.batch_size:
            own = tf.constant([row in rows.rows for row in range(rows.batch_size)])
            numbered = numbered.filter(lambda n, element: own[n % rows.batch_size])
        return numbered.map(self._read, num_parallel_calls=parallel_calls)

    def _read(self, n: tf.Tensor, element: Any) -> tuple[tf.Tensor, ...]:
        image = tf.cast(element[0] if self.is_pair else element, self.format.dtype)
        if not self.with_masks:
            return n, image
        mask = tf.cast(element[1], tf.int32)
        return n, image, mask[..., 0] if mask.shape.rank == 3 else tf.ensure_shape(mask, (None, None))


def _numbered(source: Source, with_masks: bool, settings: BatchSettings, stream: int) -> NumberedImages:
    """Return the numbered images of a list, whose order the seed decides, or of a dataset, which keeps its own."""
    if isinstance(source, tf.data.Dataset):
        return DatasetImages(source, with_masks)
    if with_masks:
        require_masks(source)
    return ListImages(source, with_masks, (settings.seed, stream), settings.augmentation)


class _Views:
    """Makes single examples: dicts of the batch's entries without the batch axis."""

    def __init__(self, settings: BatchSettings, image_format: ImageFormat):
        self.settings = settings.views(image_format)
        self.crop = settings.crop
        self.normalization = Normalization.of(settings.normalization, image_format.channels)
        self.strong_view = _traced_strong_view(self.settings.policy)

    def labeled(self, n: tf.Tensor, image: tf.Tensor, mask: tf.Tensor) -> Example:
        image, _ = self._filled(image)
        return labeled_example(self, self._sample(True, n, image, mask), image, mask)

    def unlabeled(self, n: tf.Tensor, image: tf.Tensor, mask: tf.Tensor | None = None) -> Example:
        image, missing = self._filled(image)
        return unlabeled_example(self, self._sample(False, n, image, mask), image, mask, missing)

    def _filled(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return a float image with the mean in place of NaN, and int32 (H, W), 0 where it has data."""
        if image.dtype == tf.uint8:
            return image, None
        missing = tf.math.is_nan(image)
        return tf.where(missing, self.normalization.mean, image), tf.cast(tf.reduce_any(missing, -1), tf.int32)

    def _sample(self, labeled: bool, n: tf.Tensor, image: tf.Tensor, mask: tf.Tensor | None) -> ExampleFactors:
        def sample(number, height, width):
            return sample_example(self.settings, labeled, int(number), (int(height), int(width)))

        size = tf.shape(image)[:2]
        message = "Image and mask differ in size; run the check of the samples."
        check = None if mask is None else tf.debugging.assert_equal(size, tf.shape(mask), message)
        with tf.control_dependencies([] if check is None else [check]):
            return sample_in_graph(sample, [n, size[0], size[1]], [0, *self.crop])

    def weak_image(self, image: tf.Tensor, geometry: WeakGeometry) -> tf.Tensor:
        return weak_tensorflow.weak_image(image, geometry, self.crop)

    def weak_mask(self, mask: tf.Tensor, geometry: WeakGeometry) -> tf.Tensor:
        return weak_tensorflow.weak_mask(mask, geometry, self.crop)

    def valid_area(self, geometry: WeakGeometry) -> tf.Tensor:
        return weak_tensorflow.valid_area(geometry, self.crop)

    def context_image(self, image: tf.Tensor, top: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
        return weak_tensorflow.part_of(image, top, left, cast(tuple[int, int], self.settings.context))

    def normalize(self, image: tf.Tensor) -> tf.Tensor:
        mean, scale = self.normalization.per_row(image.shape[1])
        rows = tf.reshape(image, (tf.shape(image)[0], -1))
        image = tf.reshape((rows - mean) * scale, image.shape)
        return tf.reverse(image, [-1]) if self.normalization.reverse_channels else image


@functools.cache
def _traced_strong_view(policy: Policy) -> Callable[[tf.Tensor, StrongFactors], tf.Tensor]:
    """Return the strong view as one function of the graph: traced once for all views and datasets."""
    return tf.function(strong_view_layer(policy).augment_image, autograph=False, jit_compile=False)


def _batched(
    images: NumberedImages, settings: BatchSettings, rows: BatchRows, make: Callable[..., Example]
) -> tf.data.Dataset:
    calls = _threads(settings)
    examples = _map(images.examples(settings.start_step, settings.steps, rows, calls), make, calls)
    batches = examples.batch(len(rows.rows), drop_remainder=True)
    order = np.searchsorted(sorted(rows.rows), rows.rows)
    if (np.diff(order) == 1).all():
        return batches
    return _map(batches, lambda batch: {name: tf.gather(value, order) for name, value in batch.items()}, None)


def _map(dataset: tf.data.Dataset, function: Any, parallel_calls: int | None) -> tf.data.Dataset:
    """Map without AutoGraph: nothing here needs it, and converting keras-cv takes many seconds."""
    function = tf.autograph.experimental.do_not_convert(function)
    return dataset.map(function, num_parallel_calls=parallel_calls)


def _threads(settings: BatchSettings) -> int:
    return max(1, settings.parallel_calls)


def _options(threads: int) -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # A pool of its own: the pipeline must not take the CPUs that the training step runs on.
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    return options
