"""Training batches: labelled and unlabelled samples, augmented, as one flat dict per step."""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rankmatch_keras.data.boxes import cutmix_box
from rankmatch_keras.data.examples import ExampleSource, examples_of
from rankmatch_keras.data.intensity import IntensityAugmentation
from rankmatch_keras.data.samples import Sample
from rankmatch_keras.data.seeds import fold
from rankmatch_keras.data.statistics import ImageFormat
from rankmatch_keras.data.strong import StrongAugmentation
from rankmatch_keras.data.weak import draw_geometry, valid_area, weak_image, weak_mask
from rankmatch_keras.errors import UserError

# Numbers of the random streams: whatever is drawn has a seed of its own.
_LABELED, _UNLABELED, _SOURCE = 1, 2, 3


def training_batches(
    labeled: Sequence[Sample] | tf.data.Dataset,
    unlabeled: Sequence[Sample] | tf.data.Dataset | None = None,
    *,
    crop: int | tuple[int, int],
    batch_size: int,
    unlabeled_batch_size: int | None = None,
    normalization: Any,
    seed: int = 0,
    start_step: int = 0,
    steps: int | None = None,
    box_source: str = "in_batch",
    scale: tuple[float, float] = (0.5, 2.0),
    strong_views: int = 2,
    parallel_calls: int | None = None,
) -> tf.data.Dataset:
    """Make the dataset of training batches.

    Batch number t is a function of the arguments and t alone: not of the number of threads, nor of where the
    run started. Each list is reshuffled for every pass over it; a `tf.data.Dataset` is repeated in its own order.

    Images of 8-bit colour get the papers' colour jitter, grey and blur; all others, of any number of channels,
    brightness and contrast per channel, and blur.

    Args:
        labeled: samples with masks, or a dataset of single (image (H, W, C), mask (H, W)) pairs with a known C.
        unlabeled: samples whose masks, if any, are never read, or a dataset of single images (H, W, C); None or
            empty for supervised training.
        crop: height and width of the views, or one number for both.
        batch_size: labelled images per batch, Bl.
        unlabeled_batch_size: unlabelled images per batch, Bu; as many as labelled ones unless given.
        normalization: has `mean`, `std` (one number or one per channel) and `reverse_channels`, as
            `rankmatch_keras.layers.ChannelNormalization`.
        seed: decides everything random, >= 0.
        start_step: number of the first batch; a resumed run gives the number of batches already seen.
        steps: how many batches there are from there on; endless unless given.
        box_source: where CutMix boxes are to be pasted from: "in_batch", or "second_view", which adds a
            second draw of the same unlabelled images to the batch.
        scale: range of the random resize.
        strong_views: 1 or 2 strong views per unlabelled image.
        parallel_calls: examples made at the same time; unless given, one less than there are processors,
            which leaves one to the training step.

    Returns:
        A dataset of flat dicts with static shapes: `labeled_image` float32 (Bl, H, W, C) and `labeled_mask`
        int32 (Bl, H, W); with unlabelled samples also `weak_image` and `strong_image_1`, `strong_image_2`
        float32 (Bu, H, W, C), `valid` bool (Bu, H, W), False on padding, `cutmix_box_1`, `cutmix_box_2` int32
        (Bu, 4); with "second_view" also `source_weak_image`, `source_strong_image_1`,
        `source_strong_image_2` and `source_valid`. Images are normalised.

    Raises:
        UserError: an argument is out of its range, there is no labelled sample, or one lacks its mask; labelled and
            unlabelled images differ in channels or type, or the normalisation has another number of channels.
    """
    size = (crop, crop) if isinstance(crop, (int, np.integer)) else (int(crop[0]), int(crop[1]))
    unlabeled_batch_size = batch_size if unlabeled_batch_size is None else unlabeled_batch_size
    _check_positive(crop_height=size[0], crop_width=size[1], batch_size=batch_size)
    _check_positive(unlabeled_batch_size=unlabeled_batch_size, steps=1 if steps is None else steps)
    _check_options(seed, start_step, box_source, scale, strong_views)
    _hide_accelerators()

    parallel_calls = parallel_calls or max(1, (os.cpu_count() or 1) - 1)
    source = examples_of(labeled, with_masks=True, seed=(seed, _LABELED))
    views = _Views(size, scale, source.format, _Normalization(normalization, source.format.channels, size[1]))
    examples = source.examples(start_step, steps, batch_size, parallel_calls)
    dataset = _map(examples, lambda n, image, mask: views.labeled(image, mask, seed, n), parallel_calls)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    if isinstance(unlabeled, tf.data.Dataset) or unlabeled:
        other = _unlabeled_source(unlabeled, source, seed).examples(
            start_step, steps, unlabeled_batch_size, parallel_calls
        )
        second = box_source == "second_view"
        other = _map(other, lambda n, image: views.unlabeled(image, seed, n, strong_views, second), parallel_calls)
        other = other.batch(unlabeled_batch_size, drop_remainder=True)
        dataset = _map(tf.data.Dataset.zip(dataset, other), lambda a, b: {**a, **b}, None)
    return dataset.prefetch(2).with_options(_options(parallel_calls))


