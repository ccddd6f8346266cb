"""Report of a data check: facts and findings, as text and fit for JSON."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.check.findings import absent_classes, good_masks, total_pixels
from rankmatch_keras.check.inspection import Inspection
from rankmatch_keras.check.kinds import LABELED, NOTE, PARTS, Finding, in_order, make_finding, require_kinds
from rankmatch_keras.texts import counted, printable

SHOWN = 5
MANY_CLASSES = 50  # with more, the table leaves out those that occur nowhere


@dataclass(frozen=True, eq=False)
class CheckReport:
    """Result of a data check.

    Attributes:
        name: name of the data set.
        class_names: names of its K classes.
        inspections: one per sample: labeled, unlabeled, validation, test.
        findings: all findings, notes included, errors first.
    """

    name: str
    class_names: tuple[str, ...]
    inspections: tuple[Inspection, ...]
    findings: tuple[Finding, ...]

    @property
    def num_masks(self) -> int:
        """Number of good masks."""
        return sum(one.class_pixels is not None for one in self.inspections)

    @property
    def class_pixels(self) -> tuple[int, ...]:
        """Number of pixels of each class over all good masks."""
        return tuple(total_pixels(self.inspections)[: len(self.class_names)].tolist())

    @property
    def never_labeled(self) -> tuple[str, ...]:
        """Names of the classes without a pixel in the labeled masks, which cannot be learned."""
        return tuple(absent_classes(good_masks(self.inspections, LABELED), self.class_names))

    @property
    def ignored_pixels(self) -> int:
        """Number of pixels with value 255 over all good masks."""
        return int(total_pixels(self.inspections)[IGNORE_INDEX])

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that are not notes."""
        return tuple(finding for finding in self.findings if finding.severity != NOTE)

    @property
    def trainable(self) -> bool:
        """Whether at least one labeled image is without fault."""
        return any(
            one.part == LABELED and one.class_pixels is not None and not one.problems for one in self.inspections
        )

    def with_names(self, kind: str, names: Sequence[str], details: Sequence[str] = ()) -> "CheckReport":
        """Return the report with one more finding, or itself if there are no names."""
        if not names:
            return self
        return replace(self, findings=in_order([*self.findings, make_finding(kind, names, details)]))

    def allowing(self, kinds: Iterable[str]) -> "CheckReport":
        """Return the report with some kinds of findings turned into notes.

        Raises:
            UserError: there is no such kind.
        """
        kinds = require_kinds(kinds)
        findings = [replace(f, severity=NOTE) if f.kind in kinds else f for f in self.findings]
        return replace(self, findings=tuple(findings))

    def of_part(self, part: str) -> tuple[Inspection, ...]:
        """Return the inspections of one part of the data set ("labeled", "unlabeled", "validation", "test")."""
        return tuple(one for one in self.inspections if one.part == part)


@dataclass(frozen=True, eq=False)
class ClassTable:
    """Class frequencies.

    Attributes:
        pixels: int64 (K,), pixels of each class.
        images: int64 (K,), masks that show each class.
        ignored: pixels to ignore.
        masks: number of masks counted.
    """

    pixels: np.ndarray
    images: np.ndarray
    ignored: int
    masks: int


def class_table(inspections: Iterable[Inspection], num_classes: int) -> ClassTable:
    """Count classes over the good masks."""
    masks = [one.class_pixels for one in inspections if one.class_pixels is not None]
    stacked = np.stack(masks) if masks else np.zeros((0, 256), np.int64)
    classes = stacked[:, :num_classes]
    return ClassTable(classes.sum(0), (classes > 0).sum(0), int(stacked[:, IGNORE_INDEX].sum()), len(masks))


def format_check(report: CheckReport) -> str:
    """Format a report as text: parts, class frequencies, findings and notes.

    Args:
        report: the report.

    Returns:
        Several lines, without a final newline. Every finding comes with its number, the first five names and the
        remedy.
    """
    parts = [part for part in PARTS if report.of_part(part)]
    counts = ", ".join(f"{len(report.of_part(part))} {part}" for part in parts)
    lines = [f"{report.name}: {counts or 'no images'}; {len(report.class_names)} classes", ""]
    for part in parts:
        lines += _part_lines(part, report.of_part(part))
    lines += ["", *_class_lines(report, parts), ""]
    root = _common_folder(report)
    if report.findings and root:
        lines += [f"File names are relative to {root}.", ""]
    notes = [finding for finding in report.findings if finding.severity == NOTE]
    lines += [f"Findings: {len(report.faults)}" if report.faults else "No findings."]
    for finding in report.faults:
        lines += _finding_lines(finding, f"{finding.severity.upper()} {finding.kind}: ", root)
    if notes:
        lines += ["", "Notes (not faults by themselves)"]
    for finding in notes:
        lines += _finding_lines(finding, "", root)
    return "\n".join(printable(line) for line in lines)


