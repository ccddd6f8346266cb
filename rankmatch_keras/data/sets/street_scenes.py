"""Street scenes: Cityscapes and CamVid."""

from pathlib import Path

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.masks.encodings import IDS, Lookup, MaskEncoding
from rankmatch_keras.data.sets.hierarchies import CAMVID_HIERARCHY, CITYSCAPES_HIERARCHY
from rankmatch_keras.data.sets.protocol import Protocol
from rankmatch_keras.data.sets.samples import (
    Sample,
    SegmentationData,
    files_to_samples,
    folder_to_samples,
    require_layout,
)
from rankmatch_keras.errors import UserError

# Name, id in `*_labelIds.png` and color of the 19 classes that are scored, in the order of their train ids.
_CITYSCAPES = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)
_TRAIN_IDS = {label: i for i, (_, label, _) in enumerate(_CITYSCAPES)}
# Ids 0 to 33; those without a class (void, parking, bridge, caravan, ...) are ignored.
_LABEL_IDS = Lookup(tuple(_TRAIN_IDS.get(label, IGNORE_INDEX) for label in range(34)))
_IMAGE_ENDING = "_leftImg8bit.png"
_MASK_ENCODINGS: dict[str, MaskEncoding] = {"_gtFine_labelTrainIds.png": IDS, "_gtFine_labelIds.png": _LABEL_IDS}
_CITYSCAPES_FOLDERS = ("leftImg8bit/train", "leftImg8bit/val", "gtFine/train", "gtFine/val")

_CAMVID = (
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
CAMVID_CLASSES = tuple(name for name, _ in _CAMVID)
CAMVID_PALETTE = tuple(color for _, color in _CAMVID)
# 11 is "void" in the masks of the SegNet tutorial.
CAMVID_MASK_IDS = Lookup((*((i, i) for i in range(len(_CAMVID))), (11, IGNORE_INDEX), (255, IGNORE_INDEX)))
CAMVID_PARTS = ("train", "val", "test")


def cityscapes(root: str | Path) -> SegmentationData:
    """Open Cityscapes (Cordts et al., 2016): street scenes of 2048 x 1024 pixels, finely annotated; 19 classes.

    Masks are `*_gtFine_labelTrainIds.png` where those have been made, otherwise `*_gtFine_labelIds.png`, whose 34 ids
    are mapped to the 19 classes while reading; 255 is ignored.

    Args:
        root: the folder with `leftImg8bit/<part>/<city>` and `gtFine/<part>/<city>` for the parts train and val.

    Returns:
        2975 training and 500 validation samples, named `leftImg8bit/<part>/<city>/<image>` as in the public lists of
        labeled images; scores are measured with sliding windows of 801 pixels.

    Raises:
        UserError: a folder or files are missing.
    """
    root = Path(root)
    require_layout(root, "Cityscapes", _CITYSCAPES_FOLDERS, "Give the folder that holds leftImg8bit and gtFine.")
    return SegmentationData(
        name="cityscapes",
        train=_cityscapes_part(root, "train"),
        val=_cityscapes_part(root, "val"),
        class_names=tuple(name for name, _, _ in _CITYSCAPES),
        palette=tuple(color for _, _, color in _CITYSCAPES),
        protocol=Protocol("sliding_window", crop=801, border="clip"),
        hierarchy=CITYSCAPES_HIERARCHY,
    )


def _cityscapes_part(root: Path, part: str) -> tuple[Sample, ...]:
    folder = root / "leftImg8bit" / part
    images = sorted(path for path in folder.glob(f"*/*{_IMAGE_ENDING}") if path.name[0] != ".")
    if not images:
        found = f"none in '{folder}'"
        raise UserError(f"images <city>/*{_IMAGE_ENDING}", found, "Unpack leftImg8bit_trainvaltest.zip.")
    files = {ending: [_cityscapes_files(root, image, ending) for image in images] for ending in _MASK_ENCODINGS}
    # The more complete kind of masks; both give the same class ids.
    ending = min(files, key=lambda ending: sum(not mask.is_file() for _, _, mask in files[ending]))
    return files_to_samples(files[ending], folder, _MASK_ENCODINGS[ending])


def _cityscapes_files(root: Path, image: Path, ending: str) -> tuple[str, Path, Path]:
    """Return name, image and mask of a sample."""
    name = image.relative_to(root).with_suffix("").as_posix()
    _, part, city, file = image.relative_to(root).parts
    return name, image, root / "gtFine" / part / city / (file.removesuffix(_IMAGE_ENDING) + ending)


def camvid(root: str | Path) -> SegmentationData:
    """Open CamVid (Brostow et al., 2009): street scenes with the usual 11 classes.

    Args:
        root: folder with `images/<part>` and `masks/<part>` for the parts train, val and test; or with `<part>` and
            `<part>annot`, as in the SegNet tutorial. Masks hold 0..10 in the order of `class_names`, and 11 or 255
            for pixels to ignore.

    Returns:
        367 training, 101 validation and 233 test samples (`.test`) in the usual partition, named by the file name
        without its ending.

    Raises:
        UserError: a folder is missing or empty, or images have no mask.
    """
    root = Path(root)
    images, masks = ("{}", "{}annot") if (root / "trainannot").is_dir() else ("images/{}", "masks/{}")
    require_layout(
        root,
        "CamVid",
        (folder.format(part) for folder in (images, masks) for part in CAMVID_PARTS),
        "Give the folder that holds images and masks, or train and trainannot.",
    )
    train, val, test = (
        folder_to_samples(root / images.format(part), root / masks.format(part), encoding=CAMVID_MASK_IDS)
        for part in CAMVID_PARTS
    )
    return SegmentationData(
        "camvid", train, val, CAMVID_CLASSES, test=test, palette=CAMVID_PALETTE, hierarchy=CAMVID_HIERARCHY
    )
