"""Outlines of objects along the edges of their pixels, as COCO annotations and GeoJSON features."""

from typing import Any

import numpy as np
from contourpy import FillType, contour_generator
from pycocotools import mask as coco_tools

BACKGROUND = ("background", "_background_")


def outline(region):
    """Trace a connected component along the edges of its pixels; the enclosed area is its number of pixels.

    The library's contours cross each edge between the region and the rest at its middle; the corners lie between
    them.

    Args:
        region: bool (H, W), connected by edges.

    Returns:
        list of rings, float (n, 2) of x, y with the last point as the first: the outer one, then one per hole. The
        first pixel is the square from (0, 0) to (1, 1).
    """
    contours: Any = contour_generator(z=np.pad(region, 1).astype(float), fill_type=FillType.OuterOffset)
    (points,), (offsets,) = contours.filled(0.5, 2.0)
    middles = points - 0.5
    return [_corners(middles[start:stop]) for start, stop in zip(offsets[:-1], offsets[1:], strict=True)]


def is_background(name):
    """Return whether the name of class 0 says that it is no object."""
    return name.strip().lower() in BACKGROUND


def annotation(row, region, size):
    """Make a COCO annotation: a polygon where COCO's tools draw exactly the object from it, else its run lengths.

    Args:
        row: see `measures.measure_objects`, and so for `region`.
        region: the object inside its box.
        size: height and width of the image.

    Returns:
        dict with JSON values, without the ids of annotation, image and category.
    """
    corner = np.array([row["left"], row["top"]], float)
    rings = outline(region)
    polygon = [rings[0][:-1].ravel().tolist()]
    if len(rings) == 1 and np.array_equal(_drawn(polygon, region.shape), region):
        segmentation: Any = [(rings[0][:-1] + corner).astype(int).ravel().tolist()]
    else:
        whole = np.zeros(size, np.uint8, order="F")
        box = slice(row["top"], row["top"] + row["height"]), slice(row["left"], row["left"] + row["width"])
        whole[box] = region
        packed = coco_tools.encode(whole)
        segmentation = {"size": list(size), "counts": packed["counts"].decode("ascii")}
    confidence = {} if row["confidence"] is None else {"score": row["confidence"]}
    sides = [row[key] for key in ("left", "top", "width", "height")]
    return {"segmentation": segmentation, "area": row["area"], "bbox": sides, "iscrowd": 0, **confidence}


def feature(row, region, to_map=None):
    """Make a GeoJSON feature of an object, in the coordinates of the map, else of the image (x right, y down).

    Args:
        row: see `measures.measure_objects`, and so for `region`.
        region: the object inside its box.
        to_map: function of (n, 2) image to map coordinates.
    """
    corner = np.array([row["left"], row["top"]], float)
    rings = [ring + corner for ring in outline(region)]
    rings = [ring.astype(int) if to_map is None else to_map(ring) for ring in rings]
    # RFC 7946: the outer ring turns left, holes turn right.
    turned = [ring if (_signed_area(ring) > 0) == (n == 0) else ring[::-1] for n, ring in enumerate(rings)]
    facts = {key: row[key] for key in ("class_id", "class", "object", "area", "confidence")}
    geometry = {"type": "Polygon", "coordinates": [ring.tolist() for ring in turned]}
    return {"type": "Feature", "properties": facts, "geometry": geometry}


def coco_file(images, class_names):
    """Join the annotations of all images in one COCO-style file.

    Args:
        images: `(file name, (height, width), [(class id, annotation)])` of each image.
        class_names: names of the K classes. A background is no category unless it has annotations; then ids of
            categories are those of classes, else one more.

    Returns:
        dict with JSON values.
    """
    images = list(images)
    first = 1 if is_background(class_names[0]) else 0
    used = {k for _, _, found in images for k, _ in found}
    categories = [{"id": k + 1 - first, "name": name} for k, name in enumerate(class_names) if k >= first or k in used]
    content: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": categories}
    for number, (name, (height, width), found) in enumerate(images, start=1):
        content["images"].append({"id": number, "file_name": name, "height": height, "width": width})
        for k, one in found:
            ids = {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": k + 1 - first}
            content["annotations"].append({**ids, **one})
    return content


def _corners(middles):
    """Return the corners between consecutive edges, given by their middles; straight on there is none."""
    upright = middles[:, 0] == np.rint(middles[:, 0])  # whether an edge runs up and down
    before, after = middles[:-1], middles[1:]
    turns = upright[:-1] != upright[1:]
    x = np.where(upright[:-1], before[:, 0], after[:, 0])[turns]
    y = np.where(upright[:-1], after[:, 1], before[:, 1])[turns]
    corners = np.stack([x, y], axis=-1)
    return np.concatenate([corners, corners[:1]])


def _drawn(polygon, size):
    return coco_tools.decode(coco_tools.merge(coco_tools.frPyObjects(polygon, *size))).astype(bool)


def _signed_area(ring):
    x, y = ring.T
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1]) / 2
