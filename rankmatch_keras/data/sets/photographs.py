"""Everyday photographs: PASCAL VOC 2012, ADE20K and COCO-Stuff."""

from pathlib import Path

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.masks.encodings import Lookup
from rankmatch_keras.data.readers.folders import pictures_by_name
from rankmatch_keras.data.sets.hierarchies import VOC_HIERARCHY
from rankmatch_keras.data.sets.lists import read_list
from rankmatch_keras.data.sets.samples import (
    Sample,
    SegmentationData,
    files_to_samples,
    folder_to_samples,
    require_layout,
)
from rankmatch_keras.errors import UserError

_VOC_CLASSES = tuple(
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor".split()
)
VOC_OWN, VOC_AUGMENTED = "SegmentationClass", "SegmentationClassAug"
VOC_LISTS = "ImageSets/Segmentation"

# The first name of each class in objectInfo150.txt of the benchmark.
_ADE20K_NAMES = """
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
    table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field,
    armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard,
    chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway,
    case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower,
    book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine,
    hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, television, airplane,
    dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship,
    fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag,
    minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher,
    screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate,
    monitor, bulletin board, shower, radiator, glass, clock, flag
"""
# 0 is "other objects", which is not scored; class 1 of the file is class 0 here.
_ADE20K_MASK_IDS = Lookup((IGNORE_INDEX, *range(150)))
_ADE20K_FOLDERS = ("images/training", "annotations/training", "images/validation", "annotations/validation")

# 80 things (person ... toothbrush), then 91 kinds of stuff (banner ... wood).
_COCO_NAMES = """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
    parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
    handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
    surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
    broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv,
    laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase,
    scissors, teddy bear, hair drier, toothbrush, banner, blanket, branch, bridge, building-other, bush, cabinet,
    cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain,
    desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower,
    fog, food-other, fruit, furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal,
    mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow, plant-other, plastic, platform,
    playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper,
    snow, solid-other, stairs, stone, straw, structural-other, table, tent, textile-other, towel, tree, vegetable,
    wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops,
    window-blind, window-other, wood
"""
# Values that no mask holds: street sign, hat, shoe, ... have a number in COCO but no annotations.
_COCO_UNUSED = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
_COCO_USED = sorted(set(range(182)) - _COCO_UNUSED)
_COCO_MASK_IDS = Lookup((*((value, i) for i, value in enumerate(_COCO_USED)), (255, IGNORE_INDEX)))
_COCO_PARTS = ("train2017", "val2017")


def _voc_color(class_id: int) -> tuple[int, int, int]:
    """Return a color of VOC's palette: the bits of the id go to red, green and blue in turn, highest first."""
    red, green, blue = (
        sum((class_id >> (3 * place + channel) & 1) << (7 - place) for place in range(3)) for channel in range(3)
    )
    return red, green, blue


VOC_PALETTE = tuple(_voc_color(i) for i in range(len(_VOC_CLASSES)))


def pascal_voc(root: str | Path, train: str | None = None, val: str = "val", masks: str = "auto") -> SegmentationData:
    """Open PASCAL VOC 2012 semantic segmentation (Everingham et al., 2015); 21 classes, 255 = ignore.

    Args:
        root: the folder `VOC2012` with `JPEGImages`, `ImageSets/Segmentation` and palette PNG masks.
        train: the list in `ImageSets/Segmentation` to train on, without ending. None: `train` with VOC's own masks;
            with the augmented ones `trainaug`, or every augmented mask that is not in `val` where there is no such
            list.
        val: the list to validate on, without ending.
        masks: the folder of masks: `SegmentationClass` (VOC's own) or `SegmentationClassAug` (with those of SBD,
            Hariharan et al., 2011; 10582 for training). "auto" takes the latter where it exists.

    Returns:
        Samples named `JPEGImages/<name>`, as in the public lists of labeled images.

    Raises:
        UserError: a folder, a list or a file that a list names is missing.
    """
    root = Path(root)
    if masks not in ("auto", VOC_OWN, VOC_AUGMENTED):
        raise UserError(f"masks 'auto', '{VOC_OWN}' or '{VOC_AUGMENTED}'", f"{masks!r}", "Choose one of them.")
    if masks == "auto":
        masks = VOC_AUGMENTED if (root / VOC_AUGMENTED).is_dir() else VOC_OWN
    require_layout(root, "PASCAL VOC", ("JPEGImages", VOC_LISTS, masks), "Give the folder VOC2012 itself.")
    val_names = _voc_names(root, val)
    if train is None and masks == VOC_AUGMENTED and not _voc_list(root, "trainaug").is_file():
        known = set(val_names)
        train_names = [name for name in pictures_by_name(root / VOC_AUGMENTED, "masks") if name not in known]
        source = root / VOC_AUGMENTED
    else:
        train = train or ("trainaug" if masks == VOC_AUGMENTED else "train")
        train_names, source = _voc_names(root, train), _voc_list(root, train)
    return SegmentationData(
        name="pascal_voc",
        train=_voc_samples(root, train_names, masks, source),
        val=_voc_samples(root, val_names, masks, _voc_list(root, val)),
        class_names=_VOC_CLASSES,
        palette=VOC_PALETTE,
        hierarchy=VOC_HIERARCHY,
    )


