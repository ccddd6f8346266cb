"""Vectors of unit length, whose dot products are cosines."""

from keras import ops


def unit_length(vectors):
    """Divides `(..., D)` float vectors by their length; vectors of nearly none stay near 0, with finite gradient."""
    return vectors * ops.rsqrt(ops.maximum(ops.sum(ops.square(vectors), axis=-1, keepdims=True), 1e-12))
