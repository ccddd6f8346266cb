"""JAX writes no files for other programs: TensorFlow and PyTorch write them of the same saved network."""

from collections.abc import Callable

WRITERS: dict[str, Callable] = {}
