"""Findings: everything a check can say about a data set, each kind with its words, its remedy and its rule."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.check.duplicates import identical, near
from rankmatch_keras.check.inspection import Inspection
from rankmatch_keras.errors import UserError

ERROR, WARNING, NOTE = "error", "warning", "note"
LABELED, UNLABELED, VALIDATION, TEST = "labelled", "unlabelled", "validation", "test"
PARTS = (LABELED, UNLABELED, VALIDATION, TEST)
# In the order of reports: severity, what the samples are, what to do. Errors cannot be trained with.
KINDS = {
    "image-unreadable": (ERROR, "images that cannot be read", "Check or replace these files."),
    "image-values": (ERROR, "images with undefined or infinite pixels", "Replace the values, or leave them out."),
    "mask-unreadable": (
        ERROR,
        "masks that cannot be read as classes",
        "Check or replace these files, or say what their values mean.",
    ),
    "mask-missing": (ERROR, "images without mask", "Add the masks under the images' names, or use these unlabelled."),
    "mask-size": (ERROR, "masks of another size than their image", "Export image and mask at one size."),
    "mask-values": (
        ERROR,
        "masks with values that stand for no class",
        "Correct the masks or the number of classes; write 255 where a pixel shall be ignored.",
    ),
    "black-and-white": (ERROR, "masks that hold only 0 and 255", "Save 1 in place of 255."),
    "mixed-channels": (ERROR, "images with another number of channels than most", "Convert them to one kind."),
    "mixed-depth": (ERROR, "images of another bit depth than most", "Convert them: equal grey must be equal numbers."),
    "shared-images": (
        WARNING,
        "validation or test images that are also trained on",
        "Remove them from the training images, labelled and unlabelled, or scores come out too high.",
    ),
    "near-duplicates": (
        WARNING,
        "validation or test images that look almost like a training image",
        "Look at these pairs; keep frames of one recording, and copies of one picture, on one side.",
    ),
    "ignored-mask": (WARNING, "masks that hold nothing but 255 (ignore)", "Annotate them, or use them unlabelled."),
    "mask-unused": (WARNING, "masks without image", "Add their images, correct the names, or remove the masks."),
    "absent-class": (WARNING, "classes without a single pixel", "Add images that show them, or leave the class out."),
    "background-mask": (
        WARNING,
        "masks that hold nothing but class 0",
        "Right if there is nothing else to see (--allow background-mask); if never annotated, use them unlabelled.",
    ),
    "rare-class": (NOTE, "classes that a single labelled mask shows", "Right, or a slip of the pen? Look at these."),
    "plain-image": (NOTE, "images of one single value", "Look whether something failed when they were taken."),
    "labelled-and-unlabelled": (
        NOTE,
        "unlabelled images that are also labelled",
        "Harmless, and usual in some splits.",
    ),
    "repeated-images": (NOTE, "training images that occur before", "They count more than once; remove the copies."),
    "similar-images": (
        NOTE,
        "training images that look almost like one before",
        "Frames of one recording tell little new: choose labelled images that differ.",
    ),
    "not-decoded": (
        NOTE,
        "unlabelled images that were not decoded (only how their files begin and end)",
        "`rankmatch check` decodes them all.",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found, with everything that it was found in.

    Attributes:
        kind: a key of `KINDS`.
        severity: "error" (cannot be trained with), "warning", or "note" (not a fault by itself).
        names: the files (or classes) it was found in, in the order of the data set.
        details: one phrase for each name, which may be empty.
        message: what they are.
        remedy: what can be done.
        errors: for what is wrong with single samples, the full messages.
    """

    kind: str
    severity: str
    names: tuple[str, ...]
    details: tuple[str, ...]
    message: str
    remedy: str
    errors: tuple[UserError, ...] = field(default=(), compare=False)


