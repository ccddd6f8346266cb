"""Check before training: every file is looked at, so that a bad one is found in seconds, not after hours."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from rankmatch_keras.check.findings import ERROR, PARTS, UNLABELED, find
from rankmatch_keras.check.inspection import Inspection, inspect, inspect_header
from rankmatch_keras.check.plots import save_class_chart as save_class_chart
from rankmatch_keras.check.plots import save_contact_sheet as save_contact_sheet
from rankmatch_keras.check.report import CheckReport as CheckReport
from rankmatch_keras.check.report import check_to_dict as check_to_dict
from rankmatch_keras.check.report import format_check as format_check
from rankmatch_keras.data.sets.samples import Sample, SegmentationData
from rankmatch_keras.errors import UserError

# So many unlabelled images are decoded before a training run (seconds); of more only the ends of the files are read.
QUICK_LIMIT = 2000
MAX_LINES = 20
# Errors that are the image's own, with whatever mask.
OF_IMAGES = ("image-unreadable", "image-values", "mask-missing", "mixed-channels", "mixed-depth")


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
