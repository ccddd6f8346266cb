"""Georeference of a GeoTIFF: its tags as they are, and what they say of pixel coordinates.

The tags are copied verbatim, so that no coordinate system is lost in translation.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tifffile import TiffFile, TiffFileError

SCALE, TIE_POINTS, MATRIX, KEYS = 33550, 33922, 34264, 34735
TAGS = (SCALE, TIE_POINTS, MATRIX, KEYS, 34736, 34737)  # the last two: the keys' numbers and texts
NO_DATA = 42113  # GDAL's
ORIENTATION = 274
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PROJECTED, GEOGRAPHIC = 3072, 2048  # keys with a code of the EPSG
OWN_SYSTEM = 32767


@dataclass(frozen=True)
class Georeference:
    """Place of an image on the map.

    Attributes:
        tags: number -> (type, count, value), for `tifffile.imwrite`.
        no_data: value that stands for no data in all bands of the image; None if it names none.
    """

    tags: dict
    no_data: float | None = None

    @property
    def matrix(self):
        """Float (2, 3) from pixel coordinates (x, y, 1), the first pixel from 0 to 1, to the map; None if unknown."""
        if MATRIX in self.tags:
            matrix = np.reshape(self.tags[MATRIX][2], (4, 4))[:2, [0, 1, 3]]
        elif SCALE in self.tags and len(self.tags.get(TIE_POINTS, ((),) * 3)[2]) == 6:
            (x_step, y_step, *_), (column, row, _, x, y, _) = self.tags[SCALE][2], self.tags[TIE_POINTS][2]
            matrix = np.array([[x_step, 0, x - column * x_step], [0, -y_step, y + row * y_step]])
        else:  # e.g. many ground control points
            return None
        if self._keys.get(1025) == 2:  # the tie point is the middle of its pixel
            matrix[:, 2] -= matrix[:, :2] @ (0.5, 0.5)
        return matrix

    @property
    def epsg(self):
        """Code of the coordinate system; None if it has none."""
        code = self._keys.get(PROJECTED) or self._keys.get(GEOGRAPHIC)
        return None if code in (None, 0, OWN_SYSTEM) else code

    @property
    def _keys(self):
        values = np.reshape(self.tags[KEYS][2] if KEYS in self.tags else (), (-1, 4))[1:]
        return {int(key): int(value) for key, place, _, value in values if place == 0}

    def extra_tags(self, no_data):
        """Return the tags of a file of equal size, for `tifffile.imwrite`.

        Args:
            no_data: text of the value that stands for no data in that file.
        """
        own = [(code, *tag, True) for code, tag in self.tags.items()]
        return [*own, (NO_DATA, "s", len(no_data) + 1, no_data, True)]

    def without_data(self, image):
        """Return bool (H, W): where all bands of an image (H, W, C) have the value for no data."""
        if self.no_data is None:
            return np.zeros(image.shape[:2], bool)
        return (image == self.no_data).all(-1)

    def to_map(self, points):
        """Convert (n, 2) pixel coordinates to the map."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]


def read_georeference(path: str | Path, page: int | None = None) -> Georeference | None:
    """Read the georeference of an image file; None where there is none, or the picture is stored turned."""
    with open(path, "rb") as file:
        if file.read(4) not in TIFF_HEADS:
            return None
    try:
        with TiffFile(path) as tiff:
            tags = tiff.pages[page or 0].tags
            if tags.valueof(ORIENTATION, default=1) != 1:
                return None
            found = {code: _copied(tags[code]) for code in TAGS if code in tags}
            no_data = _number(tags.valueof(NO_DATA, default=""))
    except (TiffFileError, IndexError):  # the reader says what is wrong, or reads pages that have no tags of their own
        return None
    return Georeference(found, no_data) if MATRIX in found or TIE_POINTS in found else None


def _number(text):
    try:
        return float(str(text).strip(" \0"))
    except ValueError:
        return None


def _copied(tag):
    if isinstance(tag.value, (str, bytes)):
        return ("s", tag.count, tag.value)
    values = tuple(tag.value) if isinstance(tag.value, (tuple, list)) else (tag.value,)
    return (int(tag.dtype), len(values), values)