def check_to_dict(report: CheckReport) -> dict[str, Any]:
    """Turn a whole report, with all names, into a dict fit for JSON.

    Args:
        report: the report.

    Returns:
        dict with `name`, `classes`, `parts` (images, masks, sizes, pixel types, value ranges, pixels and images per
        class), `findings` (kind, severity, count, message, remedy, names, details).
    """
    parts = {_key(part): _part_dict(report, report.of_part(part)) for part in PARTS if report.of_part(part)}
    findings = [
        {
            "kind": _key(finding.kind),
            "severity": finding.severity,
            "count": len(finding.names),
            "message": finding.message,
            "remedy": finding.remedy,
            "names": [printable(name) for name in finding.names],
            "details": [printable(detail) for detail in finding.details],
        }
        for finding in report.findings
    ]
    return {"name": report.name, "classes": list(report.class_names), "parts": parts, "findings": findings}


def _key(text):
    """Return a name as the JSON reports have always spelled it."""
    return text.replace("labeled", "labelled")


def _part_dict(report, inspections):
    table = class_table(inspections, len(report.class_names))
    return {
        "images": len(inspections),
        "masks": sum(one.sample.mask is not None for one in inspections),
        "usable": sum(not one.problems for one in inspections),
        "sizes": {f"{w} x {h}": n for (h, w), n in _sizes(inspections).most_common()},
        "pixels": {f"{kind} x {channels}": n for (kind, channels), n in _pixels(inspections).most_common()},
        "channels": [{"min": low, "max": high, "mean": mean} for low, high, mean in _channel_values(inspections)],
        "class_pixels": table.pixels.tolist(),
        "class_images": table.images.tolist(),
        "ignored_pixels": table.ignored,
    }


def _part_lines(part, inspections):
    """Write two lines about the images of one part: sizes and types, and the values of each channel."""
    bad = sum(bool(one.problems) for one in inspections)
    facts = [counted(len(inspections), "image") + (f" ({bad} bad)" if bad else ""), _size_text(_sizes(inspections))]
    facts += [f"{kind} in {counted(channels, 'channel')}" for kind, channels in _pixels(inspections)]
    lines = [f"{part:<10}  {', '.join(facts)}"]
    values = [f"{low:g} to {high:g} (mean {mean:.4g})" for low, high, mean in _channel_values(inspections)]
    if len(values) > 1 and len(set(values)) == 1:
        values = [f"{values[0]} in every channel"]
    return lines + ([f"{'':<10}  values {'; '.join(values)}"] if values else [])


def _sizes(inspections):
    return Counter(one.size for one in inspections if one.size)


def _size_text(sizes):
    if not sizes:
        return "sizes unknown"
    if len(sizes) == 1:
        ((height, width),) = sizes
        return f"all {width} x {height}"
    heights, widths = zip(*sizes, strict=True)
    span = f"{min(widths)} to {max(widths)} wide, {min(heights)} to {max(heights)} high"
    return f"{len(sizes)} sizes: {span}"


def _pixels(inspections):
    return Counter(one.pixels for one in inspections if one.pixels)


def _channel_values(inspections):
    """Return (smallest, largest, mean over all pixels) of each channel, over the images of the usual format."""
    if not _pixels(inspections):
        return []
    (usual, _), *_ = _pixels(inspections).most_common()
    some = [one for one in inspections if one.low and one.pixels == usual]
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
    """Write a table: for each part with masks, the percentage of pixels (but ignored ones) and the images per class."""
    tables = {part: class_table(report.of_part(part), len(report.class_names)) for part in parts}
    tables = {part: table for part, table in tables.items() if table.pixels.any()}
    if not tables:
        return ["No masks that could be counted."]
    names = [printable(name) for name in report.class_names]
    width = max(len("class"), *map(len, names))
    header = [f"{'class':<{width}}", *(f"{part + ' pixels %':>19}  {'images':>7}" for part in tables)]
    lines = ["  ".join(header), "-" * (width + 30 * len(tables))]
    count = len(report.class_names)
    shown = [k for k in range(count) if count <= MANY_CLASSES or any(t.images[k] for t in tables.values())]
    for k in shown:
        cells = [f"{100 * t.pixels[k] / t.pixels.sum():>19.3f}  {t.images[k]:>7}" for t in tables.values()]
        lines.append("  ".join([f"{names[k]:<{width}}", *cells]))
    if len(shown) < count:
        lines.append(f"and {counted(count - len(shown), 'class')} without a pixel anywhere")
    shares = [f"{100 * t.ignored / (t.ignored + t.pixels.sum()):.3f} % of {part}" for part, t in tables.items()]
    return [*lines, f"Ignored (255), left out of the percentages: {', '.join(shares)}"]


def _finding_lines(finding, prefix, root):
    lines = ["", f"{prefix}{finding.message[0].upper()}{finding.message[1:]}: {len(finding.names)}"]
    for name, detail in list(zip(finding.names, finding.details, strict=True))[:SHOWN]:
        # Details often name the file themselves.
        shown = detail if name in detail else name + (f": {detail}" if detail else "")
        lines.append("  " + (shown.replace(root, "") if root else shown))
    if len(finding.names) > SHOWN:
        lines.append(f"  ... and {len(finding.names) - SHOWN} more")
    return [*lines, f"  -> {finding.remedy}"]


def _common_folder(report):
    """Return the folder, with its slash, that holds all files; empty if it is not worth leaving out."""
    names = {str(source) for one in report.inspections for source in (one.sample.image, one.sample.mask) if source}
    folder = os.path.commonprefix([os.path.dirname(name) + os.sep for name in names])
    folder = folder[: folder.rfind(os.sep) + 1]
    return folder if len(folder) > 1 else ""
