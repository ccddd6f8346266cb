"""Which layers of a functional model stand next to each other, so that one may do the other's work."""

import keras


def neighbours(model):
    """Yields pairs of layers of which the second alone reads what the first writes.

    Only layers that are called once count, and only maps that no functional model inside returns.

    Args:
        model: a built `keras.Model`.
    """
    layers = list(model._flatten_layers())
    functional = [layer for layer in layers if isinstance(layer, keras.Model) and hasattr(layer, "operations")]
    returned = {id(tensor) for inner in functional for tensor in inner.outputs}
    for layer in layers:
        readers = [node.operation for node in layer._outbound_nodes]
        if len(layer._inbound_nodes) == len(readers) == 1 and len(readers[0]._inbound_nodes) == 1:
            if not any(id(tensor) in returned for tensor in layer._inbound_nodes[0].output_tensors):
                yield layer, readers[0]


def writer(layer):
    """The layer that writes what a layer with one input reads, or None."""
    parents = layer._inbound_nodes[0].parent_nodes
    return parents[0].operation if len(parents) == 1 else None
