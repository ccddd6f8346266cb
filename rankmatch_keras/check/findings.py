"""Findings of a check: the rule of each kind."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.check.duplicates import identical, near
from rankmatch_keras.check.inspection import Inspection
from rankmatch_keras.check.kinds import (
    KINDS,
    LABELED,
    PARTS,
    TEST,
    UNLABELED,
    VALIDATION,
    Finding,
    in_order,
    make_finding,
)
from rankmatch_keras.data.masks.encodings import IDS
from rankmatch_keras.data.readers.slices import stack_of
from rankmatch_keras.data.readers.sources import Array, MaskSource
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted


def all_findings(inspections: Sequence[Inspection], class_names: Sequence[str]) -> tuple[Finding, ...]:
    """Derive all findings from the inspected samples, in the order of `KINDS`.

    Args:
        inspections: one per sample, in the order of the data set.
        class_names: names of the K classes.
    """
    findings = [
        *_problems(inspections),
        *_missing_masks(inspections),
        *_black_and_white(inspections, len(class_names)),
        *_remarks(inspections),
        *_mixed(inspections),
        *_masks_of_nothing(inspections, class_names),
        *_absent_classes(inspections, class_names),
        *_rare_classes(inspections, class_names),
        *_plain(inspections),
        *_turned(inspections),
        *_without_data(inspections),
        *_duplicates(inspections),
    ]
    return in_order(findings)


def _problems(inspections: Iterable[Inspection]) -> Iterator[Finding]:
    """Collect the problems of single samples, one finding per kind."""
    by_kind: dict[str, list[tuple[str, UserError]]] = {}
    for one in inspections:
        for problem in one.problems:
            source = one.sample.mask if problem.kind.startswith("mask") else one.sample.image
            by_kind.setdefault(problem.kind, []).append((str(source), problem.error))
    for kind, entries in by_kind.items():
        names, errors = zip(*entries, strict=True)
        yield make_finding(kind, names, [error.found for error in errors], errors)


def _remarks(inspections: Iterable[Inspection]) -> Iterator[Finding]:
    """Collect what images and masks say about how they are read, one finding per kind."""
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for one in inspections:
        for remark in one.remarks:
            source = one.sample.mask if remark.kind.startswith("mask") else one.sample.image
            by_kind.setdefault(remark.kind, []).append((str(source), remark.text))
    for kind, entries in by_kind.items():
        names, texts = zip(*entries, strict=True)
        yield make_finding(kind, names, texts)


def _missing_masks(inspections: Iterable[Inspection]) -> Iterator[Finding]:
    bare = [str(one.sample.image) for one in inspections if one.part != UNLABELED and one.sample.mask is None]
    if bare:
        errors = [UserError("a mask for every labeled image", f"none for '{n}'", "Add it.") for n in bare]
        yield make_finding("mask-missing", bare, errors=errors)


def _black_and_white(inspections: Iterable[Inspection], num_classes: int) -> Iterator[Finding]:
    """Find masks that hold only 0 and 255: all of them, or those of a part while others hold ids and never both."""
    known = [one for one in inspections if one.class_pixels is not None]
    ids = slice(1, num_classes)
    both = any(pixels[IGNORE_INDEX] and pixels[ids].any() for one in known if (pixels := one.class_pixels) is not None)
    for part in (None, LABELED, VALIDATION, TEST):
        masks = [one for one in known if part in (None, one.part)]
        total = total_pixels(masks)
        if not total[0] or not total[IGNORE_INDEX] or total[ids].any():
            continue
        if part and (both or not all(_holds_ids(one.sample.mask) for one in masks)):
            continue
        error = UserError(
            f"class ids 0..{num_classes - 1}",
            f"only 0 and 255 (ignore) in all {len(masks)} {f'{part} ' if part else ''}masks",
            "If these are black and white masks, save 1 in place of 255.",
        )
        yield make_finding("black-and-white", [str(one.sample.mask) for one in masks], errors=[error])
        return


def _holds_ids(mask: MaskSource | None) -> bool:
    """Return whether the values of a mask are class ids themselves, not said by a legend or by annotations."""
    return isinstance(mask, Array) or getattr(mask, "encoding", None) == IDS


def _mixed(inspections: Iterable[Inspection]) -> Iterator[Finding]:
    """Find channels and bit depths that differ from those of most images."""
    known = [(one, *one.pixels) for one in inspections if one.pixels]
    for kind, column, phrase in (("mixed-channels", 2, "{} channels"), ("mixed-depth", 1, "{}")):
        counts = Counter(entry[column] for entry in known)
        if len(counts) < 2:
            continue
        usual, number = counts.most_common(1)[0]
        others = [entry for entry in known if entry[column] != usual]
        names = [str(one.sample.image) for one, *_ in others]
        details = [phrase.format(entry[column]) for entry in others]
        expected = f"{phrase.format(usual)} as in {counted(number, 'other image')}"
        errors = [
            UserError(expected, f"{what} in '{name}'", KINDS[kind][2])
            for name, what in zip(names, details, strict=True)
        ]
        yield make_finding(kind, names, details, errors)


def _masks_of_nothing(inspections: Iterable[Inspection], class_names: Sequence[str]) -> Iterator[Finding]:
    """Find masks that are all ignored, and masks of nothing but class 0."""
    ignored, background = [], []
    for one in inspections:
        if one.class_pixels is None:
            continue
        if not one.class_pixels[:IGNORE_INDEX].any():
            ignored.append(str(one.sample.mask))
        elif not one.class_pixels[1:IGNORE_INDEX].any():
            background.append(str(one.sample.mask))
    if ignored:
        yield make_finding("ignored-mask", ignored)
    if background:
        yield make_finding("background-mask", background, [f"only {class_names[0]}"] * len(background))


def good_masks(inspections: Iterable[Inspection], part: str) -> list[Inspection]:
    """Return the samples of a part that have a good mask."""
    return [one for one in inspections if one.part == part and one.class_pixels is not None]


def absent_classes(masks: Sequence[Inspection], class_names: Sequence[str]) -> list[str]:
    """Return the classes without a pixel in any of the masks; none if there are no masks."""
    total = total_pixels(masks)
    return [name for number, name in enumerate(class_names) if masks and not total[number]]


def _absent_classes(inspections: Sequence[Inspection], class_names: Sequence[str]) -> Iterator[Finding]:
    names: list[str] = []
    details: list[str] = []
    for part in PARTS:
        masks = good_masks(inspections, part)
        absent = absent_classes(masks, class_names)
        names += absent
        details += [f"in none of the {len(masks)} {part} masks"] * len(absent)
    if names:
        yield make_finding("absent-class", names, details)


def _rare_classes(inspections: Iterable[Inspection], class_names: Sequence[str]) -> Iterator[Finding]:
    masks = good_masks(inspections, LABELED)
    names, details = [], []
    for number, name in enumerate(class_names) if len(masks) > 1 else ():
        shown = [one for one in masks if one.class_pixels is not None and one.class_pixels[number]]
        if len(shown) == 1:
            names.append(name)
            details.append(f"only in {shown[0].sample.mask}")
    if names:
        yield make_finding("rare-class", names, details)


def _plain(inspections: Iterable[Inspection]) -> Iterator[Finding]:
    plain = [one for one in inspections if one.low and one.low == one.high]
    if plain:
        details = ["value " + "/".join(f"{value:g}" for value in one.low) for one in plain]
        yield make_finding("plain-image", [str(one.sample.image) for one in plain], details)


def _turned(inspections: Iterable[Inspection]) -> Iterator[Finding]:
    turned = [(one, *one.turned) for one in inspections if one.turned is not None]
    if turned:
        details = [f"orientation {image}, its mask {mask}" for _, image, mask in turned]
        yield make_finding("turned-differently", [str(one.sample.image) for one, *_ in turned], details)


def _without_data(inspections: Iterable[Inspection]) -> Iterator[Finding]:
    """Find pixels that are marked as no data, and values that seem to stand for it."""
    entries: dict[str, list[tuple[str, str]]] = {"far-value": [], "no-data": [], "nothing-but-no-data": []}
    for one in inspections:
        if one.far_value is not None:
            value, share = one.far_value
            entries["far-value"].append((str(one.sample.image), f"{value:g} at {share:.0%} of the pixels"))
        if one.no_data:
            entries["nothing-but-no-data" if one.no_data == 1.0 else "no-data"].append(
                (str(one.sample.image), f"{one.no_data:.0%} of the pixels")
            )
    for kind, found in entries.items():
        if found:
            names, details = zip(*found, strict=True)
            yield make_finding(kind, names, details)


def _duplicates(inspections: Iterable[Inspection]) -> Iterator[Finding]:
    """Find leaks from training into scores, and repetitions within the training images."""
    parts: dict[str, list[Inspection]] = {part: [] for part in PARTS}
    for one in inspections:
        if one.fingerprint is not None:
            parts[one.part].append(one)
    labeled, unlabeled, val, test = parts.values()
    training = labeled + unlabeled
    both = [(val, training), (test, training), (test, val)]
    yield from _matched("shared-images", identical, both)
    yield from _matched("near-duplicates", near, both)
    yield from _matched("labeled-and-unlabeled", identical, [(unlabeled, labeled)])
    yield from _matched("repeated-images", identical, [(labeled, labeled), (unlabeled, unlabeled)])
    volumes = [stack_of(one.sample.image) for one in training]
    yield from _matched("similar-images", partial(near, volumes=volumes), [(training, training)])


def _matched(kind, search, comparisons) -> Iterator[Finding]:
    """Search for each first list in the second; all pairs make one finding."""
    names, details = [], []
    for questioned, others in comparisons:
        prints = [one.fingerprint for one in questioned]
        among = prints if others is questioned else [one.fingerprint for one in others]
        for i, j in search(prints, among).items():
            names.append(str(questioned[i].sample.image))
            details.append(f"{questioned[i].part}, like {others[j].part} {others[j].sample.image}")
    if names:
        yield make_finding(kind, names, details)


def total_pixels(inspections: Iterable[Inspection]) -> np.ndarray:
    """Count the pixels of each value over all masks: int64 (256,)."""
    return np.sum(
        [np.zeros(256, np.int64), *(o.class_pixels for o in inspections if o.class_pixels is not None)], axis=0
    )
