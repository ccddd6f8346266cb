"""Anybody's own folder of test images and masks, read as the masks that a model was trained on."""

import dataclasses
import re
from pathlib import Path
from typing import Any, cast

from rankmatch_keras import check, data
from rankmatch_keras.data.readers.sources import ImageFile
from rankmatch_keras.errors import UserError
from rankmatch_keras.models.predictor import context_of
from rankmatch_keras.prediction.models import Trained
from rankmatch_keras.prediction.ranges import require_known_range
from rankmatch_keras.texts import say
from rankmatch_keras.training.dataset import sparse_labels
from rankmatch_keras.training.reopening import legend_of

AS_TRAINED = ("binarize", "mask_threshold", "resize_masks", "unlabeled_slices")


def open_test_folder(
    trained: Trained,
    images: Path,
    masks: Path,
    classes: tuple[str, ...] | None = None,
    legend: Path | None = None,
    skip_bad: bool = False,
    **reading: Any,
) -> data.SegmentationData:
    """Open images and masks to score a model on.

    Args:
        trained: the model. The legend and coding of its training masks hold for these too.
        images: folder or stack of images.
        masks: their masks, see `data.ImageFolder`.
        classes: names of the classes; by default those of the run, else as many as the model has.
        legend: what colors mean; by default that of the run.
        skip_bad: whether to leave out pairs that cannot be used, and name them.
        **reading: how else masks are read, as arguments of `data.ImageFolder`; `AS_TRAINED` by default as in the run.

    Returns:
        The images as training samples.

    Raises:
        UserError: see `data.ImageFolder`; or the number of classes differs from the model's, or the images are in
            other units than those that it was trained on.
    """
    count = len(trained.class_names)
    if classes is not None and len(classes) != count:
        raise UserError(
            f"{count} --classes, as the model has", f"{len(classes)}", "Name them in the order of their ids."
        )
    names = classes or (trained.class_names if trained.names_known else None)
    recorded = trained.record.get("data", {}).get("arguments", {})
    meaning: Any = legend
    if meaning is None and trained.record:
        meaning = legend_of(trained.path.parent, trained.record)
    if meaning is None and names and all(re.fullmatch("#[0-9a-f]{6}", name) for name in names):
        meaning = {name: tuple(bytes.fromhex(name[1:])) for name in names}  # a color that is absent here keeps its id
    as_trained = {name: recorded[name] for name in AS_TRAINED if recorded.get(name) is not None}
    context = context_of(trained.model)
    opened = data.ImageFolder(
        images,
        masks,
        classes=names or count,
        legend=meaning,
        context=context,
        strict=not skip_bad,
        **as_trained | reading,
    )
    if line := sparse_labels(opened):
        say(line)
    channels = trained.model.input_shape[-1] // (2 * context + 1)
    pictures = [dataclasses.replace(cast(ImageFile, sample.image), channels=channels) for sample in opened.train]
    samples = [
        dataclasses.replace(sample, image=picture) for sample, picture in zip(opened.train, pictures, strict=True)
    ]
    if skip_bad:
        samples = _usable(dataclasses.replace(opened, train=tuple(samples), unlabeled=()))
    require_known_range(trained.model, samples[0].read_image(), samples[0].image)
    return dataclasses.replace(opened, train=tuple(samples))


def _usable(opened: data.SegmentationData) -> list[data.Sample]:
    """Return the samples that can be scored; say of the others what is wrong with each."""
    report = check.check(opened, thorough=False)
    check.require_usable(report, skip_bad=True)
    usable = check.without_bad(opened.train, report)
    for error in (error for finding in report.findings for error in finding.errors):
        say(f"Left out: {error}", error=True)
    return list(usable)
