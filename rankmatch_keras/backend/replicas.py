"""What layers and losses must know of data-parallel training: how many replicas there are, and sums over them.

Without a distribution engine there is one replica, which sees the whole batch; `backend.distribution` puts another
one in place. With it, one step on many replicas is one step on the whole batch: what is divided by a count of pixels
is divided by the count over all replicas, and what is drawn per image is drawn for the whole batch.

On JAX the framework itself divides the arrays of one program, which sees whole batches: there is one replica here.
"""

from typing import Any

import numpy as np
from keras import ops


class Replicas:
    """One replica, which has nobody to speak with; engines derive theirs from it.

    Attributes:
        count: number of replicas over all processes.
    """

    count: int = 1

    def index(self) -> Any:
        """Which replica this is, 0 to count - 1; a tensor where the engine decides while a graph runs."""
        return 0

    def sum(self, value: Any) -> Any:
        """Adds up a float tensor over the replicas, without gradient; called by all replicas in the same order."""
        return ops.stop_gradient(value)


_current = Replicas()


def replicas() -> Replicas:
    """The replicas of the running program."""
    return _current


def set_replicas(value: Replicas) -> None:
    """Puts the replicas of a distribution engine in place, or `Replicas()` again."""
    global _current
    _current = value


def own_rows(batch_size: int, count: int, index: int) -> np.ndarray:
    """The rows of the global batch that one replica sees, in its order.

    They are pairs of mirrored rows (i, batch_size - 1 - i), first halves first, so that reversing the replica's rows
    pairs the same images as reversing the global batch. That fails for the one image in the middle where the rows per
    replica are odd.

    Args:
        batch_size: images of the global batch, a multiple of `count`.
        count: number of replicas.
        index: which of them.

    Returns:
        int64 (batch_size / count,).

    Example:
        >>> [own_rows(8, 2, index).tolist() for index in range(2)]
        [[0, 1, 6, 7], [2, 3, 4, 5]]
    """
    rows = batch_size // count
    half = rows // 2
    first = np.arange(index * half, (index + 1) * half)
    middle = np.arange(count * half + index, count * half + index + rows % 2)
    return np.concatenate([first, middle, batch_size - 1 - first[::-1]])


def share_of(values: Any, count: int | None = None) -> Any:
    """The rows of this replica of something that is drawn alike on all replicas for the global batch.

    Args:
        values: (B_global, ...).
        count: number of replicas; all of them by default.

    Returns:
        (B_global / count, ...).
    """
    count = replicas().count if count is None else count
    if count == 1:
        return values
    batch_size = values.shape[0]
    table = np.stack([own_rows(batch_size, count, index) for index in range(count)])
    return ops.take(values, ops.take(table, replicas().index(), axis=0), axis=0)


def gathered(values: Any, axis: int = 0) -> Any:
    """What all replicas hold, joined along an axis, without gradient; called by all replicas in the same order.

    Args:
        values: float tensor of the same shape on every replica.
        axis: where the replicas' parts follow each other.

    Returns:
        A tensor with `replicas` times as many entries along the axis.
    """
    values = ops.stop_gradient(values)
    count = replicas().count
    if count == 1:
        return values
    place = ops.reshape(ops.arange(count, dtype="int32") == replicas().index(), (count, *(1,) * len(values.shape)))
    everyone = replicas().sum(ops.where(place, values[None], 0.0))
    return ops.concatenate([everyone[number] for number in range(count)], axis=axis)


def ratio(total: Any, count: Any, least: float = 1.0) -> Any:
    """A sum over this replica's pixels by a number of pixels: the mean over replicas is the ratio of the whole batch.

    Args:
        total: float32 scalar, with gradient.
        count: float32 scalar, this replica's share of the number.
        least: what is divided by where all replicas together have less; a small number where weights are summed.

    Returns:
        `replicas * total / sum of count over replicas`, float32.
    """
    return total * float(replicas().count) / ops.maximum(replicas().sum(count), least)
