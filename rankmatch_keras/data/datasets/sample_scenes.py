"""The embedded sample set."""

from pathlib import Path

from rankmatch_keras.data.datasets.listing import folder_to_samples, require_layout
from rankmatch_keras.data.samples import SegmentationData

CLASSES = ("background", "stone", "plank", "tile", "ring")


def SampleScenes(root: str | Path) -> SegmentationData:
    """The embedded sample set: small made-up scenes with exact masks; 5 classes.

    Args:
        root: folder with `train/images`, `train/masks`, `val/images` and `val/masks`: `data/sample` of a
            checkout, or what `python -m rankmatch_keras.data.synthetic DIR` wrote.

    Raises:
        UserError: a folder is missing or empty, or an image has no mask.
    """
    root = Path(root)
    folders = [f"{part}/{kind}" for part in ("train", "val") for kind in ("images", "masks")]
    require_layout(root, "the sample scenes", folders, "Give data/sample of a checkout.")
    train, val = (folder_to_samples(root / part / "images", root / part / "masks") for part in ("train", "val"))
    return SegmentationData("sample_scenes", train, val, CLASSES)
