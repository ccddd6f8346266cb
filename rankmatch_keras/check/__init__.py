"""Check before training: every file is inspected, so that a bad one is found in seconds and not after hours."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from rankmatch_keras.check.findings import all_findings
from rankmatch_keras.check.inspection import Inspection, inspect, inspect_header
from rankmatch_keras.check.kinds import ERROR, LABELED, PARTS, UNLABELED
from rankmatch_keras.check.kinds import OTHER_KIND as OTHER_KIND
from rankmatch_keras.check.kinds import require_kinds as require_kinds
from rankmatch_keras.check.plots import save_class_chart as save_class_chart
from rankmatch_keras.check.plots import save_contact_sheet as save_contact_sheet
from rankmatch_keras.check.report import CheckReport as CheckReport
from rankmatch_keras.check.report import check_to_dict as check_to_dict
from rankmatch_keras.check.report import format_check as format_check
from rankmatch_keras.check.sources import differences as differences
from rankmatch_keras.data.readers.images import is_animated
from rankmatch_keras.data.sets.samples import Sample, SegmentationData
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.plots import draw_or_say
from rankmatch_keras.files import replacing

# Up to this many unlabeled images are decoded before a training run; of more, only the ends of the files are read.
QUICK_LIMIT = 2000
MAX_LINES = 20
# Errors of the image itself, whatever its mask.
OF_IMAGES = ("image-unreadable", "image-values", "mask-missing", "mixed-channels", "mixed-depth")


class UnusableData(UserError):
    """Several faults of the data, one line each.

    Args:
        errors: the faults, at least one.
    """

    def __init__(self, errors: Sequence[UserError]):
        first = errors[0]
        super().__init__(first.expected, first.found, first.remedy)
        lines = [str(error) for error in errors[:MAX_LINES]]
        if len(errors) > MAX_LINES:
            lines.append(f"... and {len(errors) - MAX_LINES} more.")
        if len(errors) > 1:
            lines.append(
                f"{len(errors)} problems; `rankmatch check` reports them all, --skip-bad leaves bad samples out."
            )
        self.args = ("\n".join(lines),)


def check(
    dataset: SegmentationData, *, thorough: bool = True, progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Inspect every sample of a data set and collect whatever is wrong in a report; nothing is raised.

    Args:
        dataset: the data; `train` are the labeled samples.
        thorough: decode every file, measure values and look for duplicates. False, as before a training run: only what
            prevents training; of more than 2,000 unlabeled images only the ends of the files are read.
        progress: called with the number of samples done and of all samples.

    Returns:
        The report, the same for the same files whatever the number of threads.
    """
    samples = [*_in_parts(dataset)]
    unlabeled = sum(part == UNLABELED for _, part in samples)
    headers_only = not thorough and unlabeled > QUICK_LIMIT

    def look(entry: tuple[Sample, str]) -> Inspection:
        sample, part = entry
        if headers_only and part == UNLABELED:
            return inspect_header(sample, part)
        return inspect(sample, part, dataset.num_classes, compare=thorough)

    inspections = _in_threads(look, samples, progress)
    report = CheckReport(
        dataset.name, dataset.class_names, tuple(inspections), all_findings(inspections, dataset.class_names)
    )
    report = report.with_names("first-frame", _animated(inspections))
    if thorough:  # a training run compares the images that it was told to take
        found = _differences(report)
        report = report.with_names("other-source", [*found], [*found.values()])
    undecoded = [str(one.sample.image) for one in inspections if headers_only and one.part == UNLABELED]
    return report.with_names("not-decoded", undecoded)


def _in_parts(dataset: SegmentationData) -> Iterable[tuple[Sample, str]]:
    """Yield every sample with the name of its part, in the order of `PARTS`."""
    unlabeled = [replace(sample, mask=None) for sample in dataset.unlabeled]
    for part, samples in zip(PARTS, (dataset.train, unlabeled, dataset.val, dataset.test), strict=True):
        yield from ((sample, part) for sample in samples)


def _differences(report: CheckReport) -> dict[str, str]:
    """Return the differences between the good labeled images and the good unlabeled ones of their format."""
    parts = [
        [one for one in report.of_part(part) if one.fingerprint and not one.problems] for part in (LABELED, UNLABELED)
    ]
    if not all(parts):
        return {}
    usual = parts[0][0].pixels
    labeled, unlabeled = ([one.sample for one in part if one.pixels == usual] for part in parts)
    return differences(labeled, unlabeled) if unlabeled else {}


def _animated(inspections: Iterable[Inspection]) -> list[str]:
    """Return the files of images and masks that are animations."""
    sources = [source for one in inspections for source in (one.sample.image, one.sample.mask)]
    paths = [path for source in sources if isinstance(path := getattr(source, "path", None), Path)]
    return [str(path) for path in dict.fromkeys(paths) if path.suffix.lower() == ".gif" and _is_animated(path)]


