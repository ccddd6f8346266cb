"""Sampling of a fixed number of pixels per class, so that compilers know all shapes.

With several replicas the sample is that of the whole batch: each replica finds its own candidates, of which those
stay that are among the best of all replicas.
"""

from typing import Any, NamedTuple

from keras import ops

from rankmatch_keras.backend.replicas import gather, replicas
from rankmatch_keras.layers.base import uniform


class Choice(NamedTuple):
    """Chosen pixels of each class, largest scores first."""

    indices: Any  # (C, k) int32, 0 where nothing is chosen
    scores: Any  # (C, k) float32, -1 where nothing is chosen

    @property
    def exist(self):
        """Which of them are real, `(C, k)` bool: a class may have fewer."""
        return self.scores >= 0.0


def class_members(label, num_classes: int, counted):
    """Mark the pixels of each class.

    Args:
        label: `(N,)` int.
        num_classes: number of classes C.
        counted: `(N,)` bool, the pixels that belong to any class.

    Returns:
        `(C, N)` bool.
    """
    classes = ops.arange(num_classes, dtype="int32")[:, None]
    return ops.logical_and(ops.cast(label, "int32")[None] == classes, counted[None])


def random_scores(batch_size, pixels, seed_generator):
    """Sample a uniform number for each pixel, as part of the whole batch of all replicas.

    Args:
        batch_size: images B of this replica.
        pixels: pixels P of an image.
        seed_generator: `keras.random.SeedGenerator`.

    Returns:
        `(B * P,)` float32, 0 to below 1.
    """
    return ops.reshape(uniform((batch_size, pixels), seed_generator), (-1,))


def choose(members, scores, count: int) -> Choice:
    """Choose the members of each class with the largest scores; with random scores, a sample without replacement.

    Args:
        members: `(C, N)` bool, the candidates of each class.
        scores: `(N,)` or `(C, N)` float, not negative.
        count: how many to choose over all replicas, or all where there are fewer.

    Returns:
        A `Choice` of k = `count` pixels per class.
    """
    scores = ops.where(members, ops.stop_gradient(ops.cast(scores, "float32")), -1.0)  # (C, N)
    nobody = ops.full((ops.shape(scores)[0], count), -1.0, dtype="float32")  # there may be fewer pixels than `count`
    best, indices = ops.top_k(ops.concatenate([scores, nobody], axis=1), count)
    if replicas().count > 1:
        least = ops.top_k(gather(best, axis=1), count)[0][:, -1:]
        best = ops.where(best >= least, best, -1.0)
    return Choice(ops.where(best >= 0.0, ops.cast(indices, "int32"), 0), best)


def gather_chosen(vectors, choice: Choice):
    """Gather the chosen vectors of all replicas, without gradient.

    Args:
        vectors: `(N, D)` float.
        choice: what `choose` returned.

    Returns:
        vectors: `(C, k, D)` float.
        exist: `(C, k)` bool, True in front.
    """
    found = ops.stop_gradient(ops.take(vectors, choice.indices, axis=0))
    if replicas().count == 1:
        return found, choice.exist
    return top_vectors(gather(found, axis=1), gather(choice.scores, axis=1), choice.scores.shape[1])


def top_vectors(vectors, scores, count: int):
    """Take the vectors of each class with the largest scores, the first of equal ones.

    Args:
        vectors: `(C, N, D)` float.
        scores: `(C, N)` float, negative where there is no vector.
        count: k, at most N.

    Returns:
        vectors: `(C, k, D)` float.
        exist: `(C, k)` bool, True in front.
    """
    places = ops.argsort(-scores, axis=1)[:, :count]  # unlike `top_k`, the same for equal scores on all backends
    exist = ops.take_along_axis(scores, places, axis=1) >= 0.0
    return ops.take_along_axis(vectors, places[..., None], axis=1), exist


def sample_indices(weights, uniforms):
    """Sample indices with probabilities proportional to the weights of their row.

    Args:
        weights: `(R, J)` float, not negative.
        uniforms: `(R, M)` float, uniform in 0..1.

    Returns:
        `(R, M)` int32; J - 1 in rows without weight.
    """
    cumulative = ops.cumsum(weights, axis=-1)  # (R, J)
    passed = (uniforms * cumulative[:, -1:])[..., None] >= cumulative[:, None, :]  # (R, M, J)
    return ops.minimum(ops.sum(ops.cast(passed, "int32"), axis=-1), weights.shape[-1] - 1)


def sample_places(counts, uniforms):
    """Turn uniform numbers from 0 to below 1 into places from 0 to `counts` - 1: int32 of their common shape."""
    counts = ops.cast(counts, "float32")
    # The product with a number just below 1 can round up to the count.
    place = ops.minimum(ops.floor(uniforms * counts), counts - 1.0)
    return ops.cast(ops.maximum(place, 0.0), "int32")
