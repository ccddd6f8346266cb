"""RankMatch and its baselines for semi-supervised semantic segmentation, as Keras 3 models and layers.

Names load on first use: importing the package imports no framework. After Keras it also makes Keras know the classes of
saved models: `import keras, rankmatch_keras; keras.saving.load_model("last.keras")`.
"""

import importlib
import sys
from typing import TYPE_CHECKING

__version__ = "0.2.0"

# Mask value of pixels that are neither trained on nor scored.
IGNORE_INDEX = 255

_PLACES = {
    "RankMatch": "rankmatch_keras.methods",
    "UniMatch": "rankmatch_keras.methods",
    "FixMatch": "rankmatch_keras.methods",
    "SupervisedOnly": "rankmatch_keras.methods",
    "train": "rankmatch_keras.training.train",
}
_MODULES = ("callbacks", "check", "data", "evaluation", "layers", "losses", "methods", "models", "training")

__all__ = ["FixMatch", "RankMatch", "SupervisedOnly", "UniMatch", "train", *_MODULES]

if TYPE_CHECKING:
    from rankmatch_keras.methods import FixMatch, RankMatch, SupervisedOnly, UniMatch
    from rankmatch_keras.training.train import train


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})


if "keras" in sys.modules:  # These rooms register everything that a saved model may contain.
    for _room in ("models", "methods", "training.optimizers"):
        importlib.import_module(f"{__name__}.{_room}")
