"""Electron microscopy: the Lucchi data set, as slices or as TIFF stacks."""

from pathlib import Path

from rankmatch_keras.data.masks.encodings import Lookup
from rankmatch_keras.data.masks.mask_files import MaskFile
from rankmatch_keras.data.readers.folders import require_files
from rankmatch_keras.data.readers.sources import ImageFile
from rankmatch_keras.data.readers.tiff import count_pages
from rankmatch_keras.data.sets.samples import Sample, SegmentationData, folder_to_samples, require_layout
from rankmatch_keras.errors import UserError

# The published stacks mark mitochondria with 255, slices made from them often with 1; nothing is ignored.
_MASK_VALUES = Lookup(((0, 0), (1, 1), (255, 1)))
_FOLDERS = ("images/train", "masks/train", "images/test", "masks/test")
# Stack of the images and of the masks of each part.
_STACKS = {"train": ("training.tif", "training_groundtruth.tif"), "test": ("testing.tif", "testing_groundtruth.tif")}


def lucchi(root: str | Path, every: int = 1, test_every: int | None = None) -> SegmentationData:
    """Open mitochondria in electron microscopy of the hippocampus (Lucchi et al., 2012); 2 classes, gray images.

    Args:
        root: folder with `images/train`, `masks/train`, `images/test` and `masks/test`; or with the stacks
            `training.tif`, `training_groundtruth.tif`, `testing.tif` and `testing_groundtruth.tif`, which are read
            page by page. Masks hold 0 and 1, or 0 and 255.
        every: take only every so-many-th slice; neighbors in the volume look much alike.
        test_every: the same for the test slices; None: `every`.

    Returns:
        The training slices, and the test slices as `val` (the set has no validation part of its own); images have
        one channel. Pages are named `train_001`, `train_002`, ...; files by their name without its ending.

    Raises:
        UserError: a folder or stack is missing, masks are missing, or the stacks of a part differ in length.
    """
    root = Path(root)
    read = _stack if any((root / file).is_file() for file in _STACKS["train"]) else _folder
    return SegmentationData(
        name="lucchi",
        train=_each(read(root, "train"), every),
        val=_each(read(root, "test"), every if test_every is None else test_every),
        class_names=("background", "mitochondrion"),
        palette=((0, 0, 0), (230, 90, 40)),
    )


def _folder(root: Path, part: str) -> tuple[Sample, ...]:
    stacks = ", ".join(file for files in _STACKS.values() for file in files)
    require_layout(root, "Lucchi", _FOLDERS, f"Give the folder that holds images and masks, or {stacks}.")
    return folder_to_samples(root / "images" / part, root / "masks" / part, encoding=_MASK_VALUES, channels=1)


def _stack(root: Path, part: str) -> tuple[Sample, ...]:
    images, masks = (root / file for file in _STACKS[part])
    require_files((images, masks), root)
    pages, mask_pages = count_pages(images), count_pages(masks)
    if pages != mask_pages:
        raise UserError(
            "as many masks as images",
            f"{pages} pages in '{images}', {mask_pages} in '{masks}'",
            "Get both files again.",
        )
    return tuple(
        Sample(f"{part}_{page + 1:03d}", ImageFile(images, page, channels=1), MaskFile(masks, page, _MASK_VALUES))
        for page in range(pages)
    )


def _each(samples: tuple[Sample, ...], step: int) -> tuple[Sample, ...]:
    if step < 1:
        raise UserError("every 1st slice, every 2nd, ...", f"every {step}", "Give a number of at least 1.")
    return samples[::step]
