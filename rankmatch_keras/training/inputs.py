"""Inputs of a training run: labeled images, the check before training, normalization and batches."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from rankmatch_keras import check, data, methods, models
from rankmatch_keras.backend.distribution import running
from rankmatch_keras.data.sets.pixel_statistics import class_pixels, largest_sides
from rankmatch_keras.data.views.own import OwnAugmentation
from rankmatch_keras.errors import UserError
from rankmatch_keras.layers import ChannelNormalization
from rankmatch_keras.texts import counted, say
from rankmatch_keras.training.fitting import LOOKED_AT
from rankmatch_keras.training.options import Options
from rankmatch_keras.training.self_training import pseudo_labeled

BETA = 0.999  # of the effective number of samples
PATCH = 256  # pixels that count as one sample
STRIDE = 16  # sides of 16 k + 1 pixels align with the feature maps best


def choose_split(dataset: data.SegmentationData, options: Options) -> data.Split:
    """Choose the labeled images.

    Raises:
        UserError: too many labels are asked for, or none are left unlabeled for a method that needs them.
    """
    if options.labeled_list:
        split = data.split_from_lists(options.labeled_list, options.unlabeled_list, options.data, like=dataset)
    else:
        labels = options.labels or sum(sample.mask is not None for sample in dataset.train)
        split = data.choose_labeled([*dataset.train, *dataset.unlabeled], labels, options.seed)
    if not split.unlabeled and options.needs_unlabeled:
        raise UserError(
            "unlabeled images",
            "none: every image is labeled",
            "Give a folder of them with --unlabeled, ask for fewer --labels, or take --method supervised.",
        )
    return split


def checked(
    dataset: data.SegmentationData, split: data.Split, options: Options
) -> tuple[data.SegmentationData, data.Split]:
    """Look at every file that the run will read.

    Returns:
        The data and the split; with `--skip-bad` without the samples that cannot be used.

    Raises:
        UserError: something cannot be used; the message lists all of it.
    """
    unlabeled = split.unlabeled if options.needs_unlabeled else ()
    without_mask = tuple(sample for sample in dataset.train if sample.mask is None)
    used = dataclasses.replace(dataset, train=(*split.labeled, *without_mask), unlabeled=unlabeled)
    report = check.check(used, thorough=False)
    check.require_usable(report, skip_bad=options.skip_bad)
    if options.skip_bad:
        dataset, split = _without_bad(dataset, split, report)
    say(f"{dataset.name}: {len(split.labeled)} labeled, {len(split.unlabeled)} unlabeled, split {split.id}")
    if unlabeled:
        for what, numbers in check.differences(split.labeled, split.unlabeled).items():
            say(f"Labeled and unlabeled images differ in {what} ({numbers}). {check.OTHER_KIND}")
    for line in check.remarks_of(report):
        say(line)
    if report.never_labeled:
        absent = ", ".join(report.never_labeled)
        say(f"No labeled mask shows {absent}: not learnable until an image of each is labeled.")
    return dataset, split


def _without_bad(dataset, split, report):
    parts = (split.labeled, split.unlabeled, dataset.val, dataset.test)
    labeled, unlabeled, val, test = (check.without_bad(samples, report) for samples in parts)
    kept = {id(sample) for samples in (labeled, unlabeled, val, test) for sample in samples}
    skipped = tuple(sample.name for samples in parts for sample in samples if id(sample) not in kept)
    if skipped:
        say(f"Left out {counted(len(skipped), 'image')} that cannot be used: {', '.join(skipped[:5])}")
    split = dataclasses.replace(split, labeled=labeled, unlabeled=unlabeled, id=data.split_id(labeled), skipped=skipped)
    return dataclasses.replace(dataset, val=val, test=test), split


def normalization_of(options: Options, split: data.Split) -> ChannelNormalization:
    """Make the model's normalization: the backbone's own for 8-bit color images, otherwise measured."""
    if data.image_format(split.labeled).is_color:
        return ChannelNormalization(**models.backbone_normalization(options.backbone))
    statistics = data.channel_statistics([*split.labeled, *split.unlabeled])
    return ChannelNormalization(**models.measured_normalization(options.backbone, *statistics))


def class_weights_of(options: Options, dataset: data.SegmentationData, split: data.Split) -> tuple[float, ...] | None:
    """Return the weights of the classes in the losses; `None` where all are equal.

    `auto` weights a class by `(1 - b) / (1 - b^n)` (Cui et al., Class-Balanced Loss, CVPR 2019, Eq. 8), b = 0.999 and n
    its labeled pixels in units of 256: neighbors show the same thing. The mean over the labeled pixels is 1. Classes
    that no label shows have weight 1.

    Raises:
        UserError: the option is neither `auto` nor a number for each class.
    """
    text = options.class_weights
    if text is None:
        return None
    if text == "auto":
        pixels = class_pixels(split.labeled, dataset.num_classes).sum(axis=0)
        weights = np.where(pixels > 0, (1.0 - BETA) / (1.0 - BETA ** np.maximum(pixels / PATCH, 1.0)), 0.0)
        weights = weights * pixels.sum() / max((weights * pixels).sum(), 1e-12)
        return tuple(float(weight) for weight in np.where(pixels > 0, weights, 1.0))
    try:
        given = tuple(float(part) for part in text.split(","))
    except ValueError:
        given = ()
    if len(given) != dataset.num_classes or not all(math.isfinite(each) and each >= 0.0 for each in given):
        raise UserError(
            f"--class-weights auto or {dataset.num_classes} numbers of at least 0, separated by commas",
            repr(text)[:100],
            f"Give one for each of {', '.join(dataset.class_names)}.",
        )
    return given


def build_batches(
    method: methods.Method,
    split: data.Split,
    normalization: ChannelNormalization,
    options: Options,
    start_step: int,
    augmentation: OwnAugmentation | None = None,
):
    """Make this process's part of the training batches; without unlabeled images where there are only labels to use.

    Args:
        method: the method, in the state in which it will train.
        split: which images are labeled.
        normalization: the model's own.
        options: the run's options; every optimizer step takes `accumulate` batches.
        start_step: optimizer steps already done.
        augmentation: the person's own.
    """
    unlabeled = None if options.method == "supervised" or method.labels_only else split.unlabeled
    pseudo_labels = options.method == "selftraining"
    if pseudo_labels:
        unlabeled = pseudo_labeled(split.unlabeled, options)
    batches = data.training_batches(
        split.labeled,
        unlabeled,
        crop=options.side,
        batch_size=options.batch,
        normalization=normalization,
        seed=options.seed,
        start_step=start_step * options.accumulate,
        box_source=options.chosen_box_source(),
        scale=(options.min_scale, options.max_scale),
        strong_views=method.strong_views,
        strong=options.strong or method.strong_policy,
        hue=options.hue,
        pseudo_labels=pseudo_labels,
        pipeline=options.pipeline,
        rows=running().rows,
        augmentation=augmentation,
        strong_labeled=options.strong_labeled,
        context=context_of(split.unlabeled, options) if "context_image" in method.required and unlabeled else None,
    )
    return running().batches(batches)


def context_of(unlabeled: Sequence[data.Sample], options: Options) -> tuple[int, int]:
    """Return the height and width of the part of an image that surrounds its view: as much as the view can show.

    The smallest scale shows most, a crop divided by it; images that are smaller are shown whole.
    """
    sides = (min(math.ceil(options.side / options.min_scale), side) for side in largest_sides(unlabeled, LOOKED_AT))
    height, width = (STRIDE * math.ceil((side - 1) / STRIDE) + 1 for side in sides)
    return height, width
