"""Fixed numbers of pixels drawn from masks that mark any number, so that compilers know all shapes.

With several replicas the drawn pixels are those of the whole batch: each replica finds its own candidates, and only
those stay that are among the best of all.
"""

from typing import Any, NamedTuple

from keras import ops

from rankmatch_keras.backend.replicas import gathered, replicas
from rankmatch_keras.layers.base import uniform


class Choice(NamedTuple):
    """Pixels chosen of each class, those with the largest scores first."""

    indices: Any  # (C, k) int32, 0 where nothing is chosen
    scores: Any  # (C, k) float32, -1 where nothing is chosen

    @property
    def exist(self):
        """Which of them there are: `(C, k)` bool."""
        return self.scores >= 0.0


def random_scores(batch_size, pixels, seed_generator):
    """A uniform random number for each pixel, drawn for the whole batch of all replicas.

    Args:
        batch_size: images B of this replica.
        pixels: pixels P of an image.
        seed_generator: `keras.random.SeedGenerator`.

    Returns:
        `(B * P,)` float32 of 0 up to 1.
    """
    return ops.reshape(uniform((batch_size, pixels), seed_generator), (-1,))


def choose(members, scores, count: int) -> Choice:
    """Chooses of each class the members with the largest scores; random scores make a draw without replacement.

    Args:
        members: `(C, N)` bool, the pixels that may be chosen for each class.
        scores: `(N,)` or `(C, N)` float, not negative.
        count: how many are chosen over all replicas, where there are so many.

    Returns:
        `count` pixels of each class, some of which may not exist.
    """
    scores = ops.where(members, ops.stop_gradient(ops.cast(scores, "float32")), -1.0)  # (C, N)
    nobody = ops.full((ops.shape(scores)[0], count), -1.0, dtype="float32")  # there may be fewer pixels than `count`
    best, indices = ops.top_k(ops.concatenate([scores, nobody], axis=1), count)
    if replicas().count > 1:
        least = ops.top_k(gathered(best, axis=1), count)[0][:, -1:]
        best = ops.where(best >= least, best, -1.0)
    return Choice(ops.where(best >= 0.0, ops.cast(indices, "int32"), 0), best)


def gather_chosen(vectors, choice: Choice):
    """The chosen vectors of all replicas, without gradient.

    Args:
        vectors: `(N, D)` float.
        choice: which of them.

    Returns:
        `(C, k, D)` float, and which of them exist: `(C, k)` bool, True in front.
    """
    found = ops.stop_gradient(ops.take(vectors, choice.indices, axis=0))
    if replicas().count == 1:
        return found, choice.exist
    return top_vectors(gathered(found, axis=1), gathered(choice.scores, axis=1), choice.scores.shape[1])


def top_vectors(vectors, scores, count: int):
    """The vectors with the largest scores of each class, of equal ones the first.

    Args:
        vectors: `(C, N, D)` float.
        scores: `(C, N)` float, negative where there is no vector.
        count: k, at most N.

    Returns:
        `(C, k, D)` float and `(C, k)` bool, True in front.
    """
    places = ops.argsort(-scores, axis=1)[:, :count]  # unlike `top_k` alike for equal scores on all backends
    exist = ops.take_along_axis(scores, places, axis=1) >= 0.0
    return ops.take_along_axis(vectors, places[..., None], axis=1), exist


def sample_indices(weights, draws):
    """Draws indices with the probabilities of a row's weights.

    Args:
        weights: `(R, J)` float, not negative.
        draws: `(R, M)` float, uniform in 0..1.

    Returns:
        `(R, M)` int32; J - 1 in rows without weight.
    """
    cumulated = ops.cumsum(weights, axis=-1)  # (R, J)
    passed = (draws * cumulated[:, -1:])[..., None] >= cumulated[:, None, :]  # (R, M, J)
    return ops.minimum(ops.sum(ops.cast(passed, "int32"), axis=-1), weights.shape[-1] - 1)


def sample_places(counts, draws):
    """Draws a place among the first `counts` ones from uniform numbers of 0 up to 1: int32 of their common shape."""
    counts = ops.cast(counts, "float32")
    # A uniform number just below 1 can round up to the count.
    place = ops.minimum(ops.floor(draws * counts), counts - 1.0)
    return ops.cast(ops.maximum(place, 0.0), "int32")
