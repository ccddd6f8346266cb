"""The entry point of both pipelines: labeled and unlabeled samples, augmented, as one flat dict per step."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from rankmatch_keras.data.batches.pipelines import TF_DATA, choose_pipeline, default_parallel_calls
from rankmatch_keras.data.batches.settings import BatchRows, BatchSettings
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.data.views.own import OwnAugmentation
from rankmatch_keras.data.views.policies import require_policy
from rankmatch_keras.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

    from rankmatch_keras.data.batches.worker_batches import WorkerBatches


def training_batches(
    labeled: Union[Sequence[Sample], "tf.data.Dataset"],
    unlabeled: Union[Sequence[Sample], "tf.data.Dataset", None] = None,
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
    strong: str = "jitter",
    hue: float | None = None,
    pseudo_labels: bool = False,
    parallel_calls: int | None = None,
    pipeline: str = "auto",
    rows: Callable[[int], Iterable[int]] | None = None,
    augmentation: OwnAugmentation | None = None,
    strong_labeled: bool = False,
    context: tuple[int, int] | None = None,
) -> Union["tf.data.Dataset", "WorkerBatches"]:
    """Make the dataset of training batches.

    Batch number t is a function of the arguments and t alone: not of the number of threads or processes, nor of where
    the run started. Each list is reshuffled for every pass over it; a `tf.data.Dataset` is repeated in its own order.

    Two pipelines make them: "tf.data" with keras-cv's augmentation, and "workers", processes with NumPy that need no
    TensorFlow. Both use the same random numbers: their masks, valid areas and boxes are equal, their images agree up to
    rounding.

    Strong views of 8-bit color images are made as `strong` says; all others, of any number of channels, get brightness
    and contrast per channel, and blur.

    Args:
        labeled: samples with masks, or a dataset of single (image (H, W, C), mask (H, W)) pairs with a known C.
        unlabeled: samples whose masks, if any, are not read unless they are `pseudo_labels`, or a dataset of single
            images (H, W, C); None or empty for supervised training.
        crop: height and width of the views, or one number for both.
        batch_size: labeled images per batch, Bl.
        unlabeled_batch_size: unlabeled images per batch, Bu; by default as many as labeled ones.
        normalization: has `mean`, `std` (one number or one per channel) and `reverse_channels`, as
            `rankmatch_keras.layers.ChannelNormalization`.
        seed: decides everything random, >= 0.
        start_step: number of the first batch; a resumed run gives the number of batches already seen.
        steps: number of batches from there on; endless unless given.
        box_source: where CutMix boxes are to be pasted from: "in_batch", or "second_view", which adds a
            second view of the same unlabeled images to the batch.
        scale: range of the random resize.
        strong_views: 0, 1 or 2 strong views per unlabeled image, each with a CutMix box.
        strong: policy of the strong views of 8-bit color images: "jitter", "light_jitter", "soft_jitter" (color
            jitter, gray and blur, as in UniMatch, CutMix-Seg or CSS), "intensity" or "two_intensities" (one to three
            or two random operations, as in AugSeg or iMAS), or "none"; see `data.views.policies`.
        hue: largest shift of hue of the color jitter, 0 to 0.5 of the color circle; by default the policy's own.
        pseudo_labels: whether the unlabeled samples have masks nevertheless, made by a network.
        parallel_calls: examples made at the same time, by threads or worker processes; by default one less than
            there are CPUs, which leaves one to the training step. 0: in the main process itself ("tf.data": one
            thread).
        pipeline: "tf.data", "workers", or "auto": tf.data where TensorFlow and keras-cv are installed, else workers.
        rows: if several processes train together: a function from the number of images of the whole batch to the
            rows that this process makes, in the order of the batch that it hands out (`Distribution.rows`). Batch sizes
            are those of all processes together; only the process's own rows are read.
        augmentation: a function of one's own (`data.read_augmentation`) for each image and mask, before the weak view.
        strong_labeled: whether every second labeled view is made a strong one.
        context: height and width, in pixels of the image, of a part of each unlabeled image that surrounds its view,
            for methods that label it in the view's place (`methods.WeakToStrong`, `label_view="image"`).

    Returns:
        A `tf.data.Dataset`, or with "workers" an iterable `keras.utils.PyDataset`; `fit` takes both on every backend.
        Their elements are flat dicts with static shapes: `labeled_image` float32 (Bl, H, W, C) and
        `labeled_mask` int32 (Bl, H, W); with unlabeled samples also `weak_image` and `strong_image_1`,
        `strong_image_2` float32 (Bu, H, W, C), `valid` bool (Bu, H, W), False on padding, `cutmix_box_1`,
        `cutmix_box_2` int32 (Bu, 4); with "second_view" also `source_weak_image`, `source_strong_image_1`,
        `source_strong_image_2` and `source_valid`; with `pseudo_labels` also `pseudo_mask` int32 (Bu, H, W), 255 on
        padding; with `context` also `context_image` float32 (Bu, *context, C), and where the rows and columns of the
        view lie in it, `context_rows` float32 (Bu, H) and `context_columns` float32 (Bu, W). Images are normalized.

    Raises:
        UserError: an argument is out of its range, there is no labeled sample, or one lacks its mask; labeled and
            unlabeled images differ in channels or type, or the normalization has another number of channels; the
            pipeline is not installed; "workers" or an augmentation is given a `tf.data.Dataset`.
    """
    size = (crop, crop) if isinstance(crop, (int, np.integer)) else (int(crop[0]), int(crop[1]))
    unlabeled_batch_size = batch_size if unlabeled_batch_size is None else unlabeled_batch_size
    parallel_calls = default_parallel_calls() if parallel_calls is None else parallel_calls
    _check_positive(crop_height=size[0], crop_width=size[1], batch_size=batch_size)
    _check_positive(unlabeled_batch_size=unlabeled_batch_size, steps=1 if steps is None else steps)
    _check_options(seed, start_step, box_source, scale, strong_views, parallel_calls)
    require_policy(strong)
    settings = BatchSettings(
        crop=size,
        labeled=_own_rows(batch_size, rows),
        unlabeled=_own_rows(unlabeled_batch_size, rows),
        normalization=normalization,
        seed=seed,
        start_step=start_step,
        steps=steps,
        second_view=box_source == "second_view",
        scale=scale,
        strong_views=strong_views,
        strong=strong,
        hue=hue,
        parallel_calls=parallel_calls,
        pseudo_labels=pseudo_labels,
        augmentation=augmentation,
        strong_labeled=strong_labeled,
        context=context,
    )
    if augmentation is not None:
        _refuse_datasets("an augmentation", "Give lists of samples.", labeled, unlabeled)
    if choose_pipeline(pipeline) == TF_DATA:
        from rankmatch_keras.data.batches.tf_data import make_batches

        return make_batches(labeled, unlabeled, settings)
    remedy = "Choose the pipeline 'tf.data', which needs `pip install rankmatch-keras[tensorflow]`."
    _refuse_datasets("the input pipeline 'workers'", remedy, labeled, unlabeled)
    from rankmatch_keras.data.batches.worker_batches import WorkerBatches

    return WorkerBatches(labeled, unlabeled, settings)


def _own_rows(batch_size: int, rows: Callable[[int], Iterable[int]] | None) -> BatchRows:
    """Check the rows that this process makes."""
    own = range(batch_size) if rows is None else [int(row) for row in rows(batch_size)]
    if not own or len(set(own)) < len(own) or not set(own) <= {*range(batch_size)}:
        raise UserError(f"different rows of a batch of {batch_size} images", f"{own}", "Correct `rows`.")
    return BatchRows(batch_size, tuple(own))


def _refuse_datasets(where: str, remedy: str, *sources: Any) -> None:
    """Raise a UserError if a source needs TensorFlow."""
    tf = sys.modules.get("tensorflow")  # unless it is imported there are no datasets
    if tf is not None and any(isinstance(source, tf.data.Dataset) for source in sources):
        raise UserError(f"lists of samples for {where}", "a tf.data.Dataset", remedy)


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise UserError(f"{name.replace('_', ' ')} of at least 1", f"{value}", "Give a larger number.")


def _check_options(
    seed: int, start_step: int, box_source: str, scale: tuple[float, float], strong_views: int, parallel_calls: int
) -> None:
    for name, value in (("seed", seed), ("start_step", start_step), ("parallel_calls", parallel_calls)):
        if value < 0:
            raise UserError(f"{name} >= 0", f"{value}", "Give a number from 0 on.")
    if box_source not in ("in_batch", "second_view"):
        raise UserError("box_source 'in_batch' or 'second_view'", f"{box_source!r}", "Choose one of them.")
    if strong_views not in (0, 1, 2):
        raise UserError("0, 1 or 2 strong views", f"{strong_views}", "Choose one of them.")
    if not 0 < scale[0] <= scale[1]:
        raise UserError("a scale range with 0 < low <= high", f"{scale}", "Give it as (low, high).")
