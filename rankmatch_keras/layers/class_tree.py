"""Trees whose leaves are the classes: their tables, and the score of a class along its path."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from rankmatch_keras.layers.base import Float32Layer


class ClassTree:
    """Tables of a tree of classes.

    Nodes are numbered: first the K classes, which are the leaves, then the groups above them. A family is what lies
    under one parent: family 0 under the root, which is no node, family f under group K + f - 1.

    Args:
        parents: of each of the N nodes the number of the group above it, -1 at the top.

    Attributes:
        num_classes: K.
        num_nodes: N.
        families: of each of the 1 + N - K families its nodes, an int array.
        family: `(N,)` int, the family of each node.
        paths: `(K, N)` float32, 1 on the path of each class from the top to its leaf.
        siblings: `(N, N)` float32, 1 where two different nodes have one parent.

    Raises:
        ValueError: these are not the parents of a tree.

    Example:
        >>> ClassTree([-1, 3, 3, -1]).paths.tolist()
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    """

    def __init__(self, parents: Sequence[int]):
        parents = tuple(int(parent) for parent in parents)
        self.num_nodes = len(parents)
        self.num_classes = _checked(parents)
        over = [-1, *range(self.num_classes, self.num_nodes)]
        self.families = [np.flatnonzero(np.equal(parents, parent)) for parent in over]
        self.family = np.array([over.index(parent) for parent in parents], "int32")
        self.paths = np.zeros((self.num_classes, self.num_nodes), "float32")
        for leaf in range(self.num_classes):
            node = leaf
            while node >= 0:
                self.paths[leaf, node] = 1.0
                node = parents[node]
        together = self.family[:, None] == self.family[None]
        self.siblings = (together & ~np.eye(self.num_nodes, dtype=bool)).astype("float32")


def _checked(parents):
    """Return the number of leaves, which must come first; every node must lie below the top."""
    leaves = sorted({*range(len(parents))} - {*parents})
    if not leaves or leaves != [*range(len(leaves))] or not all(-1 <= p < len(parents) for p in parents):
        raise ValueError(f"Expected the classes first, then groups with nodes below them. Received: parents={parents}")
    above = {*range(len(parents))}
    for _ in parents:
        above = {parents[node] for node in above if node >= 0}
    if above - {-1}:
        raise ValueError(f"Expected parents without a circle. Received: parents={parents}")
    return len(leaves)


@keras.saving.register_keras_serializable("rankmatch_keras")
class PathScores(Float32Layer):
    """Score of each class: the logarithm of the product of the probabilities along its path, `sum log sigmoid(z)`.

    Args:
        parents: see `ClassTree`.

    Call arguments:
        nodes: `(B, H, W, N)` float, the logits of the nodes.

    Returns:
        `(B, H, W, K)` float32, at most 0.
    """

    def __init__(self, parents: Sequence[int], **kwargs):
        super().__init__(**kwargs)
        self.parents = tuple(parents)
        self.tree = ClassTree(self.parents)

    def call(self, nodes):
        """Compute the scores."""
        return ops.matmul(-ops.softplus(-ops.cast(nodes, "float32")), self.tree.paths.T)

    def compute_output_shape(self, nodes_shape):
        """Return the shape with a channel per class."""
        return (*nodes_shape[:-1], self.tree.num_classes)
