"""Segmentation of a scene window by window: neither image nor mask is ever in memory as a whole."""

import tempfile

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.views.no_data import without_data
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.inference import probability_blocks
from rankmatch_keras.prediction.outputs import TILE, save_mask_tiff
from rankmatch_keras.prediction.ranges import require_known_range
from rankmatch_keras.texts import say

LOOKED_AT = 2048  # side of the part in the middle whose values are checked


def segment_scene(predictor, scene, out, name, class_names, settings, window_batch=1, place=None):
    """Write the mask of a scene, `masks/NAME.tif`: tiled and compressed.

    Args:
        predictor: the model.
        scene: `data.readers.scenes.Scene`.
        out: the output folder.
        name: name of the scene.
        class_names: names of the K classes.
        settings: `folder.Settings`; windows are used whatever their mode.
        window_batch: windows per batch.
        place: `georeference.Georeference`; None: the scene has none.

    Returns:
        What the files of the whole folder need, see `outputs.save`.

    Raises:
        UserError: masks are not asked for, or the scene has other units than the training images.
    """
    height, width = scene.shape[:2]
    if "masks" not in settings.save:
        raise UserError(
            "masks in --save for a scene", f"{width} x {height} pixels in {scene.path}", "Cut it into tiles."
        )
    middle = [slice(max(0, side - LOOKED_AT) // 2, (side + LOOKED_AT) // 2) for side in (height, width)]
    require_known_range(predictor, scene[tuple(middle)], scene.path)
    if settings.save != ("masks",):
        say(f"{name}, {width} x {height} pixels: masks alone, the rest would have to be in memory")
    pixels = np.zeros(256, np.int64)
    with tempfile.TemporaryFile(dir=out) as file:
        classes = np.memmap(file, np.uint8, "w+", shape=(height, width))
        for block in probability_blocks(predictor, scene, settings.windows, window_batch):
            found = np.argmax(block.sums, axis=-1).astype(np.uint8)
            found[_missing(scene[block.rows, block.columns], place)] = IGNORE_INDEX
            classes[block.rows, block.columns] = found
            pixels += np.bincount(found.ravel(), minlength=256)
        tiles = (_tile(classes, y, x) for y in range(0, height, TILE[0]) for x in range(0, width, TILE[1]))
        save_mask_tiff(out / "masks" / f"{name}.tif", tiles, place, shape=classes.shape, dtype=np.uint8, tile=TILE)
    return {"size": [height, width], "pixels": pixels[: len(class_names)].tolist()}


def _missing(image, place):
    missing = without_data(image)
    missing = np.zeros(image.shape[:2], bool) if missing is None else missing
    return missing if place is None else missing | place.without_data(image)


def _tile(classes, y, x):
    """Return a whole tile, with zeros beyond the border."""
    part = classes[y : y + TILE[0], x : x + TILE[1]]
    return np.pad(part, [(0, whole - side) for whole, side in zip(TILE, part.shape, strict=True)])