def _is_animated(path: Path) -> bool:
    try:
        return is_animated(path)
    except UserError:  # said as a problem of its own
        return False


def _in_threads(look, entries, progress) -> list[Inspection]:
    # Pillow and hashlib release the interpreter lock while they work, so threads suffice.
    executor = ThreadPoolExecutor(max_workers=(os.cpu_count() or 1) + 1)
    inspections = []
    try:
        for inspection in executor.map(look, entries):
            inspections.append(inspection)
            if progress:
                progress(len(inspections), len(entries))
    finally:
        executor.shutdown(cancel_futures=True)
    return inspections


def check_samples(samples: Sequence[Sample], num_classes: int) -> CheckReport:
    """Decode every image and mask, and raise UserError if something is wrong.

    Args:
        samples: the samples; of one without mask only the image is decoded.
        num_classes: K; masks may hold 0..K-1 and 255.

    Returns:
        The report, with counts of masks and pixels per class.

    Raises:
        UserError: there are no samples; or files do not decode, masks are not as large as their image or hold other
            values, images differ in channels or bit depth, or all masks together hold only 0 and 255, which is black
            and white, not class ids. Every problem is one line with file and remedy.
    """
    if not samples:
        raise UserError("at least one image", "an empty list", "Check the folders or the list.")
    names = tuple(f"class {number}" for number in range(num_classes))
    labeled = tuple(sample for sample in samples if sample.mask is not None)
    unlabeled = tuple(sample for sample in samples if sample.mask is None)
    report = check(SegmentationData("samples", labeled, (), names, unlabeled), thorough=False)
    require_usable(report)
    return report


def save_report(folder: Path, report: CheckReport, palette: Sequence[Sequence[int]] | None = None) -> dict[str, Path]:
    """Write a report as report.txt, and what can be drawn of it as classes.png and samples.png.

    Args:
        folder: where to write; made if missing.
        report: the result of a check.
        palette: a color (red, green, blue in 0..255) per class; None for the default colors.

    Returns:
        The file of each thing written, by a phrase in the plural that says what it is.
    """
    written = {"The lines above": folder / "report.txt"}
    with replacing(folder / "report.txt") as temporary:
        temporary.write_text(format_check(report) + "\n", encoding="utf-8")
    pictures = (
        (report.num_masks, "Class frequencies", "classes.png", save_class_chart),
        (report.trainable, "Images with their masks", "samples.png", save_contact_sheet),
    )
    for possible, what, name, save in pictures:
        if possible and draw_or_say(name, save, folder / name, report, palette):
            written[what] = folder / name
    return written


def require_usable(report: CheckReport, *, skip_bad: bool = False) -> None:
    """Raise UserError if a training run cannot work, with everything that is wrong.

    Args:
        report: the result of a check.
        skip_bad: whether bad samples are going to be left out; then only faults of the set as a whole count.

    Raises:
        UserError: something is wrong; up to 20 lines, one per problem, and the number of the others.
    """
    found = [finding for finding in report.findings if finding.severity == ERROR]
    if skip_bad:
        found = [finding for finding in found if finding.kind == "black-and-white"]
    errors = [error for finding in found for error in finding.errors]
    if errors:
        raise UnusableData(errors)


def without_bad(samples: Sequence[Sample], report: CheckReport) -> tuple[Sample, ...]:
    """Leave out the samples with errors; compare lengths to see how many.

    Args:
        samples: samples of the data set that was checked.
        report: the result of the check.

    Raises:
        UserError: there were samples and none is left.
    """
    images = {name for f in report.findings if f.kind in OF_IMAGES for name in f.names}
    masks = {_pair(one.sample) for one in report.inspections if any(p.kind not in OF_IMAGES for p in one.problems)}
    kept = tuple(sample for sample in samples if str(sample.image) not in images and _pair(sample) not in masks)
    if samples and not kept:
        raise UserError("at least one usable sample", f"{len(samples)} bad ones", "See what `rankmatch check` reports.")
    return kept


def remarks_of(report: CheckReport) -> list[str]:
    """Return a line for each kind of remark on how masks are read, for a run to print."""
    kinds = {remark.kind for one in report.inspections for remark in one.remarks}
    return [
        f"{found.message[0].upper()}{found.message[1:]}: {found.names[0]} ({found.details[0]})"
        f"{f' and {len(found.names) - 1} more' if len(found.names) > 1 else ''}. {found.remedy}"
        for found in report.findings
        if found.kind in kinds
    ]


def _pair(sample: Sample) -> tuple[str, str]:
    return str(sample.image), str(sample.mask)
