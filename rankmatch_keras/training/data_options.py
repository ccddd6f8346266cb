"""Options of the data of a run and of which images are labeled, a part of the one catalog; see `options`."""

import functools
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from annotated_types import Ge, Le

from rankmatch_keras.training.catalog import About

DATA, SPLIT = "Data", "Labeled images and validation"

# How masks are read: what `evaluate` may be told too, about masks of others.
READING = ("classes", "legend", "binarize", "mask_threshold", "mask_suffix", "resize_masks")

_data = functools.partial(About, DATA, flag="own data")
_free = functools.partial(About, SPLIT, in_comparison="free")


@pydantic.dataclasses.dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid", allow_inf_nan=False))
class DataOptions:
    """Everything a person can choose about the data."""

    dataset: Annotated[
        str | None,
        # Old records of recipes lack it; every record names its loader, which is what must agree.
        _data(
            "Known data set: PascalVOC, Cityscapes, Lucchi, CamVid, ADE20K, COCOStuff or SampleScenes.",
            on_resume="free",
            in_comparison="free",
        ),
    ] = None
    data: Annotated[Path | None, About(DATA, "Folder of the data set; paths in lists are relative to it.")] = None
    images: Annotated[Path | None, _data("Folder of labeled images, or a TIFF stack.")] = None
    masks: Annotated[
        Path | None,
        _data("Their masks: a folder, TIFF stack, JSON file, or zip file (docs/data.md)."),
    ] = None
    unlabeled: Annotated[Path | None, _data("Folder of images without masks, or a TIFF stack.")] = None
    val_images: Annotated[Path | None, _data("Folder of validation images.")] = None
    val_masks: Annotated[Path | None, _data("Folder of their masks.")] = None
    classes: Annotated[
        str | None,
        _data("Class names in the order of their ids, separated by commas or in a .txt file, or their number."),
    ] = None
    legend: Annotated[
        Path | None, _data("Text file of `name,red,green,blue` lines: what the colors of the masks mean.")
    ] = None
    binarize: Annotated[
        bool | None, _data("Read black-and-white masks with soft edges as two classes: dark and bright.")
    ] = None
    mask_threshold: Annotated[
        float | None,
        Ge(0.0),
        Le(1.0),
        _data("The same, split at this part of the way from dark to bright; --binarize takes 0.5."),
    ] = None
    mask_suffix: Annotated[
        str | None,
        _data("What names of masks have beyond their images', e.g. _roads; usual ones, as _mask, are found without."),
    ] = None
    resize_masks: Annotated[
        bool | None, _data("Resize masks of another size than their images by nearest neighbors.")
    ] = None
    context: Annotated[
        int | None,
        Ge(0),
        Le(10),
        _data("Neighboring slices on each side to show with a slice of a volume, as further channels."),
    ] = None
    unlabeled_slices: Annotated[
        Literal["ignored", "empty", "missing"] | None,
        _data("Masks of slices that nobody labeled: ignored (255 everywhere; default), empty (0 too), or missing."),
    ] = None
    hold_out: Annotated[
        float,
        Ge(0.0),
        Le(0.9),
        About(SPLIT, "Fraction of the labeled images to validate on, without --val-images.", flag="own data"),
    ] = 0.2
    labels: Annotated[int | None, Ge(1), _free("Number of labeled images; the masks of the others stay unused.")] = None
    labeled_list: Annotated[
        Path | None,
        _free("Text file of `image mask` lines below --data: label exactly these, instead of --labels."),
    ] = None
    unlabeled_list: Annotated[Path | None, _free("Text file of unlabeled images, with --labeled-list.")] = None
    val_list: Annotated[
        Path | None, About(SPLIT, "Text file of `image mask` lines to validate on.", flag="own data")
    ] = None
