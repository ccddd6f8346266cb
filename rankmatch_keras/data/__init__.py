"""From files on disk to training batches.

Read in this order: `datasets` (what there is), `splits` (what is labelled), `decoding` (path to array),
`checks` (before training), `weak`, `strong` and `boxes` (what is drawn), `batches` (the training batch).

Names are loaded on first use, so that importing the package needs neither TensorFlow nor keras-cv.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankmatch_keras.data.batches import training_batches
    from rankmatch_keras.data.checks import CheckReport, check_samples
    from rankmatch_keras.data.datasets import (
        CamVid,
        ImageFolder,
        Lucchi,
        PascalVOC,
        Sample,
        SampleScenes,
        SegmentationData,
    )
    from rankmatch_keras.data.decoding import read_image, read_mask
    from rankmatch_keras.data.splits import Split, choose_labeled, read_list, samples_from_list, split_from_lists

__all__ = [
    "CamVid",
    "CheckReport",
    "ImageFolder",
    "Lucchi",
    "PascalVOC",
    "Sample",
    "SampleScenes",
    "SegmentationData",
    "Split",
    "check_samples",
    "choose_labeled",
    "read_image",
    "read_list",
    "read_mask",
    "samples_from_list",
    "split_from_lists",
    "training_batches",
]

_MODULES = {
    "batches": ("training_batches",),
    "checks": ("CheckReport", "check_samples"),
    "datasets": (
        "CamVid",
        "ImageFolder",
        "Lucchi",
        "PascalVOC",
        "Sample",
        "SampleScenes",
        "SegmentationData",
    ),
    "decoding": ("read_image", "read_mask"),
    "splits": ("Split", "choose_labeled", "read_list", "samples_from_list", "split_from_lists"),
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
