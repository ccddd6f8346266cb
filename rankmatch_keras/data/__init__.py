"""From files on disk to training batches.

Read in this order: `datasets` (what there is), `splits` (what is labelled), `decoding` (path to array),
`checks` (before training), `views` (weak and strong views of one image), `batches` (the training batch).

Names are loaded on first use, so that importing the package needs neither TensorFlow nor keras-cv.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankmatch_keras.data.arrays import from_arrays
    from rankmatch_keras.data.batches.pipelines import choose_pipeline, describe_pipeline
    from rankmatch_keras.data.batches.training_batches import training_batches
    from rankmatch_keras.data.checks import CheckReport, check, check_samples, require_usable, without_bad
    from rankmatch_keras.data.codings import (
        Ids,
        Legend,
        Lookup,
        TwoValues,
        detect_coding,
        legend_of,
        read_legend,
    )
    from rankmatch_keras.data.datasets import (
        ADE20K,
        CamVid,
        Cityscapes,
        COCOStuff,
        Lucchi,
        PascalVOC,
        SampleScenes,
    )
    from rankmatch_keras.data.decoding import image_info, read_colors, read_image, read_mask, read_raw_mask
    from rankmatch_keras.data.image_folder import ImageFolder
    from rankmatch_keras.data.opening import open_data, with_val_list
    from rankmatch_keras.data.polygons import CocoMask, LabelMeMask, labelme_classes, read_coco
    from rankmatch_keras.data.protocol import Protocol
    from rankmatch_keras.data.samples import Origin, Sample, SegmentationData
    from rankmatch_keras.data.sources import Array, ImageFile, MaskFile
    from rankmatch_keras.data.splits import (
        Split,
        choose_labeled,
        read_list,
        samples_from_list,
        split_from_lists,
        split_id,
    )
    from rankmatch_keras.data.statistics import ImageFormat, channel_statistics, image_format
    from rankmatch_keras.data.tiff import count_pages

__all__ = [
    "ADE20K",
    "Array",
    "COCOStuff",
    "CamVid",
    "CheckReport",
    "Cityscapes",
    "CocoMask",
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
    "check",
    "check_samples",
    "choose_labeled",
    "choose_pipeline",
    "count_pages",
    "describe_pipeline",
    "detect_coding",
    "from_arrays",
    "image_format",
    "image_info",
    "labelme_classes",
    "legend_of",
    "open_data",
    "read_coco",
    "read_colors",
    "read_image",
    "read_legend",
    "read_list",
    "read_mask",
    "read_raw_mask",
    "require_usable",
    "samples_from_list",
    "split_from_lists",
    "split_id",
    "training_batches",
    "with_val_list",
    "without_bad",
]

_MODULES = {
    "arrays": ("from_arrays",),
    "batches.pipelines": ("choose_pipeline", "describe_pipeline"),
    "batches.training_batches": ("training_batches",),
    "checks": ("CheckReport", "check", "check_samples", "require_usable", "without_bad"),
    "codings": ("Ids", "Legend", "Lookup", "TwoValues", "detect_coding", "legend_of", "read_legend"),
    "datasets": ("ADE20K", "COCOStuff", "CamVid", "Cityscapes", "Lucchi", "PascalVOC", "SampleScenes"),
    "decoding": ("image_info", "read_colors", "read_image", "read_mask", "read_raw_mask"),
    "image_folder": ("ImageFolder",),
    "opening": ("open_data", "with_val_list"),
    "polygons": ("CocoMask", "LabelMeMask", "labelme_classes", "read_coco"),
    "protocol": ("Protocol",),
    "samples": ("Origin", "Sample", "SegmentationData"),
    "sources": ("Array", "ImageFile", "MaskFile"),
    "splits": ("Split", "choose_labeled", "read_list", "samples_from_list", "split_from_lists", "split_id"),
    "statistics": ("ImageFormat", "channel_statistics", "image_format"),
    "tiff": ("count_pages",),
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
