"""What a check can say about a data set: the kinds of findings, with severity, words and remedy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

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
