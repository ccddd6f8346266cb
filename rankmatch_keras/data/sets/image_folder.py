"""Your own images: folders or stacks of images and masks."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from rankmatch_keras.data.masks.mask_sets import (
    MaskSet,
    detect_masks,
    images_without_masks,
    kind_of_masks,
    place_of_masks,
)
from rankmatch_keras.data.readers.folders import STACK_ENDINGS, Picture, ending_of, pictures_by_name
from rankmatch_keras.data.readers.guards import only_readable
from rankmatch_keras.data.readers.images import image_info
from rankmatch_keras.data.readers.slices import image_files
from rankmatch_keras.data.readers.sources import ImageFile
from rankmatch_keras.data.readers.videos import VIDEO_ENDINGS, Frame, count_frames
from rankmatch_keras.data.sets.samples import Sample, SegmentationData, seeded_order
from rankmatch_keras.data.sets.slices import IGNORED, MISSING, are_slices, block, labeled_and_unlabeled
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted


def image_folder(
    images: str | Path,
    masks: str | Path,
    unlabeled: str | Path | None = None,
    classes: int | Sequence[str] | None = None,
    val_images: str | Path | None = None,
    val_masks: str | Path | None = None,
    legend: Mapping[str, Sequence[int]] | str | Path | None = None,
    binarize: bool = False,
    mask_threshold: float | None = None,
    mask_suffix: str | None = None,
    resize_masks: bool = False,
    hold_out: float = 0.0,
    seed: int = 0,
    strict: bool = True,
    context: int = 0,
    unlabeled_slices: str = IGNORED,
    hold_out_block: bool = False,
) -> SegmentationData:
    """Open your own images: a folder of images, a folder of masks, a folder of unlabeled images.

    Folders are searched with their subfolders. Image and mask are matched by their path below the folder without
    ending; where no mask has the name of an image, by usual names such as `a_mask` or `mask_a` for `a`. One folder may
    hold both. Endings are jpg, jpeg, jpe, jfif, png, tif, tiff, bmp, webp or gif in any case. Instead of a folder each
    argument may be a TIFF stack or a NIfTI volume, of which every slice is a sample; masks may also be a folder of
    LabelMe files, one JSON file of COCO's or Label Studio's kind, one file per object, a zip file of masks, or an
    export of CVAT.

    The meaning of the masks is judged for each of them, and all must agree: class ids with 255 for pixels to ignore;
    two gray values such as 0 and 255, of which the smaller one is the background; or colors, named by a legend or as
    "#rrggbb". Palette masks hold class ids; where palettes differ, equal colors are equal classes. What is transparent
    in a mask was not drawn. Images may have 8 or more bits and any number of bands; gray ones are repeated if others of
    the set are in color.

    Args:
        images: the labeled images.
        masks: their masks; every image must have one.
        unlabeled: images without masks; named `unlabeled/...` where some have the names of labeled images.
        classes: the class names in the order of their ids, or how many classes there are; None: as in the masks.
        val_images: validation images.
        val_masks: their masks, of the same kind and meaning as `masks`; required with `val_images`.
        legend: what the colors of masks mean: a file of `name,red,green,blue` lines (or `red green blue name`), or a
            dict of colors by class name; names such as "void" and "ignore" stand for pixels to ignore. A file
            legend.csv, legend.txt or label_colors.txt in or beside the folder of the masks is found automatically.
        binarize: read black-and-white masks with soft edges, as smoothing and resizing leave them, as two classes: dark
            and bright.
        mask_threshold: the same, split at this part of the way from the dark value to the bright one, 0..1; `binarize`
            alone is 0.5.
        mask_suffix: what the name of each mask has beyond its image's, such as "_roads", in place of the usual names.
        resize_masks: resize masks of another size than their images by nearest neighbors, if both have one form.
        hold_out: without validation images, this fraction of the labeled images (at least one) becomes `val`.
        seed: which images are held out.
        strict: False leaves faults of single files to the check, which lists them all: an image without mask becomes a
            training sample without mask, and unreadable files are skipped when the meaning of masks is detected.
        context: slices on each side of a slice whose channels are added to its own, see `slices.image_files`.
        unlabeled_slices: what the masks of slices are that nobody labeled, see `slices.labeled_and_unlabeled`; these
            become `unlabeled`.
        hold_out_block: hold out slices of a volume that are neighbors, not random ones, which would be nearly copies of
            those trained on.

    Raises:
        UserError: a place is missing, empty or unreadable; an image has no mask; masks are of no known kind or
            contradict `classes` or `legend`; images differ in their number of channels, or only some have 8 bits; a
            file is in two parts of the data; or numbers are out of range.
    """
    _require_together(val_images, val_masks)
    _require_fraction(hold_out)
    threshold = _threshold(binarize, mask_threshold)
    images, masks = Path(images), place_of_masks(Path(masks))
    val_masks = None if val_masks is None else place_of_masks(Path(val_masks))
    pictures = pictures_by_name(images)
    others = {} if unlabeled is None else pictures_by_name(unlabeled, "unlabeled images")
    val_pictures = {} if val_images is None else pictures_by_name(val_images, "validation images")
    pictures = images_without_masks(pictures, images, masks, mask_suffix)
    if val_images is not None and val_masks is not None:
        val_pictures = images_without_masks(val_pictures, Path(val_images), val_masks, mask_suffix)
    _require_apart(pictures, others, "labeled and unlabeled images")
    _require_apart(pictures | others, val_pictures, "training and validation images")
    if pictures.keys() & others.keys():  # two folders with the same numbering
        others = {f"unlabeled/{name}": picture for name, picture in others.items()}
    channels = common_channels([*pictures.values(), *others.values(), *val_pictures.values()], strict)

    strict = strict and unlabeled_slices != MISSING
    mask_set = detect_masks(masks, images, pictures, classes, legend, threshold, strict, mask_suffix)
    sources = image_files(pictures, channels, context)
    train, bare = labeled_and_unlabeled(_samples(mask_set, masks, images, pictures, sources, strict), unlabeled_slices)
    val: tuple[Sample, ...] = ()
    if val_images is not None and val_masks is not None:
        sources = image_files(val_pictures, channels, context)
        val = _samples(mask_set, Path(val_masks), Path(val_images), val_pictures, sources, strict)
        val, _ = labeled_and_unlabeled(val, unlabeled_slices)
    elif hold_out:
        train, val = _held_out(train, hold_out, seed, hold_out_block)
    if resize_masks:
        train, val = (tuple(replace(sample, resize_mask=True) for sample in part) for part in (train, val))
    others_read = image_files(others, channels, context)
    return SegmentationData(
        name=images.parent.resolve().name or "images",
        train=train,
        val=val,
        class_names=mask_set.class_names,
        unlabeled=(*bare, *(Sample(name, image) for name, image in others_read.items())),
        palette=mask_set.palette,
        notes=mask_set.notes,
    )


def images_to_segment(place: str | Path, channels: int | None = 3, context: int = 0) -> tuple[Sample, ...]:
    """Make one sample without mask per picture of a folder or stack, or of a single image.

    Args:
        place: see `pictures_by_name`, or an image file, or a video.
        channels: see `ImageFile`.
        context: see `image_folder`.

    Raises:
        UserError: see `pictures_by_name` and `count_frames`.
    """
    place = Path(place)
    if place.is_file() and place.suffix.lower() in VIDEO_ENDINGS:
        if context:
            raise UserError("slices for a network that looks at their neighbors", f"the video {place}", "Give a stack.")
        numbers = range(count_frames(place))
        return tuple(Sample(f"{place.stem}/{number:06d}", Frame(place, number, channels)) for number in numbers)
    if place.is_file() and ending_of(place) not in STACK_ENDINGS:
        found = {place.stem: Picture(place)}
    elif not os.path.exists(place):
        raise UserError("a folder of images, an image, a stack, or a video", f"nothing at '{place}'", "Check --images.")
    else:
        found = pictures_by_name(place)
    return tuple(Sample(name, image) for name, image in image_files(found, channels, context).items())


def common_channels(pictures: Sequence[Picture], strict: bool = True) -> int:
    """Find the number of channels that all pictures can be read with, from their headers.

    Args:
        pictures: the pictures.
        strict: False: the number that most of the readable ones have.

    Raises:
        UserError: a file is no image, or two do not fit together; both are named.
    """
    if not strict:
        pictures = only_readable(pictures, lambda picture: image_info(*picture))
    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as executor:
        infos = list(executor.map(lambda picture: image_info(*picture), pictures))
    first: dict[int, Picture] = {}
    depth: dict[bool, Picture] = {}
    for picture, info in zip(pictures, infos, strict=True):
        first.setdefault(info.channels, picture)
        depth.setdefault(info.eight_bit, picture)
    if len(depth) > 1 and strict:
        raise UserError(
            "images of 8 bits, or of other types, but not both",
            f"8 bits in '{depth[True]}', more in '{depth[False]}'",
            "Save all of them in one type.",
        )
    if first.keys() == {1, 3}:
        return 3
    if not strict:
        return Counter(info.channels for info in infos).most_common(1)[0][0]
    if len(first) > 1:
        (some, one), (more, other) = sorted(first.items())[-2:]
        raise UserError(
            "images with one number of channels",
            f"{some} in '{one}' and {more} in '{other}'",
            "Save all of them with the same channels, or separate them.",
        )
    return next(iter(first))


def _samples(
    mask_set: MaskSet,
    masks: Path,
    images: Path,
    pictures: Mapping[str, Picture],
    sources: Mapping[str, ImageFile],
    strict: bool,
) -> tuple[Sample, ...]:
    kind = kind_of_masks(masks, images)
    if kind is not type(mask_set):
        raise UserError(f"{mask_set.kind} as the training masks are", f"{kind.kind} at '{masks}'", "Convert them.")
    found = mask_set.find(masks, images, pictures, strict)
    return tuple(Sample(name, source, found.get(name)) for name, source in sources.items())


def _held_out(
    samples: tuple[Sample, ...], fraction: float, seed: int, as_block: bool
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split into training and validation samples, in the order that also decides which images are labeled."""
    if len(samples) < 2:
        raise UserError(
            "at least 2 labeled images to hold one out", f"{counted(len(samples), 'labeled image')}", "Add more."
        )
    count = min(max(1, round(fraction * len(samples))), len(samples) - 1)
    names = [sample.name for sample in samples]
    chosen = block(names, count, seed) if as_block and are_slices(samples) else {*seeded_order(names, seed)[:count]}
    train, val = (tuple(s for s in samples if (s.name in chosen) == held) for held in (False, True))
    return train, val


