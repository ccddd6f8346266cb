"""A segmenter with a sigmoid at every node of a tree of classes, in place of a softmax over the classes."""

from collections.abc import Sequence

import keras
from keras import layers

from rankmatch_keras.layers.class_tree import ClassTree, PathScores
from rankmatch_keras.layers.resize import ResizeLike
from rankmatch_keras.models.segmenter import CANVAS, Segmenter, class_count


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class TreeSegmenter(Segmenter):
    """A segmenter that scores a class by the product of the probabilities along its path; see `with_tree`.

    Args:
        encoder: as in `Segmenter`.
        decoder: as in `Segmenter`; it also returns "nodes" (B, h, w, N), the logits of all nodes.
        parents: the tree, see `ClassTree`.
        **kwargs: name, dtype, trainable of the model.

    Returns:
        dict of "nodes" (B, H, W, N), "logits" (B, H, W, K), their `PathScores`, both float32, "features" and "decoded".
    """

    def __init__(self, encoder, decoder, parents: Sequence[int], **kwargs):
        super().__init__(encoder, decoder, **kwargs)
        self.parents = tuple(parents)
        self.scores = PathScores(self.parents, name="path_scores")

    def decode(self, features, training=None):
        """Run the decoder; as in `Segmenter`."""
        maps = {name: x for name, x in features.items() if name != CANVAS}
        outputs = self.decoder(maps, training=training)
        nodes = self.resize(outputs["nodes"], features[CANVAS])
        return {
            "logits": self.scores(nodes),
            "features": outputs["features"],
            "decoded": outputs["decoded"],
            "nodes": nodes,
        }

    def compute_output_spec(self, images, training=None):
        """Return symbolic outputs; as in `Segmenter`."""
        outputs = super().compute_output_spec(images)
        nodes = (*outputs["logits"].shape[:-1], self.scores.tree.num_nodes)
        return {**outputs, "nodes": keras.KerasTensor(nodes, dtype="float32")}


def with_tree(segmenter, parents: Sequence[int]) -> TreeSegmenter:
    """Give a segmenter a sigmoid at every node of a tree.

    The logits of its classifier become those of the leaves. Beside it, a 1x1 convolution of the map that the classifier
    reads has the logits of the groups.

    Args:
        segmenter: its encoder and the layers of its decoder are used, not copied; a `TreeSegmenter` is returned as it
            is.
        parents: the tree, see `ClassTree`.

    Raises:
        ValueError: the tree has another number of classes.
    """
    if isinstance(segmenter, TreeSegmenter):
        return segmenter
    tree = ClassTree(parents)
    if tree.num_classes != class_count(segmenter):
        raise ValueError(
            f"Expected a tree of the network's {class_count(segmenter)} classes. Received: {tree.num_classes} of them"
        )
    outputs = segmenter.decoder.output
    logits = outputs["logits"]
    decoded = outputs.get("decoded", outputs["features"])
    nodes = [logits]
    if tree.num_nodes > tree.num_classes:
        groups = layers.Conv2D(tree.num_nodes - tree.num_classes, 1, dtype="float32", name="groups")(decoded)
        nodes.append(ResizeLike(dtype="float32", name="groups_resized")(groups, logits))
    outputs = {
        "logits": logits,
        "features": outputs["features"],
        "decoded": decoded,
        "nodes": layers.Concatenate(dtype="float32", name="nodes")(nodes),
    }
    decoder = keras.Model(segmenter.decoder.input, outputs, name="decoder")
    return TreeSegmenter(segmenter.encoder, decoder, parents, name=segmenter.name)
