"""Report of a data check: what was seen and found, as text and fit for JSON."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.check.findings import (
    LABELED,
    NOTE,
    PARTS,
    Finding,
    absent_classes,
    good_masks,
    in_order,
    make_finding,
    total_pixels,
)
from rankmatch_keras.check.inspection import Inspection

SHOWN = 5
MANY_CLASSES = 50  # of more the table leaves out those that occur nowhere


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
        return int(total_pixels(self.seen)[IGNORE_INDEX])

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
    return ClassTable(classes.sum(0), (classes > 0).sum(0), int(stacked[:, IGNORE_INDEX].sum()), len(masks))


def format_check(report):
    """What was seen, class frequencies, findings and notes as text.

    Args:
        report: `check.CheckReport`.

    Returns:
        str of several lines, without a final newline. Every finding gives its number, the first five names and
        what to do.
    """
    parts = [part for part in PARTS if report.of_part(part)]
    counts = ", ".join(f"{len(report.of_part(part))} {part}" for part in parts)
    lines = [f"{report.name}: {counts or 'no images'}; {len(report.class_names)} classes", ""]
    for part in parts:
        lines += _part_lines(part, report.of_part(part))
    lines += ["", *_class_lines(report, parts), ""]
    root = _common_folder(report)
    if report.findings and root:
        lines += [f"Files are named from {root} on.", ""]
    notes = [finding for finding in report.findings if finding.severity == NOTE]
    lines += [f"Findings: {len(report.faults)}" if report.faults else "No findings."]
    for finding in report.faults:
        lines += _finding_lines(finding, f"{finding.severity.upper()} {finding.kind}: ", root)
    if notes:
        lines += ["", "Notes (no faults by themselves)"]
    for finding in notes:
        lines += _finding_lines(finding, "", root)
    return "\n".join(_printable(line) for line in lines)


def check_to_dict(report):
    """The whole report with all names, fit for JSON.

    Args:
        report: `check.CheckReport`.

    Returns:
        dict with `name`, `classes`, `parts` (images, masks, sizes, pixel types, value ranges, pixels and images per
        class), `findings` (kind, severity, count, message, remedy, names, details).
    """
    parts = {part: _part_dict(report, report.of_part(part)) for part in PARTS if report.of_part(part)}
    findings = [
        {
            "kind": finding.kind,
            "severity": finding.severity,
            "count": len(finding.names),
            "message": finding.message,
            "remedy": finding.remedy,
            "names": [_printable(name) for name in finding.names],
            "details": [_printable(detail) for detail in finding.details],
        }
        for finding in report.findings
    ]
    return {"name": report.name, "classes": list(report.class_names), "parts": parts, "findings": findings}


def _part_dict(report, seen):
    table = class_table(seen, len(report.class_names))
    return {
        "images": len(seen),
        "masks": sum(one.sample.mask is not None for one in seen),
        "usable": sum(not one.problems for one in seen),
        "sizes": {f"{w} x {h}": n for (h, w), n in _sizes(seen).most_common()},
        "pixels": {f"{kind} x {channels}": n for (kind, channels), n in _pixels(seen).most_common()},
        "channels": [{"min": low, "max": high, "mean": mean} for low, high, mean in _channel_values(seen)],
        "class_pixels": table.pixels.tolist(),
        "class_images": table.images.tolist(),
        "ignored_pixels": table.ignored,
    }


def _part_lines(part, seen):
    """Two lines on the images of one part: sizes and types, and the values of each channel."""
    bad = sum(bool(one.problems) for one in seen)
    facts = [f"{len(seen)} images" + (f" ({bad} bad)" if bad else ""), _size_text(_sizes(seen))]
    facts += [f"{kind} in {channels} channel{'s' * (channels > 1)}" for kind, channels in _pixels(seen)]
    lines = [f"{part:<10}  {', '.join(facts)}"]
    values = [f"{low:g} to {high:g} (mean {mean:.4g})" for low, high, mean in _channel_values(seen)]
    if len(values) > 1 and len(set(values)) == 1:
        values = [f"{values[0]} in every channel"]
    return lines + ([f"{'':<10}  values {'; '.join(values)}"] if values else [])


def _sizes(seen):
    return Counter(one.size for one in seen if one.size)


def _size_text(sizes):
    if not sizes:
        return "sizes unknown"
    if len(sizes) == 1:
        ((height, width),) = sizes
        return f"all {width} x {height}"
    heights, widths = zip(*sizes, strict=True)
    span = f"{min(widths)} to {max(widths)} wide, {min(heights)} to {max(heights)} high"
    return f"{len(sizes)} sizes: {span}"


def _pixels(seen):
    return Counter(one.pixels for one in seen if one.pixels)


def _channel_values(seen):
    """(smallest, largest, mean over all pixels) of each channel, of the images with the usual number of channels."""
    if not _pixels(seen):
        return []
    (usual, _), *_ = _pixels(seen).most_common()
    some = [one for one in seen if one.low and one.pixels == usual]
    weights = [one.size[0] * one.size[1] for one in some]
    return [
        (
            min(one.low[c] for one in some),
            max(one.high[c] for one in some),
            sum(one.mean[c] * weight for one, weight in zip(some, weights, strict=True)) / sum(weights),
        )
        for c in range(usual[1] if some else 0)
    ]


def _class_lines(report, parts):
    """A table: for each part with masks the share of pixels (without ignored ones) and the images of each class."""
    tables = {part: class_table(report.of_part(part), len(report.class_names)) for part in parts}
    tables = {part: table for part, table in tables.items() if table.pixels.any()}
    if not tables:
        return ["No masks that could be counted."]
    width = max(len("class"), *map(len, report.class_names))
    header = [f"{'class':<{width}}", *(f"{part + ' pixels %':>19}  {'images':>7}" for part in tables)]
    lines = ["  ".join(header), "-" * (width + 30 * len(tables))]
    count = len(report.class_names)
    shown = [k for k in range(count) if count <= MANY_CLASSES or any(t.images[k] for t in tables.values())]
    for k in shown:
        cells = [f"{100 * t.pixels[k] / t.pixels.sum():>19.3f}  {t.images[k]:>7}" for t in tables.values()]
        lines.append("  ".join([f"{report.class_names[k]:<{width}}", *cells]))
    if len(shown) < count:
        lines.append(f"and {count - len(shown)} classes without a pixel anywhere")
    shares = [f"{100 * t.ignored / (t.ignored + t.pixels.sum()):.3f} % of {part}" for part, t in tables.items()]
    return [*lines, f"Ignored (255), left out of the shares: {', '.join(shares)}"]


def _finding_lines(finding, prefix, root):
    lines = ["", f"{prefix}{finding.message[0].upper()}{finding.message[1:]}: {len(finding.names)}"]
    for name, detail in list(zip(finding.names, finding.details, strict=True))[:SHOWN]:
        # Details of what was read often name the file themselves.
        shown = detail if name in detail else name + (f": {detail}" if detail else "")
        lines.append("  " + (shown.replace(root, "") if root else shown))
    if len(finding.names) > SHOWN:
        lines.append(f"  ... and {len(finding.names) - SHOWN} more")
    return [*lines, f"  -> {finding.remedy}"]


def _common_folder(report):
    """The folder, with its slash, that all files are below; empty for none worth leaving out."""
    names = {str(source) for one in report.seen for source in (one.sample.image, one.sample.mask) if source}
    folder = os.path.commonprefix([os.path.dirname(name) + os.sep for name in names])
    folder = folder[: folder.rfind(os.sep) + 1]
    return folder if len(folder) > 1 else ""


def _printable(text):
    """The text without what a terminal would obey or no file can hold: control characters, half characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
