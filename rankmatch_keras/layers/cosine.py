"""Vectors of unit length, whose dot products are cosines."""

from keras import ops


def unit_length(vectors, least: float = 1e-6):
    """Divide `(..., D)` float vectors by their length, or by `least` where they are shorter: the gradient is finite."""
    return vectors * ops.rsqrt(ops.maximum(ops.sum(ops.square(vectors), axis=-1, keepdims=True), least**2))
