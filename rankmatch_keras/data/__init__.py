"""From files on disk to training batches.

Rooms, in the order in which data passes through them: `readers` (files to arrays), `masks` (values, colors and polygons
to class ids), `sets` (what images there are), `splits` (which of them are labeled), `views` (weak and strong views of
one image), `batches` (the training batch).

Names load on first use, so that importing the package needs neither TensorFlow nor keras-cv.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankmatch_keras.data.batches.pipelines import choose_pipeline, describe_pipeline
    from rankmatch_keras.data.batches.training_batches import training_batches
    from rankmatch_keras.data.masks.coco import CocoMask, read_coco
    from rankmatch_keras.data.masks.detection import detect_encoding
    from rankmatch_keras.data.masks.encodings import Ids, Lookup, TwoValues
    from rankmatch_keras.data.masks.labelme import LabelMeMask, labelme_classes
    from rankmatch_keras.data.masks.legends import Legend, legend_of, read_legend
    from rankmatch_keras.data.masks.mask_files import MaskFile, read_mask
    from rankmatch_keras.data.readers.images import image_info, read_colors, read_image, read_raw_mask
    from rankmatch_keras.data.readers.sources import Array, ImageFile
    from rankmatch_keras.data.readers.tiff import count_pages
    from rankmatch_keras.data.sets.arrays import from_arrays
    from rankmatch_keras.data.sets.hierarchies import Hierarchy, parents_of
    from rankmatch_keras.data.sets.lists import read_list
    from rankmatch_keras.data.sets.loaders import (
        ADE20K,
        CamVid,
        Cityscapes,
        COCOStuff,
        ImageFolder,
        Lucchi,
        PascalVOC,
        SampleScenes,
        open_data,
    )
    from rankmatch_keras.data.sets.pixel_statistics import ImageFormat, channel_statistics, image_format
    from rankmatch_keras.data.sets.protocol import Protocol
    from rankmatch_keras.data.sets.samples import Origin, Sample, SegmentationData
    from rankmatch_keras.data.splits.split import (
        Split,
        choose_labeled,
        samples_from_list,
        split_from_lists,
        split_id,
        with_val_list,
    )
    from rankmatch_keras.data.views.own import read_augmentation

__all__ = [
    "ADE20K",
    "Array",
    "COCOStuff",
    "CamVid",
    "Cityscapes",
    "CocoMask",
    "Hierarchy",
    "Ids",
    "ImageFile",
    "ImageFolder",
    "ImageFormat",
    "LabelMeMask",
    "Legend",
    "Lookup",
    "Lucchi",
    "MaskFile",
    "Origin",
    "PascalVOC",
    "Protocol",
    "Sample",
    "SampleScenes",
    "SegmentationData",
    "Split",
    "TwoValues",
    "channel_statistics",
    "choose_labeled",
    "choose_pipeline",
    "count_pages",
    "describe_pipeline",
    "detect_encoding",
    "from_arrays",
    "image_format",
    "image_info",
    "labelme_classes",
    "legend_of",
    "open_data",
    "parents_of",
    "read_augmentation",
    "read_coco",
    "read_colors",
    "read_image",
    "read_legend",
    "read_list",
    "read_mask",
    "read_raw_mask",
    "samples_from_list",
    "split_from_lists",
    "split_id",
    "training_batches",
    "with_val_list",
]

_MODULES = {
    "readers.images": (
        "image_info",
        "read_colors",
        "read_image",
        "read_raw_mask",
    ),
    "readers.sources": (
        "Array",
        "ImageFile",
    ),
    "readers.tiff": ("count_pages",),
    "masks.detection": ("detect_encoding",),
    "masks.encodings": ("Ids", "Lookup", "TwoValues"),
    "masks.legends": (
        "Legend",
        "legend_of",
        "read_legend",
    ),
    "masks.mask_files": (
        "MaskFile",
        "read_mask",
    ),
    "masks.coco": ("CocoMask", "read_coco"),
    "masks.labelme": ("LabelMeMask", "labelme_classes"),
    "views.own": ("read_augmentation",),
    "sets.arrays": ("from_arrays",),
    "sets.hierarchies": ("Hierarchy", "parents_of"),
    "sets.lists": ("read_list",),
    "sets.loaders": (
        "ADE20K",
        "COCOStuff",
        "CamVid",
        "Cityscapes",
        "ImageFolder",
        "Lucchi",
        "PascalVOC",
        "SampleScenes",
        "open_data",
    ),
    "sets.pixel_statistics": (
        "ImageFormat",
        "channel_statistics",
        "image_format",
    ),
    "sets.protocol": ("Protocol",),
    "sets.samples": (
        "Origin",
        "Sample",
        "SegmentationData",
    ),
    "splits.split": (
        "Split",
        "choose_labeled",
        "samples_from_list",
        "split_from_lists",
        "split_id",
        "with_val_list",
    ),
    "batches.training_batches": ("training_batches",),
    "batches.pipelines": (
        "choose_pipeline",
        "describe_pipeline",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the module that holds `name` when it is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(set(globals()) | set(__all__))
