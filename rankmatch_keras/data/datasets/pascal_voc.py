"""PASCAL VOC 2012, with its own masks or with the augmented training set."""

from pathlib import Path

from rankmatch_keras.data.datasets.listing import files_to_samples, require_layout
from rankmatch_keras.data.folders import pictures_by_name
from rankmatch_keras.data.samples import Sample, SegmentationData
from rankmatch_keras.data.splits import read_list
from rankmatch_keras.errors import UserError

CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
OWN, AUGMENTED = "SegmentationClass", "SegmentationClassAug"
LISTS = "ImageSets/Segmentation"


def _colour(class_id: int) -> tuple[int, int, int]:
    """Colour of a class in VOC's palette: the bits of the id in turn go to red, green and blue, highest first."""
    red, green, blue = (
        sum((class_id >> (3 * place + channel) & 1) << (7 - place) for place in range(3)) for channel in range(3)
    )
    return red, green, blue


PALETTE = tuple(_colour(i) for i in range(len(CLASSES)))


def PascalVOC(root: str | Path, train: str | None = None, val: str = "val", masks: str = "auto") -> SegmentationData:
    """PASCAL VOC 2012 semantic segmentation (Everingham et al., 2015); 21 classes, 255 = ignore.

    Args:
        root: the folder `VOC2012` with `JPEGImages`, `ImageSets/Segmentation` and palette PNG masks.
        train: the list in `ImageSets/Segmentation` to train on, without ending. None: `train` with VOC's own
            masks; with the augmented ones `trainaug`, or every augmented mask that is not in `val` where there is
            no such list.
        val: the list to validate on, without ending.
        masks: the folder of masks, `SegmentationClass` (VOC's own) or `SegmentationClassAug` (with those of SBD,
            Hariharan et al., 2011; 10582 for training). "auto" takes the latter where it is there.

    Returns:
        Samples named `JPEGImages/<name>`, as in the public lists of labelled images.

    Raises:
        UserError: a folder, a list or a file that a list names is missing.
    """
    root = Path(root)
    if masks not in ("auto", OWN, AUGMENTED):
        raise UserError(f"masks 'auto', '{OWN}' or '{AUGMENTED}'", f"{masks!r}", "Choose one of them.")
    if masks == "auto":
        masks = AUGMENTED if (root / AUGMENTED).is_dir() else OWN
    require_layout(root, "PASCAL VOC", ("JPEGImages", LISTS, masks), "Give the folder VOC2012 itself.")
    val_names = _listed(root, val)
    if train is None and masks == AUGMENTED and not (root / LISTS / "trainaug.txt").is_file():
        known = set(val_names)
        train_names = [name for name in pictures_by_name(root / AUGMENTED, "masks") if name not in known]
        source = root / AUGMENTED
    else:
        train = train or ("trainaug" if masks == AUGMENTED else "train")
        train_names, source = _listed(root, train), _list_file(root, train)
    return SegmentationData(
        name="pascal_voc",
        train=_samples(root, train_names, masks, source),
        val=_samples(root, val_names, masks, _list_file(root, val)),
        class_names=CLASSES,
        palette=PALETTE,
    )


def _list_file(root: Path, part: str) -> Path:
    return root / LISTS / f"{part}.txt"


def _listed(root: Path, part: str) -> list[str]:
    """Names of a list: one per line, or with the paths of image and mask as in some lists of the augmented set."""
    return [Path(image).stem for image, _ in read_list(_list_file(root, part))]


def _samples(root: Path, names: list[str], masks: str, source: Path) -> tuple[Sample, ...]:
    files = [(f"JPEGImages/{name}", root / f"JPEGImages/{name}.jpg", root / masks / f"{name}.png") for name in names]
    return files_to_samples(files, source)
