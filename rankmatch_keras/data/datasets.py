"""The data sets we know: each is a thin description of where a public data set keeps its files.

None of them downloads anything; `data/README.md` says where each set comes from and how to lay it out.
"""

from collections.abc import Sequence
from pathlib import Path

from rankmatch_keras.data.folders import labeled_samples, require_files, unlabeled_samples
from rankmatch_keras.data.samples import Sample, SegmentationData
from rankmatch_keras.errors import UserError

__all__ = ["CamVid", "ImageFolder", "Lucchi", "PascalVOC", "Sample", "SampleScenes", "SegmentationData"]

CAMVID_CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
VOC_CLASSES = (
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
SCENE_CLASSES = ("background", "stone", "plank", "tile", "ring")


def Lucchi(root: str | Path) -> SegmentationData:
    """Mitochondria in electron microscopy of the hippocampus (Lucchi et al., 2011); 2 classes.

    Args:
        root: folder with `images/train`, `masks/train`, `images/test` and `masks/test`; masks hold 0 and 1.

    Returns:
        The training slices, and the test slices as `val` (the set has no validation part of its own).

    Raises:
        UserError: a folder is missing or empty, or an image has no mask.
    """
    root = Path(root)
    return SegmentationData(
        name="lucchi",
        train=labeled_samples(root / "images/train", root / "masks/train"),
        val=labeled_samples(root / "images/test", root / "masks/test"),
        class_names=("background", "mitochondrion"),
    )


def CamVid(root: str | Path) -> SegmentationData:
    """Street scenes of CamVid (Brostow et al., 2009) with the usual 11 classes.

    Args:
        root: folder with `images/<part>` and `masks/<part>` for the parts train, val and test; masks hold
            0..10 in the order of `class_names`, and 255.

    Returns:
        367 training, 101 validation and 233 test samples (`.test`) in the usual distribution.

    Raises:
        UserError: a folder is missing or empty, or an image has no mask.
    """
    root = Path(root)
    train, val, test = (
        labeled_samples(root / "images" / part, root / "masks" / part) for part in ("train", "val", "test")
    )
    return SegmentationData("camvid", train, val, CAMVID_CLASSES, test=test)


def PascalVOC(root: str | Path, train: str = "train", val: str = "val") -> SegmentationData:
    """PASCAL VOC 2012 semantic segmentation; 21 classes, 255 = ignore.

    Args:
        root: the folder `VOC2012` with `JPEGImages`, `SegmentationClass` (palette PNG masks) and
            `ImageSets/Segmentation`.
        train: the list of names in `ImageSets/Segmentation` to train on, without ending.
        val: likewise for validation.

    Raises:
        UserError: a folder, a list or a file that a list names is missing.
    """
    root = Path(root)
    return SegmentationData("pascal_voc", _voc_list(root, train), _voc_list(root, val), VOC_CLASSES)


def _voc_list(root: Path, part: str) -> tuple[Sample, ...]:
    file = root / "ImageSets/Segmentation" / f"{part}.txt"
    if not file.is_file():
        raise UserError(
            "the PASCAL VOC layout (JPEGImages, SegmentationClass, ImageSets/Segmentation)",
            f"no '{file}'",
            "Give the folder VOC2012 itself.",
        )
    names = file.read_text(encoding="utf-8").split()
    if not names:
        raise UserError("names of images", f"none in '{file}'", "Check the list.")
    samples = tuple(
        Sample(name, root / f"JPEGImages/{name}.jpg", root / f"SegmentationClass/{name}.png") for name in names
    )
    require_files((path for s in samples for path in (s.image, s.mask) if path), file)
    return samples


def ImageFolder(
    images: str | Path,
    masks: str | Path,
    unlabeled: str | Path | None = None,
    *,
    classes: int | Sequence[str],
    val_images: str | Path | None = None,
    val_masks: str | Path | None = None,
) -> SegmentationData:
    """Your own images: a folder of images, a folder of masks, a folder of unlabelled images.

    Image and mask are matched by file name without ending; endings are jpg, jpeg, png, tif or tiff in any
    case. Masks hold class ids 0..K-1 and 255 for pixels to ignore.

    Args:
        images: folder of the labelled images.
        masks: folder of their masks; every image must have one.
        unlabeled: folder of images without masks.
        classes: the class names in the order of their ids, or how many classes there are.
        val_images: folder of validation images.
        val_masks: folder of their masks; given together with `val_images` or not at all.

    Raises:
        UserError: a folder is missing or empty, an image has no mask, or there are fewer than 2 classes.
    """
    if (val_images is None) != (val_masks is None):
        given, other = ("val_masks", "val_images") if val_images is None else ("val_images", "val_masks")
        raise UserError("val_images and val_masks together", f"only {given}", f"Give {other} too.")
    return SegmentationData(
        name=Path(images).parent.resolve().name,
        train=labeled_samples(images, masks),
        val=labeled_samples(val_images, val_masks) if val_images and val_masks else (),
        class_names=_class_names(classes),
        unlabeled=unlabeled_samples(unlabeled) if unlabeled is not None else (),
    )


def _class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    names = tuple(f"class {i}" for i in range(classes)) if isinstance(classes, int) else tuple(classes)
    if isinstance(classes, str) or not 2 <= len(names) <= 255 or len(set(names)) < len(names):
        raise UserError("2 to 255 class names, each once", f"{classes!r}", "Name every class, the background included.")
    return names


def SampleScenes(root: str | Path) -> SegmentationData:
    """The embedded sample set: small made-up scenes with exact masks; 5 classes.

    Args:
        root: folder with `train/images`, `train/masks`, `val/images` and `val/masks`: `data/sample` of a
            checkout, or what `python -m rankmatch_keras.data.synthetic DIR` wrote.

    Raises:
        UserError: a folder is missing or empty, or an image has no mask.
    """
    root = Path(root)
    train, val = (labeled_samples(root / part / "images", root / part / "masks") for part in ("train", "val"))
    return SegmentationData("sample_scenes", train, val, SCENE_CLASSES)
