"""Training: options, `train`, run directories, callbacks, optimizers and self-training.

Names load on first use, so that options and run directories need no framework.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankmatch_keras.training.optimizers import SGD as SGD
    from rankmatch_keras.training.optimizers import polynomial_decay as polynomial_decay
    from rankmatch_keras.training.options import Options as Options
    from rankmatch_keras.training.run_folder import Run as Run

_PLACES = {"SGD": "optimizers", "polynomial_decay": "optimizers", "Options": "options", "Run": "run_folder"}


def __getattr__(name):
    if name in _PLACES:
        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