def _unlabeled_source(unlabeled: Any, labeled: ExampleSource, seed: int) -> ExampleSource:
    source = examples_of(unlabeled, with_masks=False, seed=(seed, _UNLABELED))
    if source.format != labeled.format:
        raise UserError(
            f"unlabelled images like the labelled ones ({labeled.format})", f"{source.format}", "Convert one kind."
        )
    return source


class _Views:
    """Makes single examples: dicts of the batch's entries without the batch axis."""

    def __init__(
        self,
        crop: tuple[int, int],
        scale: tuple[float, float],
        image_format: ImageFormat,
        normalize: "_Normalization",
    ):
        self.crop = crop
        self.scale = scale
        self.normalize = normalize
        self.strong = _strong_view(image_format)

    def labeled(self, image: tf.Tensor, mask: tf.Tensor, seed: int, n: tf.Tensor) -> dict[str, tf.Tensor]:
        same_size = tf.debugging.assert_equal(
            tf.shape(image)[:2], tf.shape(mask), "Image and mask differ in size; run the check of the samples."
        )
        with tf.control_dependencies([same_size] if same_size is not None else []):
            geometry = draw_geometry(fold((seed, _LABELED), n), tf.shape(image)[:2], self.crop, self.scale)
        return {
            "labeled_image": self.normalize(weak_image(image, geometry, self.crop)),
            "labeled_mask": weak_mask(mask, geometry, self.crop),
        }

    def unlabeled(
        self, image: tf.Tensor, seed: int, n: tf.Tensor, strong_views: int, second: bool
    ) -> dict[str, tf.Tensor]:
        example_seed = fold((seed, _UNLABELED), n)
        example = self._views(image, example_seed, strong_views)
        for k in range(1, strong_views + 1):
            example[f"cutmix_box_{k}"] = cutmix_box(fold(example_seed, 10 + k), self.crop)
        if second:
            source = self._views(image, fold((seed, _SOURCE), n), strong_views)
            example |= {f"source_{name}": value for name, value in source.items()}
        return example

    def _views(self, image: tf.Tensor, seed: tf.Tensor, strong_views: int) -> dict[str, tf.Tensor]:
        geometry = draw_geometry(fold(seed, 0), tf.shape(image)[:2], self.crop, self.scale)
        weak = weak_image(image, geometry, self.crop)
        views = {"weak_image": self.normalize(weak), "valid": valid_area(geometry, self.crop)}
        for k in range(1, strong_views + 1):
            views[f"strong_image_{k}"] = self.normalize(self.strong(weak, fold(seed, k)))
        return views


@functools.cache
def _strong_view(image_format: ImageFormat) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return the strong view as one function of the graph: traced once for all views and datasets."""
    if image_format.is_colour:
        layer = StrongAugmentation()
    else:
        layer = IntensityAugmentation(image_format.channels, bounded=image_format.dtype == "uint8")
    return tf.function(layer.augment, autograph=False, jit_compile=False)


class _Normalization:
    """The arithmetic of the model's ChannelNormalization, in TensorFlow, for images of a known width."""

    def __init__(self, layer: Any, channels: int, width: int):
        given = np.size(layer.mean)
        if given not in (1, channels):
            raise UserError(
                f"a normalisation of the images' {channels} channels", f"{given} means", "Give one per channel."
            )
        # Whole rows: TensorFlow takes five times as long where the last axis is as short as the channels.
        self.mean = np.tile(np.broadcast_to(np.asarray(layer.mean, np.float32), channels), width)
        self.scale = np.tile(1.0 / np.broadcast_to(np.asarray(layer.std, np.float32), channels), width)
        self.reverse_channels = bool(layer.reverse_channels)

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


def _hide_accelerators() -> None:
    """Keep TensorFlow from taking all GPU memory where it only feeds another backend."""
    if keras.backend.backend() != "tensorflow":
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError:  # TensorFlow already runs, and whoever started it chose its devices.
            pass


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise UserError(f"{name.replace('_', ' ')} of at least 1", f"{value}", "Give a larger number.")


def _check_options(seed: int, start_step: int, box_source: str, scale: tuple[float, float], strong_views: int) -> None:
    if seed < 0 or start_step < 0:
        raise UserError("seed and start_step >= 0", f"{seed} and {start_step}", "Give numbers from 0 on.")
    if box_source not in ("in_batch", "second_view"):
        raise UserError("box_source 'in_batch' or 'second_view'", f"{box_source!r}", "Choose one of them.")
    if strong_views not in (1, 2):
        raise UserError("1 or 2 strong views", f"{strong_views}", "Choose one of them.")
    if not 0 < scale[0] <= scale[1]:
        raise UserError("a scale range with 0 < low <= high", f"{scale}", "Give it as (low, high).")
