"""COCO-Stuff: the images of COCO 2017 with things and stuff."""

from pathlib import Path

from rankmatch_keras.data.codings import Lookup
from rankmatch_keras.data.datasets.listing import folder_to_samples, require_layout
from rankmatch_keras.data.samples import SegmentationData

# 80 things (person ... toothbrush), then 91 kinds of stuff (banner ... wood).
_NAMES = """
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
CLASSES = tuple(name.strip() for name in _NAMES.split(","))
# Values that no mask holds: street sign, hat, shoe, ... have a number in COCO but no annotations.
_UNUSED = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
MASK_IDS = Lookup((*((value, i) for i, value in enumerate(sorted(set(range(182)) - _UNUSED))), (255, 255)))
PARTS = ("train2017", "val2017")


def COCOStuff(root: str | Path) -> SegmentationData:
    """COCO-Stuff (Caesar et al., 2018) on all images of COCO 2017; 171 classes, 255 = ignore.

    Args:
        root: folder with the images in `images/<part>` or `<part>` and their masks in `stuffthingmaps/<part>` or
            `annotations/<part>`, as they are unpacked from `stuffthingmaps_trainval2017.zip`, for the parts train2017
            and val2017.

    Returns:
        118287 training and 5000 validation samples, named `<part>/<image>` as in the public lists of labelled images.

    Raises:
        UserError: a folder is missing or empty, or images have no mask.
    """
    root = Path(root)
    images = "" if (root / PARTS[0]).is_dir() else "images/"
    masks = "annotations/" if (root / "annotations" / PARTS[0]).is_dir() else "stuffthingmaps/"
    require_layout(
        root,
        "COCO-Stuff",
        (folder + part for folder in (images, masks) for part in PARTS),
        "Unpack the images and the masks next to each other and give the folder that holds both.",
    )
    train, val = (
        folder_to_samples(root / f"{images}{part}", root / f"{masks}{part}", f"{part}/", MASK_IDS) for part in PARTS
    )
    return SegmentationData("coco_stuff", train, val, CLASSES)
