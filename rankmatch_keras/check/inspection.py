"""Inspection of one sample: what it holds, and everything that is wrong with it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.check.duplicates import Fingerprint, fingerprint
from rankmatch_keras.data.masks.mask_files import MaskFile
from rankmatch_keras.data.masks.sizes import wrong_size
from rankmatch_keras.data.readers.images import image_info, read_orientation
from rankmatch_keras.data.readers.slices import slices_of
from rankmatch_keras.data.readers.sources import ImageFile, Remark
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.data.views.no_data import filled, without_data
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted

# A value that fills more of a channel than this, and lies so many deviations of the others off, is no measurement.
FAR_SHARE, FAR_DEVIATIONS = 0.01, 20.0


@dataclass(frozen=True)
class Problem:
    """A fault that makes a sample unusable.

    Attributes:
        kind: a key of `findings.KINDS`.
        error: what was expected and found, and the remedy.
    """

    kind: str
    error: UserError


@dataclass(frozen=True, eq=False)
class Inspection:
    """Facts and problems of one sample.

    Attributes:
        sample: the sample.
        part: the part of the data set that it belongs to.
        size: height and width of the image; None if it could not be read.
        pixels: type of the pixels and number of channels, e.g. `("uint8", 3)`; None if unknown.
        low: smallest value of each channel; empty if values were not measured.
        high: largest value of each channel.
        mean: mean value of each channel.
        turned: EXIF orientations of image and mask, if they differ and the sizes do not tell which is right.
        no_data: share of pixels without data.
        far_value: a value far from all others and its share of the pixels, if one fills more than 1 % of a channel.
        fingerprint: for comparison with other images, if asked for.
        class_pixels: int64 (256,), number of mask pixels of each value; None without a good mask.
        problems: everything that is wrong with it.
        remarks: what a person should know about how its image and its mask are read.
    """

    sample: Sample
    part: str
    size: tuple[int, int] | None = None
    pixels: tuple[str, int] | None = None
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    turned: tuple[int, int] | None = None
    no_data: float = 0.0
    far_value: tuple[float, float] | None = None
    fingerprint: Fingerprint | None = None
    class_pixels: np.ndarray | None = None
    problems: tuple[Problem, ...] = field(default=())
    remarks: tuple[Remark, ...] = ()


def inspect(sample: Sample, part: str, num_classes: int, *, compare: bool = True) -> Inspection:
    """Decode image and mask of a sample and inspect them; whatever is wrong is returned, not raised.

    Args:
        sample: the sample; without mask only its image is inspected.
        part: the part of the data set that it belongs to.
        num_classes: K; masks may hold 0..K-1 and 255.
        compare: whether to measure value ranges and make a fingerprint too.
    """
    image, problem = _read(sample.read_image, "image-unreadable", str(sample.image))
    problems = [problem] if problem else []
    facts: dict = {}
    remarks: list[Remark] = []
    if image is not None and (image.ndim != 3 or not image.size):
        found = f"shape {image.shape} in '{sample.image}'"
        problems.append(Problem("image-unreadable", UserError("an image (H, W, C)", found, "Check its source.")))
    elif image is not None:
        facts = {"size": image.shape[:2], "pixels": (str(image.dtype), image.shape[-1])}
        missing = without_data(image)
        if missing is not None:
            facts["no_data"] = float(missing.mean())
        if image.dtype != np.uint8 and np.isinf(image).any():
            problems.append(_not_finite(image, sample))
        elif compare and (missing is None or not np.isnan(image).all((0, 1)).any()):
            facts |= _value_ranges(image)
            whole = image if missing is None else filled(image, np.asarray(facts["mean"]))
            facts["fingerprint"] = fingerprint(whole)
            facts["far_value"] = _far_value(image)
            remarks += getattr(sample.image, "remarks", list)()
    if sample.mask is not None:
        mask, problem = _read(sample.read_mask, "mask-unreadable", str(sample.mask))
        wrong = [problem] if mask is None else _mask_problems(mask, image, sample, num_classes)
        problems += [p for p in wrong if p]
        if mask is not None and not wrong:
            facts["turned"] = _turned(sample) if compare else None
            facts["class_pixels"] = np.bincount(mask.ravel(), minlength=256)
            remarks += [*getattr(sample.mask, "remarks", list)(), *_resized(sample, mask)]
    return Inspection(sample, part, **facts, problems=tuple(problems), remarks=tuple(remarks))


def inspect_header(sample: Sample, part: str) -> Inspection:
    """Inspect the two ends of an image file, about 20 times faster: its header, and that it is not cut off.

    If that does not show that all is well, as with TIFF files, the image is decoded.
    """
    source = sample.image
    if isinstance(source, ImageFile) and _is_whole(source.path):
        info, problem = _read(lambda: image_info(source.path, source.page), "image-unreadable", str(source))
        if info is None:
            return Inspection(sample, part, problems=(problem,))
        if source.channels in (None, info.channels) or info.channels == 1:
            channels = (source.channels or info.channels) * slices_of(source)
            pixels = ("uint8" if info.eight_bit else "float32", channels)
            return Inspection(sample, part, size=(info.height, info.width), pixels=pixels)
    return inspect(sample, part, 0, compare=False)


def _is_whole(path: Path) -> bool:
    """Return whether a file ends like a JPEG or PNG file."""
    try:
        with open(path, "rb") as file:
            file.seek(-min(64, os.fstat(file.fileno()).st_size), os.SEEK_END)
            tail = file.read(64)
    except OSError:
        return False
    return b"\xff\xd9" in tail or b"IEND" in tail


def _read(read, kind, name):
    """Return `(what was read, None)` or `(None, the problem)`."""
    try:
        return read(), None
    except UserError as error:
        return None, Problem(kind, error)
    except (OSError, ValueError, MemoryError) as error:  # from sources that users wrote
        found = f"'{name}': {error or type(error).__name__}"
        return None, Problem(kind, UserError("a readable file", found, "Check or replace it."))


def _not_finite(image: np.ndarray, sample: Sample) -> Problem:
    count = int(np.isinf(image).any(-1).sum())
    found = f"infinity at {counted(count, 'pixel')} of '{sample.image}'"
    return Problem("image-values", UserError("finite pixel values", found, "Replace them, or leave the image out."))


def _value_ranges(image: np.ndarray) -> dict[str, tuple[float, ...]]:
    """Measure smallest, largest and mean value of each channel."""
    # One channel at a time: NumPy is ten times slower over the first two axes at once.
    channels = [image[..., channel] for channel in range(image.shape[-1])]
    return {
        "low": tuple(float(np.nanmin(channel)) for channel in channels),
        "high": tuple(float(np.nanmax(channel)) for channel in channels),
        "mean": tuple(float(np.nanmean(channel, dtype=np.float64)) for channel in channels),
    }


def _far_value(image: np.ndarray) -> tuple[float, float] | None:
    """Find a value that fills much of a float channel far from all others: the value and its share of the pixels."""
    for channel in np.moveaxis(image, -1, 0) if image.dtype.kind == "f" else ():
        values = channel[~np.isnan(channel)].astype(np.float64)
        for value in (values.min(), values.max()) if values.size else ():
            rest = values[values != value]
            share = 1.0 - rest.size / values.size
            if share > FAR_SHARE and rest.size and abs(value - rest.mean()) > FAR_DEVIATIONS * rest.std() > 0.0:
                return float(value), share
    return None


def _mask_problems(mask: np.ndarray, image: np.ndarray | None, sample: Sample, num_classes: int) -> list[Problem]:
    problems = []
    if image is not None and mask.shape != image.shape[:2]:
        problems.append(Problem("mask-size", wrong_size(mask.shape, image.shape[:2], sample.mask, sample.image)))
    wrong = (mask < 0) | ((mask >= num_classes) & (mask != IGNORE_INDEX))
    if wrong.any():
        error = UserError(
            f"mask values 0..{num_classes - 1} or 255 (ignore)",
            f"{_listed(np.unique(mask[wrong]))} at {int(wrong.sum())} pixels of '{sample.mask}'",
            "Correct the mask, or --classes; write 255 where a pixel shall be ignored.",
        )
        problems.append(Problem("mask-values", error))
    return problems


def _resized(sample: Sample, mask: np.ndarray) -> list[Remark]:
    height, width = sample.mask.read().shape if sample.mask and sample.resize_mask else mask.shape
    if (height, width) == mask.shape:
        return []
    return [Remark("mask-resized", f"from {width} x {height} to {mask.shape[1]} x {mask.shape[0]}")]


def _turned(sample: Sample) -> tuple[int, int] | None:
    if not isinstance(sample.image, ImageFile) or not isinstance(sample.mask, MaskFile):
        return None
    try:
        image, mask = (read_orientation(source.path, source.page) for source in (sample.image, sample.mask))
        height, width = image_info(sample.image.path, sample.image.page)[:2]
    except UserError:  # files that changed since they were read
        return None
    # With height and width exchanged in one of them alone, equal sizes show that both are upright.
    exchanged = (image > 4) != (mask > 4) and height != width
    return (image, mask) if image != mask and not exchanged else None


def _listed(values: np.ndarray) -> str:
    return ", ".join(str(value) for value in values[:4].tolist()) + (", ..." if len(values) > 4 else "")
