"""Names of masks: those of their images, or with a usual beginning or ending such as `_mask`."""

from collections.abc import Iterable
from typing import NamedTuple

from rankmatch_keras.errors import UserError

# What tools and public data sets put around the name that image and mask share.
AROUND_MASKS = (
    *(("", f"{joint}{word}") for joint in "_-" for word in ("mask", "masks", "gt", "label", "labels", "seg")),
    *(("", ending) for ending in ("_segmentation", "_groundtruth", "_ground_truth", "_annotation", "_manual1")),
    *(("", ending) for ending in ("_l", "_labelids", "_gtfine_labelids")),
    *((f"{word}{joint}", "") for joint in "_-" for word in ("mask", "gt", "label", "seg")),
)
AROUND_IMAGES = (
    ("", ""),
    *(("", ending) for ending in ("_image", "_img", "-image", "_leftimg8bit", "_sat")),
    *((beginning, "") for beginning in ("image_", "img_", "image-", "img-")),
)


class Around(NamedTuple):
    """What stands before and after the shared part of a file's name, in lower case."""

    before: str
    after: str

    def shared(self, name: str) -> str | None:
        """Return the part of a name (with its folders) that image and mask share; `None` if it is named otherwise."""
        folder, slash, last = name.rpartition("/")
        whole = len(last) > len(self.before) + len(self.after)
        if not whole or not last.lower().startswith(self.before) or not last.lower().endswith(self.after):
            return None
        return folder + slash + last[len(self.before) : len(last) - len(self.after)]


def masks_of(
    images: Iterable[str], masks: Iterable[str], suffix: str | None = None, apart: bool = True
) -> dict[str, str]:
    """Find the mask of each image by name.

    Equal names go together. Where no image has a mask of its name, the usual beginnings and endings are tried, in any
    case of letters, and the pair of them that serves most images is taken.

    Args:
        images: names of images below their folder, without the files' endings.
        masks: the same of masks.
        suffix: what the name of a mask has beyond its image's, in place of all that.
        apart: whether the masks lie in a folder of their own; otherwise no mask has its image's name.

    Returns:
        Mask by image, for those images that have one.

    Raises:
        UserError: two ways to pair them serve as many images.
    """
    images, known = list(images), set(masks)
    if suffix is not None:
        return {name: name + suffix for name in images if name + suffix in known}
    if apart and (equal := {name: name for name in images if name in known}):
        return equal
    shared = {around: _by_shared_part(known, Around(*around)) for around in AROUND_MASKS}
    found: dict[tuple, dict[str, str]] = {}
    for around in AROUND_IMAGES:
        parts = _by_shared_part(images, Around(*around))
        for other, masks_by_part in shared.items():
            pairs = {name: masks_by_part[part] for part, name in parts.items() if part in masks_by_part}
            if pairs:
                found[around, other] = pairs
    most = max(map(len, found.values()), default=0)
    best = [pairs for pairs in found.values() if len(pairs) == most]
    for pairs in best[1:]:
        name = next((name for name in pairs if pairs[name] != best[0].get(name)), None)
        if name is not None:
            others = " and ".join(f"'{each[name]}'" for each in (best[0], pairs) if name in each)
            raise UserError(
                "one mask for every image",
                f"{others} for '{name}'",
                "Say how the names of masks end, e.g. --mask-suffix _mask, or move the others elsewhere.",
            )
    return best[0] if best else {}


def _by_shared_part(names: Iterable[str], around: Around) -> dict[str, str]:
    return {part: name for name in names if (part := around.shared(name)) is not None}
