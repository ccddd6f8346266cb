"""CamVid: street scenes with the usual 11 classes."""

from pathlib import Path

from rankmatch_keras.data.codings import Lookup
from rankmatch_keras.data.datasets.listing import folder_to_samples, require_layout
from rankmatch_keras.data.samples import SegmentationData

_CLASSES = (
    ("sky", (128, 128, 128)),
    ("building", (128, 0, 0)),
    ("pole", (192, 192, 128)),
    ("road", (128, 64, 128)),
    ("pavement", (0, 0, 192)),
    ("tree", (128, 128, 0)),
    ("sign", (192, 128, 128)),
    ("fence", (64, 64, 128)),
    ("car", (64, 0, 128)),
    ("pedestrian", (64, 64, 0)),
    ("bicyclist", (0, 128, 192)),
)
CLASSES = tuple(name for name, _ in _CLASSES)
PALETTE = tuple(colour for _, colour in _CLASSES)
# 11 is "void" in the masks of the SegNet tutorial.
MASK_IDS = Lookup((*((i, i) for i in range(len(CLASSES))), (11, 255), (255, 255)))
PARTS = ("train", "val", "test")


def CamVid(root: str | Path) -> SegmentationData:
    """Street scenes of CamVid (Brostow et al., 2009) with the usual 11 classes.

    Args:
        root: folder with `images/<part>` and `masks/<part>` for the parts train, val and test; or with `<part>` and
            `<part>annot`, as the SegNet tutorial has them. Masks hold 0..10 in the order of `class_names`, and 11 or
            255 for pixels to ignore.

    Returns:
        367 training, 101 validation and 233 test samples (`.test`) in the usual distribution, named by the file
        name without its ending.

    Raises:
        UserError: a folder is missing or empty, or images have no mask.
    """
    root = Path(root)
    images, masks = ("{}", "{}annot") if (root / "trainannot").is_dir() else ("images/{}", "masks/{}")
    require_layout(
        root,
        "CamVid",
        (folder.format(part) for folder in (images, masks) for part in PARTS),
        "Give the folder that holds images and masks, or train and trainannot.",
    )
    train, val, test = (
        folder_to_samples(root / images.format(part), root / masks.format(part), coding=MASK_IDS) for part in PARTS
    )
    return SegmentationData("camvid", train, val, CLASSES, test=test, palette=PALETTE)
