"""Cityscapes: street scenes of 2048 x 1024 pixels, finely annotated."""

from pathlib import Path

from rankmatch_keras.data.codings import IDS, Lookup, MaskCoding
from rankmatch_keras.data.datasets.listing import files_to_samples, require_layout
from rankmatch_keras.data.protocol import Protocol
from rankmatch_keras.data.samples import Sample, SegmentationData
from rankmatch_keras.errors import UserError

# Name, id in `*_labelIds.png` and colour of the 19 classes that are scored, in the order of their train ids.
_CLASSES = (
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
CLASSES = tuple(name for name, _, _ in _CLASSES)
PALETTE = tuple(colour for _, _, colour in _CLASSES)
# Ids 0 to 33; those without a class (void, parking, bridge, caravan, ...) are ignored.
_CLASS_OF = {label: i for i, (_, label, _) in enumerate(_CLASSES)}
LABEL_IDS = Lookup(tuple(_CLASS_OF.get(label, 255) for label in range(34)))
IMAGE_ENDING = "_leftImg8bit.png"
MASK_CODINGS: dict[str, MaskCoding] = {"_gtFine_labelTrainIds.png": IDS, "_gtFine_labelIds.png": LABEL_IDS}
FOLDERS = ("leftImg8bit/train", "leftImg8bit/val", "gtFine/train", "gtFine/val")


def Cityscapes(root: str | Path) -> SegmentationData:
    """Street scenes of Cityscapes (Cordts et al., 2016), fine annotations; 19 classes, 255 = ignore.

    The masks are `*_gtFine_labelTrainIds.png` where those have been made, otherwise `*_gtFine_labelIds.png`, whose
    34 ids are turned into the 19 classes while reading.

    Args:
        root: the folder with `leftImg8bit/<part>/<city>` and `gtFine/<part>/<city>` for the parts train and val.

    Returns:
        2975 training and 500 validation samples, named `leftImg8bit/<part>/<city>/<image>` as in the public lists
        of labelled images; scores are measured with sliding windows of 801 pixels.

    Raises:
        UserError: a folder or files are missing.
    """
    root = Path(root)
    require_layout(root, "Cityscapes", FOLDERS, "Give the folder that holds leftImg8bit and gtFine.")
    return SegmentationData(
        name="cityscapes",
        train=_part(root, "train"),
        val=_part(root, "val"),
        class_names=CLASSES,
        palette=PALETTE,
        protocol=Protocol("sliding_window", crop=801, border="clip"),
    )


def _part(root: Path, part: str) -> tuple[Sample, ...]:
    folder = root / "leftImg8bit" / part
    paths = sorted(path for path in folder.glob(f"*/*{IMAGE_ENDING}") if path.name[0] != ".")
    if not paths:
        raise UserError(f"images <city>/*{IMAGE_ENDING}", f"none in '{folder}'", "Unpack leftImg8bit_trainvaltest.zip.")
    files = {ending: [_files(root, path, ending) for path in paths] for ending in MASK_CODINGS}
    # The kind of masks that is (more) complete; both give the same class ids.
    ending = min(files, key=lambda ending: sum(not mask.is_file() for _, _, mask in files[ending]))
    return files_to_samples(files[ending], folder, MASK_CODINGS[ending])


def _files(root: Path, image: Path, ending: str) -> tuple[str, Path, Path]:
    """Name, image and mask of a sample."""
    name = image.relative_to(root).with_suffix("").as_posix()
    _, part, city, file = image.relative_to(root).parts
    return name, image, root / "gtFine" / part / city / (file.removesuffix(IMAGE_ENDING) + ending)
