"""ADE20K: scenes of all kinds, with the 150 classes of the scene parsing benchmark."""

from pathlib import Path

from rankmatch_keras.data.codings import Lookup
from rankmatch_keras.data.datasets.listing import folder_to_samples, require_layout
from rankmatch_keras.data.samples import SegmentationData

# The first name of each class in objectInfo150.txt of the benchmark.
_NAMES = """
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
CLASSES = tuple(name.strip() for name in _NAMES.split(","))
# 0 is "other objects", which is not scored; class 1 of the file is class 0 here.
MASK_IDS = Lookup((255, *range(len(CLASSES))))
FOLDERS = ("images/training", "annotations/training", "images/validation", "annotations/validation")


def ADE20K(root: str | Path) -> SegmentationData:
    """The scene parsing benchmark of ADE20K (Zhou et al., 2017); 150 classes, "other objects" = ignore.

    Args:
        root: the folder `ADEChallengeData2016` with `images/<part>` and `annotations/<part>` for the parts training
            and validation.

    Returns:
        20210 training and 2000 validation samples, named `images/<part>/<image>` as in the public lists of labelled
        images.

    Raises:
        UserError: a folder is missing or empty, or images have no mask.
    """
    root = Path(root)
    require_layout(root, "ADE20K", FOLDERS, "Give the folder ADEChallengeData2016 itself.")
    train, val = (
        folder_to_samples(root / f"images/{part}", root / f"annotations/{part}", f"images/{part}/", MASK_IDS)
        for part in ("training", "validation")
    )
    return SegmentationData("ade20k", train, val, CLASSES)
