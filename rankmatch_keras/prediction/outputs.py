"""Files of a segmented image: what `--save` names."""

import json
from typing import Any

import numpy as np
import PIL.Image
import tifffile

from rankmatch_keras import IGNORE_INDEX, evaluation
from rankmatch_keras.evaluation.colors import full_palette
from rankmatch_keras.evaluation.overlays import STYLES
from rankmatch_keras.files import replacing
from rankmatch_keras.prediction.measures import measure_classes, measure_objects
from rankmatch_keras.prediction.outlines import annotation, feature, is_background

KINDS = ("masks", "overlays", "probabilities", "uncertainty", "polygons", "table", "stack")
USUAL = ("masks", "overlays")
TILE = (256, 256)  # of TIFF files with a georeference, as GIS programs like them


def save(out, name, image, maps, class_names, kinds=USUAL, style=STYLES[0], place=None):
    """Write the files of one image.

    Args:
        out: the output folder.
        name: name of the image, without ending.
        image: (H, W, C) as read.
        maps: `maps.Maps`.
        class_names: names of the K classes.
        kinds: names of `KINDS`.
        style: of the overlay.
        place: `georeference.Georeference` of the image; the mask is a GeoTIFF then. None: a PNG.

    Returns:
        What the files of the whole folder need, with JSON values: pixels per class, and measures and annotations where
        asked for.
    """
    if "masks" in kinds and place is None:
        evaluation.save_mask_png(out / "masks" / f"{name}.png", maps.classes)
    elif "masks" in kinds:
        save_mask_tiff(out / "masks" / f"{name}.tif", maps.classes, place)
    if "overlays" in kinds:
        _save_png(out / "overlays" / f"{name}.png", evaluation.overlay(image, maps.classes, style=style))
    if "probabilities" in kinds:
        _save_tiff(out / "probabilities" / f"{name}.tif", maps.probabilities, place, "nan", class_names)
    if "uncertainty" in kinds:
        both = np.stack([maps.entropy, maps.margin])
        _save_tiff(out / "uncertainty" / f"{name}.tif", both, place, "nan", ("entropy", "margin"))
        _save_png(out / "uncertainty" / f"{name}.png", np.rint(255 * np.nan_to_num(maps.entropy)).astype(np.uint8))
    known = {"size": list(maps.classes.shape)}
    known["pixels"] = np.bincount(maps.classes.ravel(), minlength=256)[: len(class_names)].tolist()
    if "table" in kinds:
        known["classes"] = measure_classes(maps.classes, class_names, maps.confidence)
    if "table" in kinds or "polygons" in kinds:
        found = list(measure_objects(maps.classes, class_names, maps.confidence))
        if is_background(class_names[0]):
            found = [one for one in found if one[0]["class_id"] > 0]
        if "table" in kinds:
            known["objects"] = [row for row, _ in found]
        if "polygons" in kinds:
            known["annotations"] = _save_polygons(out / "polygons" / f"{name}.geojson", maps, found, place)
    return known


def save_mask_tiff(path, classes, place=None, **options):
    """Write class ids as a TIFF file with a palette.

    Args:
        path: the file.
        classes: uint8 (H, W), or an iterator of tiles.
        place: `georeference.Georeference`; None: without.
        **options: of `tifffile.imwrite`.
    """
    colors = np.uint16(257) * full_palette().T
    _save_tiff(path, classes, place, str(IGNORE_INDEX), photometric="palette", colormap=colors, **options)


def write_compact(path, content):
    """Write JSON on one line, all or nothing: outlines have many numbers."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8", errors="backslashreplace")


def _save_polygons(path, maps, found, place):
    """Write the objects as GeoJSON; return their COCO annotations with the ids of their classes."""
    on_map = place is not None and place.matrix is not None
    features = [feature(row, region, place.to_map if on_map else None) for row, region in found]
    content: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if on_map and place.epsg:
        # Not in RFC 7946, which knows longitude and latitude alone; GDAL and QGIS write and read it.
        content["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{place.epsg}"}}
    write_compact(path, content)
    return [[row["class_id"], annotation(row, region, maps.classes.shape)] for row, region in found]


def _save_png(path, picture):
    with replacing(path) as temporary:
        PIL.Image.fromarray(picture).save(temporary, format="PNG")


def _save_tiff(path, values, place, no_data, bands=None, **options):
    """Write (H, W), or named bands (N, H, W), compressed and with the georeference."""
    options = {"photometric": "minisblack", "compression": "zlib", "metadata": None, **options}
    if bands is not None:
        options |= {"planarconfig": "separate", "description": "bands: " + ", ".join(map(ascii, bands))}
    if place is not None:
        options |= {"extratags": place.extra_tags(no_data), "tile": TILE}
    with replacing(path) as temporary:
        tifffile.imwrite(temporary, values, **options)
