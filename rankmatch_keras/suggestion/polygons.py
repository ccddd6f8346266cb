"""Objects as single polygons without holes, each drawn over those before it: the form that every tool can edit.

Not all tools read several outlines for one object, or run lengths. So objects lie on those whose holes they fill.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from rankmatch_keras.prediction.measures import measure_objects
from rankmatch_keras.prediction.outlines import is_background, outline

TOLERANCE = 1.0  # pixels between an outline and its polygon
SPECK = 1e-4  # of an image's pixels: nobody wants to correct smaller objects one by one


@dataclass(frozen=True, eq=False)
class Polygon:
    """An object.

    Attributes:
        class_id: its class.
        area: its pixels, without those of its holes.
        box: left, top, width, height in pixels.
        points: float (n, 2) of x, y; the first pixel is the square from (0, 0) to (1, 1).
        inner: float (n, 2), the same half a pixel further inside: through the middles of pixels, as LabelMe draws.
    """

    class_id: int
    area: int
    box: tuple[int, int, int, int]
    points: np.ndarray
    inner: np.ndarray


def polygons(classes: np.ndarray, class_names: Sequence[str], tolerance: float = TOLERANCE) -> list[Polygon]:
    """Turn a mask into polygons: large ones first, so that what lies in the hole of another is drawn after it.

    Args:
        classes: uint8 (H, W), 255 without data.
        class_names: names of the K classes. Of a background only what lies in holes of others is a polygon.
        tolerance: pixels by which outlines may be simplified.
    """
    found = [(ndimage.binary_fill_holes(region), row, region) for row, region in measure_objects(classes, class_names)]
    found.sort(key=lambda one: -int(one[0].sum()))
    bare, chosen = is_background(class_names[0]), []
    drawn = np.zeros(classes.shape, bool)  # where an object or its hole is
    for whole, row, region in found:
        left, top, width, height = box = tuple(row[key] for key in ("left", "top", "width", "height"))
        place = drawn[top : top + height, left : left + width]
        if bare and row["class_id"] == 0 and not (place & region).any():
            continue
        place |= whole
        ring = outline(whole)[0] + (left, top)
        pair = (simplified(one, tolerance) for one in (ring, _inset(ring)))
        chosen.append(Polygon(row["class_id"], row["area"], box, *pair))
    return chosen


def without_specks(classes: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Return a mask with small objects in the class of what lies around them.

    Args:
        classes: uint8 (H, W), 255 without data.
        class_names: names of the K classes.
    """
    specks = np.zeros(classes.shape, bool)
    for row, region in measure_objects(classes, class_names):
        if row["area"] < SPECK * classes.size:
            top, left = row["top"], row["left"]
            specks[top : top + row["height"], left : left + row["width"]] |= region
    if specks.all():
        return classes
    nearest = ndimage.distance_transform_edt(specks, return_distances=False, return_indices=True)
    return classes[tuple(nearest)]


def simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """Leave out points of a ring that lie near the line between their neighbors (Douglas and Peucker, 1973).

    Args:
        ring: float (n, 2), the last point as the first.
        tolerance: largest distance in pixels of a point that is left out.

    Returns:
        float (m, 2), m >= 3 where n allows, without the repeated point.
    """
    far = int(np.argmax(np.linalg.norm(ring - ring[0], axis=1)))
    kept, waiting = {0, far}, [(0, far), (far, len(ring) - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        distances = _from_line(ring[first + 1 : last], ring[first], ring[last])
        worst = first + 1 + int(np.argmax(distances))
        if distances.max() > tolerance:
            kept.add(worst)
            waiting += [(first, worst), (worst, last)]
    # A polygon has three points and an area, however small it is.
    return ring[sorted(kept)] if len(kept) > 2 else ring[:-1]


def _from_line(points, start, end):
    along = end - start
    length = np.hypot(*along)
    if length == 0:
        return np.linalg.norm(points - start, axis=1)
    x, y = (points - start).T
    return abs(along[0] * y - along[1] * x) / length


def _inset(ring):
    """Move a ring along pixel edges inward by half a pixel."""
    edges = np.sign(np.diff(ring, axis=0))  # edge i leads from point i to the next
    x, y = ring.T
    turn = np.sign(x[:-1] @ y[1:] - x[1:] @ y[:-1])
    normals = turn * np.stack([-edges[:, 1], edges[:, 0]], axis=-1)
    moved = ring[:-1] + (normals + np.roll(normals, 1, axis=0)) / 2
    return np.concatenate([moved, moved[:1]])
