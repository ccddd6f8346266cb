"""Looks at every file of a data set, so that a bad one is found in seconds and not after hours of training."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from rankmatch_keras.data.findings import ERROR, LABELED, NOTE, PARTS, UNLABELED, Finding, in_order, make_finding
from rankmatch_keras.data.inspection import IGNORE, Inspection, inspect, inspect_header
from rankmatch_keras.data.rules import absent_classes, find, good_masks, total_pixels
from rankmatch_keras.data.samples import Sample, SegmentationData
from rankmatch_keras.errors import UserError

# So many unlabelled images are decoded before a training run (seconds); of more only the ends of the files are read.
QUICK_LIMIT = 2000
MAX_LINES = 20
# Errors that are the image's own, with whatever mask.
OF_IMAGES = ("image-unreadable", "image-values", "mask-missing", "mixed-channels", "mixed-depth")


@dataclass(frozen=True, eq=False)
class CheckReport:
    """What a check has seen and found.

    Attributes:
        name: name of the data set.
        class_names: names of its K classes.
        seen: one record per sample: labelled, unlabelled, validation, test.
        findings: what was found, notes included, errors first.
    """

    name: str
    class_names: tuple[str, ...]
    seen: tuple[Inspection, ...]
    findings: tuple[Finding, ...]

    @property
    def num_images(self) -> int:
        """Number of images in which nothing is wrong."""
        return sum(not any(p.kind.startswith("image") for p in one.problems) for one in self.seen)

    @property
    def num_masks(self) -> int:
        """Number of masks in which nothing is wrong."""
        return sum(one.class_pixels is not None for one in self.seen)

    @property
    def class_pixels(self) -> tuple[int, ...]:
        """Number of pixels of each class over all good masks."""
        return tuple(total_pixels(self.seen)[: len(self.class_names)].tolist())

    @property
    def never_labeled(self) -> tuple[str, ...]:
        """Names of the classes without a pixel in the labelled masks: they cannot be learnt."""
        return tuple(absent_classes(good_masks(self.seen, LABELED), self.class_names))

    @property
    def ignored_pixels(self) -> int:
        """Number of pixels with value 255 over all good masks."""
        return int(total_pixels(self.seen)[IGNORE])

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that are not notes."""
        return tuple(finding for finding in self.findings if finding.severity != NOTE)

    @property
    def trainable(self) -> bool:
        """Whether at least one labelled image has nothing wrong with it."""
        return any(one.part == LABELED and one.class_pixels is not None and not one.problems for one in self.seen)

    def with_names(self, kind: str, names: Sequence[str]) -> "CheckReport":
        """The report with one more finding, or itself where there are no names."""
        if not names:
            return self
        return replace(self, findings=in_order([*self.findings, make_finding(kind, names)]))

    def of_part(self, part: str) -> tuple[Inspection, ...]:
        """What was seen of one part of the data set ("labelled", "unlabelled", "validation", "test")."""
        return tuple(one for one in self.seen if one.part == part)


class UnusableData(UserError):
    """Several things are wrong with the data: one line each.

    Args:
        errors: what is wrong, at least one.
    """

    def __init__(self, errors: Sequence[UserError]):
        first = errors[0]
        super().__init__(first.expected, first.found, first.remedy)
        lines = [str(error) for error in errors[:MAX_LINES]]
        if len(errors) > MAX_LINES:
            lines.append(f"... and {len(errors) - MAX_LINES} more.")
        if len(errors) > 1:
            lines.append(f"{len(errors)} problems; `rankmatch check` reports them all, --skip-bad leaves samples out.")
        self.args = ("\n".join(lines),)


