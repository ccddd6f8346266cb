"""Kinds of findings: everything a check can say about a data set, with its words and its remedy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rankmatch_keras.errors import UserError, did_you_mean

ERROR, WARNING, NOTE = "error", "warning", "note"
LABELED, UNLABELED, VALIDATION, TEST = "labeled", "unlabeled", "validation", "test"
PARTS = (LABELED, UNLABELED, VALIDATION, TEST)
OTHER_KIND = "Pseudo-labels of another kind of image are mostly wrong: label some of that kind too, or leave them out."
# In the order of reports: severity, what the samples are, remedy. Nothing can be trained with errors.
KINDS = {
    "image-unreadable": (ERROR, "images that cannot be read", "Check or replace these files."),
    "image-values": (ERROR, "images with infinite pixels", "Replace the values, or leave them out."),
    "mask-unreadable": (
        ERROR,
        "masks that cannot be read as classes",
        "Check or replace these files, or say what their values mean.",
    ),
    "mask-missing": (
        ERROR,
        "images without mask",
        "Add the masks under the images' names, or use these images as unlabeled.",
    ),
    "mask-size": (ERROR, "masks not as large as their image", "Export both at one size, or give --resize-masks."),
    "mask-values": (
        ERROR,
        "masks with values of no class",
        "Correct the masks or --classes; write 255 for pixels to ignore.",
    ),
    "black-and-white": (ERROR, "masks that hold only 0 and 255", "Save 1 in place of 255."),
    "mixed-channels": (ERROR, "images with another number of channels than most", "Convert them to one kind."),
    "mixed-depth": (
        ERROR,
        "images of another bit depth than most",
        "Convert them: equal brightness must mean equal numbers.",
    ),
    "shared-images": (
        WARNING,
        "validation or test images that are also trained on",
        "Remove them from the training images, labeled and unlabeled, or scores will be too high.",
    ),
    "near-duplicates": (
        WARNING,
        "validation or test images that look almost like a training image",
        "Look at these pairs; keep frames of one recording, and copies of one picture, on the same side.",
    ),
    "nothing-but-no-data": (
        WARNING,
        "images without a single pixel of data in all channels",
        "Check their no-data mark, or leave them out.",
    ),
    "ignored-mask": (WARNING, "masks that hold nothing but 255 (ignore)", "Annotate them, or use them as unlabeled."),
    "mask-unused": (WARNING, "masks without image", "Add their images, correct the names, or remove the masks."),
    "image-alpha": (
        WARNING,
        "images with an alpha band that varies, which is left out",
        "Fine if it is transparency; a band of its own, such as near infrared, must not be tagged as alpha.",
    ),
    "mask-transparent": (
        WARNING,
        "masks with transparent pixels, which count as not drawn (class 0)",
        "Save the masks without transparency if their colors below it are meant.",
    ),
    "turned-differently": (
        WARNING,
        "images that their EXIF tag turns and masks that theirs does not, or otherwise",
        "Look whether the masks lie upon the images; if so, --allow turned-differently, else turn and save them again.",
    ),
    "far-value": (
        WARNING,
        "images in which one value fills more than 1 % of the pixels, far from all others",
        "If it stands for no data, name it in the file (gdal_edit.py -a_nodata VALUE), or write NaN in its place.",
    ),
    "other-source": (WARNING, "ways in which unlabeled images look unlike the labeled ones", OTHER_KIND),
    "files-not-read": (
        WARNING,
        "files in the folders of images that are not read",
        "Convert them to PNG or TIFF, or move them elsewhere.",
    ),
    "mask-boxes": (
        WARNING,
        "masks with objects that have a box alone, which are left out",
        "Draw or export their outlines: these pixels count as background.",
    ),
    "mask-outside": (
        WARNING,
        "masks with objects that lie wholly outside their image, which are left out",
        "Were the images cropped, resized or exchanged after they were annotated?",
    ),
    "absent-class": (WARNING, "classes without a single pixel", "Add images that show them, or leave the class out."),
    "background-mask": (
        WARNING,
        "masks that hold nothing but class 0",
        "Fine if they show nothing else (--allow background-mask); if never annotated, use them as unlabeled.",
    ),
    "mask-palettes": (
        NOTE,
        "palette masks with another palette than the first, read by color",
        "Fine where equal colors are equal classes.",
    ),
    "mask-same-names": (
        NOTE,
        "masks of categories that share a name, which are one class",
        "Rename one of them if they are different things.",
    ),
    "mask-resized": (NOTE, "masks resized to the size of their image", "Fine if they show all of it."),
    "mask-annotations": (
        NOTE,
        "masks of images that were annotated several times, of which one is read",
        "Mark the right one as ground truth in Label Studio.",
    ),
    "mask-crowds": (
        NOTE,
        "masks with regions marked iscrowd, where other objects are not",
        "They are read as their class, below the other objects; remove them if they are no objects.",
    ),
    "rare-class": (NOTE, "classes in a single labeled mask", "Intended, or a slip of the pen? Look at these."),
    "plain-image": (NOTE, "images of a single value", "Check whether something failed when they were taken."),
    "no-data": (NOTE, "images with pixels without data", "These are left out of statistics and unlabeled losses."),
    "first-frame": (NOTE, "animations, of which the first frame is read", "Save the frames as files of their own."),
    "labeled-and-unlabeled": (
        NOTE,
        "unlabeled images that are also labeled",
        "Harmless, and usual in some splits.",
    ),
    "repeated-images": (NOTE, "training images that occur earlier", "They count more than once; remove the copies."),
    "similar-images": (
        NOTE,
        "training images that look almost like an earlier one",
        "Frames of one recording add little: choose labeled images that differ.",
    ),
    "not-decoded": (
        NOTE,
        "unlabeled images that were not decoded (only the ends of their files were read)",
        "`rankmatch check` decodes them all.",
    ),
}


@dataclass(frozen=True)
class Finding:
    """A kind of finding, with everything it was found in.

    Attributes:
        kind: a key of `KINDS`.
        severity: "error" (prevents training), "warning", or "note" (not a fault by itself).
        names: the files (or classes) it was found in, in the order of the data set.
        details: one phrase for each name, possibly empty.
        message: what they are.
        remedy: what to do.
        errors: for faults of single samples, the full messages.
    """

    kind: str
    severity: str
    names: tuple[str, ...]
    details: tuple[str, ...]
    message: str
    remedy: str
    errors: tuple[UserError, ...] = field(default=(), compare=False)


def require_kinds(kinds: Iterable[str]) -> set[str]:
    """Return kinds of findings in the spelling of `KINDS`.

    Raises:
        UserError: there is no such kind.
    """
    known = {kind.replace("labelled", "labeled") for kind in kinds}
    for kind in sorted(known - set(KINDS)):
        raise UserError(f"a kind of finding: {', '.join(KINDS)}", f"{kind!r}", did_you_mean(kind, KINDS, "Correct it."))
    return known


def make_finding(kind: str, names: Sequence[str], details: Sequence[str] = (), errors: Sequence[UserError] = ()):
    """Make a finding of `KINDS`; details are empty by default."""
    severity, message, remedy = KINDS[kind]
    return Finding(kind, severity, tuple(names), tuple(details or [""] * len(names)), message, remedy, tuple(errors))


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings in the order of `KINDS`: errors, warnings, notes."""
    return tuple(sorted(findings, key=lambda finding: list(KINDS).index(finding.kind)))
