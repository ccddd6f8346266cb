"""Training batches by tf.data, with keras-cv's augmentation."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from rankmatch_keras.backend.numerics import keep_tensorflow_off_gpus
from rankmatch_keras.data.batches.sample_order import LABELED, SOURCE, UNLABELED
from rankmatch_keras.data.batches.settings import BatchRows, BatchSettings, Scaling, require_alike
from rankmatch_keras.data.batches.tf_data_sources import ExampleSource, examples_of
from rankmatch_keras.data.sets.pixel_statistics import ImageFormat
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.data.views.boxes_tensorflow import cutmix_box
from rankmatch_keras.data.views.intensity_keras_cv import IntensityAugmentation
from rankmatch_keras.data.views.policies import INTENSITIES, JITTERS
from rankmatch_keras.data.views.random_intensity_keras_cv import RandomIntensityAugmentation
from rankmatch_keras.data.views.seeds_tensorflow import fold
from rankmatch_keras.data.views.strong_keras_cv import StrongAugmentation
from rankmatch_keras.data.views.weak_tensorflow import draw_geometry, valid_area, weak_image, weak_mask


def make_batches(
    labeled: Sequence[Sample] | tf.data.Dataset,
    unlabeled: Sequence[Sample] | tf.data.Dataset | None,
    plan: BatchSettings,
) -> tf.data.Dataset:
    """Make the dataset of training batches; see `data.batches.training_batches`.

    Args:
        labeled: samples with masks, or a dataset of (image, mask) pairs.
        unlabeled: samples, or a dataset of images; None or empty for supervised training.
        plan: the checked arguments.

    Raises:
        UserError: there is no labelled sample, or one lacks its mask; labelled and unlabelled images differ in
            channels or type, or the normalisation has another number of channels.
    """
    keep_tensorflow_off_gpus()
    calls = max(1, plan.parallel_calls)
    source = examples_of(labeled, with_masks=True, seed=(plan.seed, LABELED))
    views = _Views(plan, source.format)
    dataset = _batched(source, plan, plan.labeled, calls, views.labeled)
    if isinstance(unlabeled, tf.data.Dataset) or unlabeled:
        other = examples_of(unlabeled, with_masks=plan.pseudo_labels, seed=(plan.seed, UNLABELED))
        require_alike(source.format, other.format)
        both = tf.data.Dataset.zip(dataset, _batched(other, plan, plan.unlabeled, calls, views.unlabeled))
        dataset = _map(both, lambda a, b: {**a, **b}, None)
    return dataset.prefetch(2).with_options(_options(calls))


def _batched(
    source: ExampleSource, plan: BatchSettings, rows: BatchRows, calls: int, make: Callable[..., dict[str, tf.Tensor]]
) -> tf.data.Dataset:
    examples = _map(source.examples(plan.start_step, plan.steps, rows, calls), make, calls)
    batches = examples.batch(len(rows.rows), drop_remainder=True)
    order = np.searchsorted(sorted(rows.rows), rows.rows)
    if (np.diff(order) == 1).all():
        return batches
    return _map(batches, lambda batch: {name: tf.gather(value, order) for name, value in batch.items()}, None)


class _Views:
    """Makes single examples: dicts of the batch's entries without the batch axis."""

    def __init__(self, plan: BatchSettings, image_format: ImageFormat):
        self.plan = plan
        self.normalize = _Normalization(Scaling.of(plan.normalization, image_format.channels), plan.crop[1])
        self.strong = _strong_view(image_format, plan.strong)

    def labeled(self, n: tf.Tensor, image: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        crop, seed = self.plan.crop, fold((self.plan.seed, LABELED), n)
        with _same_size(image, mask):
            geometry = draw_geometry(seed, tf.shape(image)[:2], crop, self.plan.scale)
        return {
            "labeled_image": self.normalize(weak_image(image, geometry, crop)),
            "labeled_mask": weak_mask(mask, geometry, crop),
        }

    def unlabeled(self, n: tf.Tensor, image: tf.Tensor, mask: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        seed = fold((self.plan.seed, UNLABELED), n)
        example = self._views(image, seed, mask)
        for k in range(1, self.plan.strong_views + 1):
            example[f"cutmix_box_{k}"] = cutmix_box(fold(seed, 10 + k), self.plan.crop)
        if self.plan.second_view:
            source = self._views(image, fold((self.plan.seed, SOURCE), n))
            example |= {f"source_{name}": value for name, value in source.items()}
        return example

    def _views(self, image: tf.Tensor, seed: tf.Tensor, mask: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        crop = self.plan.crop
        with contextlib.nullcontext() if mask is None else _same_size(image, mask):
            geometry = draw_geometry(fold(seed, 0), tf.shape(image)[:2], crop, self.plan.scale)
        weak = weak_image(image, geometry, crop)
        views = {"weak_image": self.normalize(weak), "valid": valid_area(geometry, crop)}
        if mask is not None:
            views["pseudo_mask"] = weak_mask(mask, geometry, crop)
        for k in range(1, self.plan.strong_views + 1):
            views[f"strong_image_{k}"] = self.normalize(self.strong(weak, fold(seed, k)))
        return views


def _same_size(image: tf.Tensor, mask: tf.Tensor) -> Any:
    """Return a context whose operations fail where image and mask differ in size."""
    check = tf.debugging.assert_equal(
        tf.shape(image)[:2], tf.shape(mask), "Image and mask differ in size; run the check of the samples."
    )
    return tf.control_dependencies([check] if check is not None else [])


@functools.cache
def _strong_view(image_format: ImageFormat, policy: str) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return the strong view as one function of the graph: traced once for all views and datasets."""
    if not image_format.is_color:
        layer = IntensityAugmentation(image_format.channels, bounded=image_format.dtype == "uint8")
    elif policy in INTENSITIES:
        layer = RandomIntensityAugmentation(*INTENSITIES[policy])
    else:
        layer = StrongAugmentation(**JITTERS[policy])
    return tf.function(layer.augment, autograph=False, jit_compile=False)


class _Normalization:
    """The arithmetic of the model's ChannelNormalization, in TensorFlow, for images of a known width."""

    def __init__(self, scaling: Scaling, width: int):
        # Whole rows: TensorFlow takes five times as long where the last axis is as short as the channels.
        self.mean, self.scale = np.tile(scaling.mean, width), np.tile(scaling.scale, width)
        self.reverse_channels = scaling.reverse_channels

    def __call__(self, image: tf.Tensor) -> tf.Tensor:
        rows = tf.reshape(image, (tf.shape(image)[0], -1))
        image = tf.reshape((rows - self.mean) * self.scale, image.shape)
        return tf.reverse(image, [-1]) if self.reverse_channels else image


def _map(dataset: tf.data.Dataset, function: Any, parallel_calls: int | None) -> tf.data.Dataset:
    """Map without AutoGraph: nothing here needs it, and converting keras-cv takes many seconds."""
    function = tf.autograph.experimental.do_not_convert(function)
    return dataset.map(function, num_parallel_calls=parallel_calls)


def _options(parallel_calls: int) -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # A pool of its own: the pipeline must not take the processors that the training step runs on.
    options.threading.private_threadpool_size = parallel_calls
    options.threading.max_intra_op_parallelism = 1
    return options