def check(
    dataset: SegmentationData, *, thorough: bool = True, progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Look at every sample of a data set. Whatever is wrong is collected in the report; nothing is raised for it.

    Args:
        dataset: the data; `train` are the labelled samples.
        thorough: decode every file, measure values and look for duplicates. False, as before a training run: only
            what stops the training; of more than 2,000 unlabelled images only the ends of the files are read.
        progress: called with how many of how many samples are done.

    Returns:
        The report; the same for the same files, whatever the number of threads.
    """
    samples = [*_in_parts(dataset)]
    unlabeled = sum(part == UNLABELED for _, part in samples)
    headers_only = not thorough and unlabeled > QUICK_LIMIT

    def look(entry: tuple[Sample, str]) -> Inspection:
        sample, part = entry
        if headers_only and part == UNLABELED:
            return inspect_header(sample, part)
        return inspect(sample, part, dataset.num_classes, compare=thorough)

    seen = _in_threads(look, samples, progress)
    report = CheckReport(dataset.name, dataset.class_names, tuple(seen), find(seen, dataset.class_names))
    undecoded = [str(one.sample.image) for one in seen if headers_only and one.part == UNLABELED]
    return report.with_names("not-decoded", undecoded)


def _in_parts(dataset: SegmentationData) -> Iterable[tuple[Sample, str]]:
    """Every sample with the name of its part, in the order of `PARTS`."""
    unlabeled = [replace(sample, mask=None) for sample in dataset.unlabeled]
    for part, samples in zip(PARTS, (dataset.train, unlabeled, dataset.val, dataset.test), strict=True):
        yield from ((sample, part) for sample in samples)


def _in_threads(look, entries, progress) -> list[Inspection]:
    # Pillow and hashlib release the interpreter lock while they work, so threads are enough.
    executor = ThreadPoolExecutor(max_workers=(os.cpu_count() or 1) + 1)
    seen = []
    try:
        for inspection in executor.map(look, entries):
            seen.append(inspection)
            if progress:
                progress(len(seen), len(entries))
    finally:
        executor.shutdown(cancel_futures=True)
    return seen


def require_usable(report: CheckReport, *, skip_bad: bool = False) -> None:
    """Stop where a training run cannot work, with everything that is wrong.

    Args:
        report: what a check has found.
        skip_bad: whether bad samples are going to be left out: then only what concerns the set as a whole counts.

    Raises:
        UserError: something is wrong; up to 20 lines, one per problem, and how many more.
    """
    found = [finding for finding in report.findings if finding.severity == ERROR]
    if skip_bad:
        found = [finding for finding in found if finding.kind == "black-and-white"]
    errors = [error for finding in found for error in finding.errors]
    if errors:
        raise UnusableData(errors)


def without_bad(samples: Sequence[Sample], report: CheckReport) -> tuple[Sample, ...]:
    """Leave out the samples in which an error was found; compare lengths to see how many.

    Args:
        samples: samples of the data set that was checked.
        report: what the check has found.

    Raises:
        UserError: no sample is left of some.
    """
    images = {name for f in report.findings if f.kind in OF_IMAGES for name in f.names}
    masks = {_pair(one.sample) for one in report.seen if any(p.kind not in OF_IMAGES for p in one.problems)}
    kept = tuple(sample for sample in samples if str(sample.image) not in images and _pair(sample) not in masks)
    if samples and not kept:
        raise UserError("at least one usable sample", f"{len(samples)} bad ones", "See what `rankmatch check` reports.")
    return kept


def _pair(sample: Sample) -> tuple[str, str]:
    return str(sample.image), str(sample.mask)


def check_samples(samples: Sequence[Sample], num_classes: int) -> CheckReport:
    """Decode every image and mask, and stop where something is wrong.

    Args:
        samples: the samples; one without mask only has its image decoded.
        num_classes: K; masks may hold 0..K-1 and 255.

    Returns:
        What was seen, with counts of images, masks and pixels per class.

    Raises:
        UserError: there are no samples; or files do not decode, masks have another size than their image or hold
            other values, images differ in channels or bit depth, or all masks together hold only 0 and 255, which
            is black and white, not class ids. Every problem is one line with file and remedy.
    """
    if not samples:
        raise UserError("at least one image", "an empty list", "Check the folders or the list.")
    names = tuple(f"class {number}" for number in range(num_classes))
    labeled = tuple(sample for sample in samples if sample.mask is not None)
    unlabeled = tuple(sample for sample in samples if sample.mask is None)
    report = check(SegmentationData("samples", labeled, (), names, unlabeled), thorough=False)
    require_usable(report)
    return report


@dataclass(frozen=True, eq=False)
class ClassTable:
    """How frequent classes are.

    Attributes:
        pixels: int64 (K,), pixels of each class.
        images: int64 (K,), masks that show each class.
        ignored: pixels with value 255.
        masks: number of masks counted.
    """

    pixels: np.ndarray
    images: np.ndarray
    ignored: int
    masks: int


def class_table(seen: Iterable[Inspection], num_classes: int) -> ClassTable:
    """Count classes over the good masks."""
    masks = [one.class_pixels for one in seen if one.class_pixels is not None]
    stacked = np.stack(masks) if masks else np.zeros((0, 256), np.int64)
    classes = stacked[:, :num_classes]
    return ClassTable(classes.sum(0), (classes > 0).sum(0), int(stacked[:, IGNORE].sum()), len(masks))