def _voc_list(root: Path, part: str) -> Path:
    if Path(part).is_absolute() or ".." in Path(part).parts:
        raise UserError(f"the name of a list in {VOC_LISTS}", f"{part!r}", "Give it without folders and ending.")
    return root / VOC_LISTS / f"{part}.txt"


def _voc_names(root: Path, part: str) -> list[str]:
    """Read the names in a list: one per line, or the paths of image and mask, as in some lists of the augmented set."""
    return [Path(image).stem for image, _ in read_list(_voc_list(root, part))]


def _voc_samples(root: Path, names: list[str], masks: str, source: Path) -> tuple[Sample, ...]:
    files = [(f"JPEGImages/{name}", root / f"JPEGImages/{name}.jpg", root / masks / f"{name}.png") for name in names]
    return files_to_samples(files, source)


def ade20k(root: str | Path) -> SegmentationData:
    """Open the scene parsing benchmark of ADE20K (Zhou et al., 2017); 150 classes, "other objects" = ignore.

    Args:
        root: the folder `ADEChallengeData2016` with `images/<part>` and `annotations/<part>` for the parts training
            and validation.

    Returns:
        20210 training and 2000 validation samples, named `images/<part>/<image>` as in the public lists of labeled
        images.

    Raises:
        UserError: a folder is missing or empty, or images have no mask.
    """
    root = Path(root)
    require_layout(root, "ADE20K", _ADE20K_FOLDERS, "Give the folder ADEChallengeData2016 itself.")
    train, val = (
        folder_to_samples(root / f"images/{part}", root / f"annotations/{part}", f"images/{part}/", _ADE20K_MASK_IDS)
        for part in ("training", "validation")
    )
    return SegmentationData("ade20k", train, val, _listed(_ADE20K_NAMES))


def coco_stuff(root: str | Path) -> SegmentationData:
    """Open COCO-Stuff (Caesar et al., 2018): all images of COCO 2017 with things and stuff; 171 classes, 255 = ignore.

    Args:
        root: folder with the images in `images/<part>` or `<part>` and their masks in `stuffthingmaps/<part>` or
            `annotations/<part>`, as unpacked from `stuffthingmaps_trainval2017.zip`, for the parts train2017 and
            val2017.

    Returns:
        118287 training and 5000 validation samples, named `<part>/<image>` as in the public lists of labeled images.

    Raises:
        UserError: a folder is missing or empty, or images have no mask.
    """
    root = Path(root)
    images = "" if (root / _COCO_PARTS[0]).is_dir() else "images/"
    masks = "annotations/" if (root / "annotations" / _COCO_PARTS[0]).is_dir() else "stuffthingmaps/"
    require_layout(
        root,
        "COCO-Stuff",
        (folder + part for folder in (images, masks) for part in _COCO_PARTS),
        "Unpack the images and the masks next to each other and give the folder that holds both.",
    )
    train, val = (
        folder_to_samples(root / f"{images}{part}", root / f"{masks}{part}", f"{part}/", _COCO_MASK_IDS)
        for part in _COCO_PARTS
    )
    return SegmentationData("coco_stuff", train, val, _listed(_COCO_NAMES))


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(","))
