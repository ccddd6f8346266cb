"""Rules of a tree of classes, how much a pixel's probabilities conflict with them, and the repair of its label."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from rankmatch_keras.layers.base import Float32Layer, uniform
from rankmatch_keras.layers.class_tree import ClassTree

LARGEST = 2  # nodes of a diagnosis
LEAST = 1e-6  # reliability, and unreliability, whose logarithms are added
KEPT = 1e9  # beyond any sum of them


class Repaired(NamedTuple):
    """Pseudo-labels that satisfy all rules; without gradient."""

    label: Any  # (B, H, W) int32, a class
    known: Any  # (B, H, W) bool, False where there is no diagnosis
    conflict: Any  # (B, H, W) bool, where the observation breaks a rule


class Rules:
    """Fuzzy rules of a tree of classes, on the probabilities p of its nodes.

    - Composition, for each node below a group: it implies the group, `min(1, 1 - p_node + p_group)`.
    - Decomposition, for each group: it implies one of its nodes, `min(1, 1 - p_group + max p_node)`. The root, which is
      no node and always true, is a group too: a pixel without any class breaks a rule.
    - Exclusion, for each pair of nodes under one parent: `1 - p_i p_j`.

    A node takes part in the rules that name it.

    Args:
        tree: the tree.
    """

    def __init__(self, tree: ClassTree):
        self.tree = tree
        # Who takes part in a rule: of composition, by its lower node (N, N), or of decomposition, by family (F, N).
        own = np.eye(tree.num_nodes, dtype="float32")
        nobody = np.zeros((1, tree.num_nodes), "float32")
        over = np.concatenate([nobody, own[tree.num_classes :]])  # the node above each family, (F, N)
        below = tree.family == np.arange(len(tree.families))[:, None]
        self.composed = np.where(tree.family[:, None] > 0, own + over[tree.family], 0.0).astype("float32")
        self.decomposed = below.astype("float32") + over
        self.number = (self.composed.sum(0) + self.decomposed.sum(0) + tree.siblings.sum(0)).astype("float32")

    def conflict(self, p):
        """Compute the conflict degree of each node: 1 - mean truth of the rules that it takes part in.

        Args:
            p: `(..., N)` float32, probabilities.

        Returns:
            `(..., N)` float32, 0 to 1.
        """
        tree = self.tree
        above = ops.concatenate([ops.ones_like(p[..., :1]), p[..., tree.num_classes :]], axis=-1)  # (..., F)
        composition = ops.minimum(1.0 - p + ops.take(above, tree.family, axis=-1), 1.0)  # (..., N)
        largest = ops.stack([ops.max(ops.take(p, family, axis=-1), axis=-1) for family in tree.families], axis=-1)
        decomposition = ops.minimum(1.0 - above + largest, 1.0)  # (..., F)
        exclusion = ops.subtract(tree.siblings.sum(0), p * ops.matmul(p, tree.siblings))  # (..., N), over all pairs
        truth = ops.matmul(composition, self.composed) + ops.matmul(decomposition, self.decomposed) + exclusion
        return ops.clip(1.0 - ops.divide(truth, self.number), 0.0, 1.0)


@keras.saving.register_keras_serializable("rankmatch_keras")
class Diagnosis(Float32Layer):
    """Repair of labels that break the rules of a tree of classes, see `Rules`.

    The observation of a pixel is O = [p > 0.5] for each node. A diagnosis is a minimal set of one or two nodes whose
    flip satisfies all rules. With c the conflict degree of a node, its reliability is r = (1 - c) (p where O = 1, else
    1 - p), and the likelihood of a diagnosis the product of 1 - r over its nodes and of r over all others, normalized
    over the pixel's diagnoses. The most likely one is applied. A pixel without conflict keeps its label.

    What satisfies all rules is known beforehand: with the root true, exactly one node of its family is, of that node's
    family again one, and so on, and nothing beside them. So there are K such states, the paths of the classes, and a
    diagnosis is a path that differs from O in one or two nodes. Two paths differ in two nodes at least (their leaves),
    so that all of these are minimal. In place of a table of N (N + 1) / 2 flips, two matrix products give the number of
    nodes in which O differs from each path, and the likelihood of each. One image follows the other, so that whatever
    the batch, some 12 maps of N numbers per pixel are held: 320 MB at 513 x 513 pixels and 27 nodes.

    Args:
        parents: the tree, see `ClassTree`.
        sample: whether a diagnosis is sampled by its likelihood, in place of the most likely one.
        seed: int or `None`, of the samples.
    """

    def __init__(self, parents: Sequence[int], sample: bool = False, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.parents = tuple(parents)
        self.sample = sample
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.tree = ClassTree(self.parents)
        self.rules = Rules(self.tree)

    def call(self, nodes) -> Repaired:
        """Repair the labels of a batch.

        Args:
            nodes: `(B, H, W, N)` float, logits.
        """
        images = [ops.stop_gradient(ops.cast(nodes, "float32"))]
        if self.sample:
            images.append(uniform(ops.shape(nodes)[:-1], self.seed_generator))
        return Repaired(*ops.map(lambda parts: tuple(self.repair(ops.sigmoid(parts[0]), *parts[1:])), tuple(images)))

    def repair(self, p, chance=None) -> Repaired:
        """Repair labels.

        Args:
            p: `(..., N)` float32, probabilities.
            chance: `(...,)` float32, uniform in 0..1, that chooses the diagnosis; `None`: the most likely one.
        """
        differing, likelihood = self.candidates(p)
        conflict = ops.min(differing, axis=-1) > 0.5
        known = ops.min(differing, axis=-1) < LARGEST + 0.5
        score = ops.where(differing < LARGEST + 0.5, likelihood, -KEPT)
        score = ops.where(differing < 0.5, KEPT, score)
        if chance is None:
            return Repaired(ops.cast(ops.argmax(score, axis=-1), "int32"), known, conflict)
        below = ops.cumsum(ops.softmax(score, axis=-1), axis=-1)
        label = ops.sum(ops.cast(below[..., :-1] <= chance[..., None] * below[..., -1:], "int32"), axis=-1)
        return Repaired(label, known, conflict)

    def candidates(self, p):
        """Compare the observation with the paths of all classes.

        Args:
            p: `(..., N)` float32, probabilities.

        Returns:
            differing: `(..., K)` float32, in how many nodes they differ.
            likelihood: `(..., K)` float32, the logarithm of the likelihood of their flip, but for a constant of the
                pixel.
        """
        on = p > 0.5
        reliability = (1.0 - self.rules.conflict(p)) * ops.where(on, p, 1.0 - p)
        reliability = ops.clip(reliability, LEAST, 1.0 - LEAST)
        flipped = ops.log(1.0 - reliability) - ops.log(reliability)
        # A path differs from O where it is off and O on, or the other way round: O + path (1 - 2 O).
        on = ops.cast(on, "float32")
        sign = 1.0 - 2.0 * on
        paths = self.tree.paths.T
        differing = ops.sum(on, axis=-1, keepdims=True) + ops.matmul(sign, paths)
        likelihood = ops.sum(on * flipped, axis=-1, keepdims=True) + ops.matmul(sign * flipped, paths)
        return differing, likelihood