def _require_together(val_images: str | Path | None, val_masks: str | Path | None) -> None:
    if (val_images is None) != (val_masks is None):
        given, other = ("val_masks", "val_images") if val_images is None else ("val_images", "val_masks")
        raise UserError("val_images and val_masks together", f"only {given}", f"Give {other} too.")


def _require_fraction(hold_out: float) -> None:
    if isinstance(hold_out, bool) or not isinstance(hold_out, (int, float)) or not 0 <= hold_out < 1:
        raise UserError("hold_out from 0 to less than 1", f"{hold_out!r}", "Give e.g. 0.2.")


def _threshold(binarize: bool, mask_threshold: float | None) -> float | None:
    """Return where gray masks are split, as a part of the way from dark to bright; None for nowhere."""
    if mask_threshold is None:
        return 0.5 if binarize else None
    if isinstance(mask_threshold, bool) or not isinstance(mask_threshold, (int, float)) or not 0 <= mask_threshold <= 1:
        raise UserError("mask_threshold from 0 to 1", f"{mask_threshold!r}", "Give e.g. 0.5.")
    return float(mask_threshold)


def _require_apart(some: Mapping[str, Picture], more: Mapping[str, Picture], what: str) -> None:
    """Refuse a file, however linked, that is in two parts of the data."""
    known = {(picture.path.resolve(), picture.page) for picture in some.values()}
    for picture in more.values():
        if (picture.path.resolve(), picture.page) in known:
            raise UserError(f"{what} that are different files", f"'{picture}' in both", "Separate them.")
