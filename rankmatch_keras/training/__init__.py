"""Optimizer and schedule of the papers, steps per backend, callbacks and run folders.

What needs Keras loads on first use, so that a run's folder can be looked at without it.
"""

from typing import TYPE_CHECKING

from rankmatch_keras.training.runs import Run as Run

if TYPE_CHECKING:
    from rankmatch_keras.training.optimizers import SGD as SGD
    from rankmatch_keras.training.optimizers import polynomial_decay as polynomial_decay


def __getattr__(name):
    if name in ("SGD", "polynomial_decay"):
        from rankmatch_keras.training import optimizers

        return getattr(optimizers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
