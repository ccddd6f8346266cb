"""Augmented training set of PASCAL VOC 2012: 10582 images with masks from VOC and SBD.

SBD keeps its masks in .mat files. Where an image has masks in both, VOC's is used.
"""

import shutil
from pathlib import Path

import click
import numpy as np

from rankmatch_keras import data
from rankmatch_keras.cli import run
from rankmatch_keras.data.masks.mask_files import write_mask
from rankmatch_keras.data.readers.folders import require_files
from rankmatch_keras.data.sets.photographs import VOC_AUGMENTED, VOC_LISTS, VOC_OWN, VOC_PALETTE
from rankmatch_keras.data.sets.samples import require_layout
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import progress_bar
from rankmatch_keras.files import replacing

PATH = click.Path(path_type=Path)
TRAIN_IMAGES, VAL_IMAGES = 10582, 1449
MAX_BYTES = 4 << 20  # SBD's .mat files have a few kilobytes


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--voc", type=PATH, required=True, help="Folder VOC2012; the result goes there.")
@click.option("--sbd", type=PATH, required=True, help="Folder `dataset` of SBD, with cls/*.mat inside.")
@click.option("--allow-incomplete", is_flag=True, help="Accept other numbers than 10582 and 1449 images.")
def prepare(voc: Path, sbd: Path, allow_incomplete: bool):
    """Write VOC2012/SegmentationClassAug and VOC2012/ImageSets/Segmentation/trainaug.txt.

    Masks that exist are kept, so the same command continues an interrupted run.

    \b
    python data/pascal_voc/prepare.py --voc VOCdevkit/VOC2012 --sbd benchmark_RELEASE/dataset
    """
    require_layout(voc, "PASCAL VOC", ("JPEGImages", VOC_OWN, VOC_LISTS), "Give the folder VOC2012 itself as --voc.")
    own, val = names_of(voc, "train"), names_of(voc, "val")
    mats = mat_files(sbd)
    train = sorted((mats.keys() | set(own)) - set(val))
    if not allow_incomplete:
        require_counts(len(train), len(val))
    require_files((voc / f"{VOC_OWN}/{name}.png" for name in [*own, *val]), voc / VOC_LISTS)
    require_files((voc / f"JPEGImages/{name}.jpg" for name in [*train, *val]), "SBD and the lists of VOC")

    show = progress_bar("masks")
    names, of_voc = [*train, *val], {*own, *val}
    for done, name in enumerate(names, start=1):
        mask = voc / VOC_AUGMENTED / f"{name}.png"
        if not mask.is_file():
            if name in of_voc:
                with replacing(mask) as temporary:
                    shutil.copyfile(voc / VOC_OWN / f"{name}.png", temporary)
            else:
                write_mask(mask, read_mat(mats[name]), VOC_PALETTE)
        show(done, len(names))
    write_list(voc / VOC_LISTS / "trainaug.txt", train)

    found = data.PascalVOC(voc, masks=VOC_AUGMENTED)
    if not allow_incomplete:
        require_counts(len(found.train), len(found.val))
    click.echo(f"{len(found.train)} training and {len(found.val)} validation masks in {voc / VOC_AUGMENTED}")


def names_of(voc: Path, part: str) -> list[str]:
    """Return the names in one of VOC's lists."""
    return [Path(image).stem for image, _ in data.read_list(voc / VOC_LISTS / f"{part}.txt")]


def mat_files(sbd: Path) -> dict[str, Path]:
    """Return SBD's .mat files by image name."""
    folder = next((sbd / inner for inner in ("cls", "dataset/cls") if (sbd / inner).is_dir()), None)
    files = sorted(folder.glob("[!.]*.mat")) if folder else []
    if not files:
        raise UserError("cls/*.mat in the folder of SBD", f"none in '{sbd}'", "Give its folder `dataset` as --sbd.")
    return {file.stem: file for file in files}


def require_counts(train: int, val: int) -> None:
    """Raise `UserError` unless these are the published numbers of images."""
    if (train, val) != (TRAIN_IMAGES, VAL_IMAGES):
        raise UserError(
            f"{TRAIN_IMAGES} training and {VAL_IMAGES} validation images",
            f"{train} and {val}",
            "Unpack VOC and SBD completely, or give --allow-incomplete.",
        )


def read_mat(path: Path) -> np.ndarray:
    """Return the class ids of an SBD .mat file, uint8 (H, W).

    Raises:
        UserError: The file is not one of SBD's.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise UserError("scipy, to read .mat files", "none", "Install it: pip install scipy.") from error
    if path.stat().st_size > MAX_BYTES:
        raise UserError("a .mat file of a few kilobytes", f"{path.stat().st_size} bytes in '{path}'", "Get SBD again.")
    try:
        ids = np.asarray(loadmat(path, variable_names=["GTcls"])["GTcls"][0]["Segmentation"][0])
    except Exception as error:  # loadmat raises all kinds of errors on damaged files
        found = f"'{path}': {type(error).__name__}: {error}"
        raise UserError("a .mat file with GTcls.Segmentation", found, "Get SBD again.") from error
    if ids.ndim != 2 or ids.dtype.kind not in "ui" or not ids.size or ids.min() < 0 or ids.max() >= len(VOC_PALETTE):
        found = f"{ids.dtype} {ids.shape}" + (
            f", {ids.min()} to {ids.max()}," if ids.size and ids.dtype.kind in "ui" else ""
        )
        raise UserError("class ids 0..20 (H, W) in GTcls.Segmentation", f"{found} in '{path}'", "Get SBD again.")
    return ids.astype(np.uint8)


def write_list(path: Path, names: list[str]) -> None:
    """Write the list of names; an existing list must name the same images."""
    if path.is_file():
        if {Path(image).stem for image, _ in data.read_list(path)} != set(names):
            raise UserError(
                f"the {len(names)} training images", f"other images in '{path}'", "Remove this list and try again."
            )
        return
    with replacing(path) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


if __name__ == "__main__":
    run(prepare)
