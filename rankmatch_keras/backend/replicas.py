"""Data-parallel training as layers and losses see it: the number of replicas, and sums over them.

Without a distribution engine there is one replica, which sees the whole batch; an engine puts others in its place. One
step on many replicas is one step on the whole batch: sums over pixels are divided by counts over all replicas, and
random numbers per image are sampled for the whole batch.

On JAX the framework divides the arrays of one program, which sees whole batches: there is one replica here.
"""

from typing import Any

import numpy as np
from keras import ops


class Replicas:
    """The only replica; engines derive theirs from it.

    Attributes:
        count: number of replicas over all processes.
    """

    count: int = 1

    def index(self) -> Any:
        """Return the number of this replica, 0 to count - 1; a tensor where it is known only while a graph runs."""
        return 0

    def sum(self, value: Any) -> Any:
        """Add up a float tensor over the replicas, without gradient; all replicas call it, in the same order."""
        return ops.stop_gradient(value)


_current = Replicas()


def replicas() -> Replicas:
    """Return the replicas of the running program."""
    return _current


def set_replicas(value: Replicas) -> None:
    """Put an engine's replicas in place, or `Replicas()` again."""
    global _current
    _current = value


def own_rows(batch_size: int, count: int, index: int) -> np.ndarray:
    """Return the rows of the global batch that one replica sees, in its order.

    They are pairs of mirrored rows (i, batch_size - 1 - i), first halves first, so that reversing the replica's rows
    pairs the same images as reversing the global batch. With an odd number of rows per replica that fails for the one
    in the middle.

    Args:
        batch_size: images of the global batch, a multiple of `count`.
        count: number of replicas.
        index: number of the replica.

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


def own_part(values: Any) -> Any:
    """Return this replica's rows of values that all replicas have for the global batch.

    Args:
        values: (B_global, ...), the same on every replica.

    Returns:
        (B_global / count, ...).
    """
    count = replicas().count
    if count == 1:
        return values
    table = np.stack([own_rows(values.shape[0], count, index) for index in range(count)])
    return ops.take(values, ops.take(table, replicas().index(), axis=0), axis=0)


def gather(values: Any, axis: int = 0) -> Any:
    """Join the values of all replicas, without gradient; all replicas call it, in the same order.

    Args:
        values: float tensor of the same shape on every replica.
        axis: the axis along which the replicas' parts follow each other.

    Returns:
        A tensor with `count` times as many entries along the axis.
    """
    values = ops.stop_gradient(values)
    count = replicas().count
    if count == 1:
        return values
    place = ops.reshape(ops.arange(count, dtype="int32") == replicas().index(), (count, *(1,) * len(values.shape)))
    everyone = replicas().sum(ops.where(place, values[None], 0.0))
    return ops.concatenate([everyone[number] for number in range(count)], axis=axis)


def whole(value: Any) -> Any:
    """Add up a float tensor over the replicas so that the mean of the replicas' gradients is that of the whole batch.

    For losses that are no mean over pixels, such as a ratio of two sums.
    """
    count = replicas().count
    if count == 1:
        return value
    return replicas().sum(value) + float(count) * (value - ops.stop_gradient(value))


def ratio(total: Any, count: Any, least: float = 1.0) -> Any:
    """Divide a sum over this replica's pixels so that the mean over replicas is the ratio of the whole batch.

    Args:
        total: float32 scalar, with gradient.
        count: float32 scalar, the number of pixels (or sum of weights) of this replica.
        least: smallest divisor: 1 for pixel counts, a small number for sums of weights.

    Returns:
        `replicas * total / max(sum of count over replicas, least)`, float32.
    """
    return total * float(replicas().count) / ops.maximum(replicas().sum(count), least)
