"""Optimizer and schedule of the papers, steps per backend, callbacks and run folders."""

from rankmatch_keras.training.optimizers import SGD as SGD
from rankmatch_keras.training.optimizers import polynomial_decay as polynomial_decay
from rankmatch_keras.training.runs import Run as Run
