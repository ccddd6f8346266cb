"""CVAT's export "Segmentation mask": colors by class in one folder, by object in another, and what the colors mean."""

from pathlib import Path

from rankmatch_keras.data.readers.archives import is_file, is_folder

LABELMAP = "labelmap.txt"
_CLASS_MASKS = "SegmentationClass"


def class_masks(place: Path) -> Path:
    """Return the folder of the class masks in an export of CVAT; any other place is returned as it is.

    Args:
        place: the export, unpacked or in a zip file.
    """
    is_export = is_file(place / LABELMAP) and is_folder(place / _CLASS_MASKS)
    return place / _CLASS_MASKS if is_export else place