def make_finding(kind: str, names: Sequence[str], details: Sequence[str] = (), errors: Sequence[UserError] = ()):
    """Make a finding of `KINDS`; details are empty by default."""
    severity, message, remedy = KINDS[kind]
    return Finding(kind, severity, tuple(names), tuple(details or [""] * len(names)), message, remedy, tuple(errors))


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings as `KINDS` are: errors, warnings, notes."""
    return tuple(sorted(findings, key=lambda finding: list(KINDS).index(finding.kind)))


def find(seen: Sequence[Inspection], class_names: Sequence[str]) -> tuple[Finding, ...]:
    """Everything that can be said from what was seen, in the order of `KINDS`.

    Args:
        seen: one inspection per sample, in the order of the data set.
        class_names: names of the K classes.
    """
    findings = [
        *_problems(seen),
        *_missing_masks(seen),
        *_black_and_white(seen, len(class_names)),
        *_mixed(seen),
        *_masks_of_nothing(seen, class_names),
        *_absent_classes(seen, class_names),
        *_rare_classes(seen, class_names),
        *_plain(seen),
        *_duplicates(seen),
    ]
    return in_order(findings)


def _problems(seen: Iterable[Inspection]) -> Iterator[Finding]:
    """What is wrong with single samples, one finding per kind."""
    by_kind: dict[str, list[tuple[str, UserError]]] = {}
    for one in seen:
        for problem in one.problems:
            source = one.sample.mask if problem.kind.startswith("mask") else one.sample.image
            by_kind.setdefault(problem.kind, []).append((str(source), problem.error))
    for kind, entries in by_kind.items():
        names, errors = zip(*entries, strict=True)
        yield make_finding(kind, names, [error.found for error in errors], errors)


def _missing_masks(seen: Iterable[Inspection]) -> Iterator[Finding]:
    bare = [str(one.sample.image) for one in seen if one.part != UNLABELED and one.sample.mask is None]
    if bare:
        errors = [UserError("a mask for every labelled image", f"none for '{n}'", "Add it.") for n in bare]
        yield make_finding("mask-missing", bare, errors=errors)


def _black_and_white(seen: Iterable[Inspection], num_classes: int) -> Iterator[Finding]:
    masks = [one for one in seen if one.class_pixels is not None]
    total = total_pixels(masks)
    if total[0] and total[IGNORE_INDEX] and not total[1:num_classes].any():
        error = UserError(
            f"class ids 0..{num_classes - 1}",
            f"only 0 and 255 (ignore) in all {len(masks)} masks",
            "If these are black and white masks, save 1 in place of 255.",
        )
        yield make_finding("black-and-white", [str(one.sample.mask) for one in masks], errors=[error])


def _mixed(seen: Iterable[Inspection]) -> Iterator[Finding]:
    """Channels and bit depth that differ from those of most images."""
    known = [(one, *one.pixels) for one in seen if one.pixels]
    for kind, column, phrase in (("mixed-channels", 2, "{} channels"), ("mixed-depth", 1, "{}")):
        counts = Counter(entry[column] for entry in known)
        if len(counts) < 2:
            continue
        usual, number = counts.most_common(1)[0]
        others = [entry for entry in known if entry[column] != usual]
        names = [str(one.sample.image) for one, *_ in others]
        details = [phrase.format(entry[column]) for entry in others]
        expected = f"{phrase.format(usual)} as in {number} other images"
        errors = [
            UserError(expected, f"{what} in '{name}'", KINDS[kind][2])
            for name, what in zip(names, details, strict=True)
        ]
        yield make_finding(kind, names, details, errors)


def _masks_of_nothing(seen: Iterable[Inspection], class_names: Sequence[str]) -> Iterator[Finding]:
    """Masks that are all ignored, and masks of nothing but class 0."""
    ignored, background = [], []
    for one in seen:
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


def good_masks(seen: Iterable[Inspection], part: str) -> list[Inspection]:
    """The samples of a part in whose masks nothing is wrong."""
    return [one for one in seen if one.part == part and one.class_pixels is not None]


def absent_classes(masks: Sequence[Inspection], class_names: Sequence[str]) -> list[str]:
    """Names of the classes without a pixel in any of the masks; none where there are no masks."""
    total = total_pixels(masks)
    return [name for number, name in enumerate(class_names) if masks and not total[number]]


def _absent_classes(seen: Sequence[Inspection], class_names: Sequence[str]) -> Iterator[Finding]:
    names: list[str] = []
    details: list[str] = []
    for part in PARTS:
        masks = good_masks(seen, part)
        absent = absent_classes(masks, class_names)
        names += absent
        details += [f"in none of the {len(masks)} {part} masks"] * len(absent)
    if names:
        yield make_finding("absent-class", names, details)


def _rare_classes(seen: Iterable[Inspection], class_names: Sequence[str]) -> Iterator[Finding]:
    masks = good_masks(seen, LABELED)
    names, details = [], []
    for number, name in enumerate(class_names) if len(masks) > 1 else ():
        shown = [one for one in masks if one.class_pixels is not None and one.class_pixels[number]]
        if len(shown) == 1:
            names.append(name)
            details.append(f"only in {shown[0].sample.mask}")
    if names:
        yield make_finding("rare-class", names, details)


def _plain(seen: Iterable[Inspection]) -> Iterator[Finding]:
    plain = [one for one in seen if one.low and one.low == one.high]
    if plain:
        details = ["value " + "/".join(f"{value:g}" for value in one.low) for one in plain]
        yield make_finding("plain-image", [str(one.sample.image) for one in plain], details)


def _duplicates(seen: Iterable[Inspection]) -> Iterator[Finding]:
    """Leaks from training into scores, and repetitions within the training images."""
    parts: dict[str, list[Inspection]] = {part: [] for part in PARTS}
    for one in seen:
        if one.fingerprint is not None:
            parts[one.part].append(one)
    labeled, unlabeled, val, test = parts.values()
    training = labeled + unlabeled
    both = [(val, training), (test, training), (test, val)]
    yield from _matched("shared-images", identical, both)
    yield from _matched("near-duplicates", near, both)
    yield from _matched("labelled-and-unlabelled", identical, [(unlabeled, labeled)])
    yield from _matched("repeated-images", identical, [(labeled, labeled), (unlabeled, unlabeled)])
    yield from _matched("similar-images", near, [(training, training)])


def _matched(kind, search, comparisons) -> Iterator[Finding]:
    """Search each first list among the second; one finding of all pairs."""
    names, details = [], []
    for questioned, others in comparisons:
        prints = [one.fingerprint for one in questioned]
        among = prints if others is questioned else [one.fingerprint for one in others]
        for i, j in search(prints, among).items():
            names.append(str(questioned[i].sample.image))
            details.append(f"{questioned[i].part}, like {others[j].part} {others[j].sample.image}")
    if names:
        yield make_finding(kind, names, details)


def total_pixels(seen: Iterable[Inspection]) -> np.ndarray:
    """Pixels of each mask value over all masks: int64 (256,)."""
    return np.sum([np.zeros(256, np.int64), *(o.class_pixels for o in seen if o.class_pixels is not None)], axis=0)
