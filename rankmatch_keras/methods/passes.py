"""Passes of images through a network in training mode: who shares batch statistics, who moves the running ones."""

import contextlib

import keras
from keras import ops

NORMALIZE = ("joint", "separate")
# The kinds of images whose passes move the running statistics of batch normalization.
STATISTICS = {
    "labeled": ("labeled",),
    "labeled+weak": ("labeled", "weak"),
    "all": ("labeled", "weak", "dropped", "strong"),
}


class Passes:
    """How the kinds of images of a step pass a network in training mode.

    Images that share a pass share the batch statistics of its normalization. Unlabeled images without a loss of their
    own then serve the network as a reference to tell the labeled ones apart: the labeled loss falls faster, and the
    score on other images is lower. EMAN (Cai et al., CVPR 2021, Section 3) describes this leak. Domain-specific batch
    normalization (Chang et al., CVPR 2019) is the remedy taken here, without weights of its own for each kind.

    Args:
        normalize: `"joint"`: the kinds that a method names together share one pass, as published; `"separate"`: each
            kind has a pass, and batch statistics, of its own.
        statistics: the kinds whose passes move the running statistics, which inference uses: `"labeled"`,
            `"labeled+weak"` or `"all"`, the published behavior.

    Raises:
        ValueError: an unknown value, or `"labeled"` where labeled images share their pass with others.
    """

    def __init__(self, normalize: str = "joint", statistics: str = "all"):
        if normalize not in NORMALIZE:
            raise ValueError(f"Expected normalize in {NORMALIZE}. Received: normalize={normalize!r}")
        if statistics not in STATISTICS:
            raise ValueError(f"Expected statistics in {tuple(STATISTICS)}. Received: statistics={statistics!r}")
        if (normalize, statistics) == ("joint", "labeled"):
            raise ValueError(
                "Labeled images that share a pass cannot move the running statistics alone. "
                "Expected normalize='separate' with statistics='labeled'. Received: normalize='joint'"
            )
        self.normalize = normalize
        self.statistics = statistics

    def __call__(self, network, **images):
        """Pass images through a segmenter.

        Args:
            network: a `Segmenter` or an EMA of one.
            **images: `(B, H, W, C)` of each kind: `labeled`, `weak`, `dropped` or `strong`.

        Returns:
            The outputs by name; the rows of all kinds, in the order given.
        """
        return self._run(network, network, images)

    def encode(self, segmenter, **images):
        """Pass images through the encoder alone; as `__call__` otherwise."""
        return self._run(segmenter, segmenter.encode, images)

    def decode(self, segmenter, **maps):
        """Pass the encoder's maps, a dict for each kind, through the decoder; as `__call__` otherwise."""
        return self._run(segmenter, segmenter.decode, maps)

    def _run(self, network, function, kinds):
        if self.normalize == "joint":
            with self._statistics(network, kinds):
                return function(joined(list(kinds.values())), training=True)
        outputs = []
        for kind, inputs in kinds.items():
            with self._statistics(network, (kind,)):
                outputs.append(function(inputs, training=True))
        return joined(outputs)

    def _statistics(self, network, kinds):
        moves = any(kind in STATISTICS[self.statistics] for kind in kinds)
        return contextlib.nullcontext() if moves else kept_statistics(network)


def joined(parts):
    """Concatenate the rows of tensors, or of dicts of tensors."""
    if len(parts) == 1:
        return parts[0]
    return keras.tree.map_structure(lambda *values: ops.concatenate(values), *parts)


def rows(maps, start, end=None):
    """Return the rows `start` to `end` of each tensor of a dict."""
    return {name: value[start:end] for name, value in maps.items()}


@contextlib.contextmanager
def kept_statistics(network):
    """Give the running statistics of a network's batch normalizations back their values after the passes within."""
    moving = [
        variable
        for layer in network._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
    # Copies, since PyTorch changes variables in place.
    values = [ops.copy(ops.convert_to_tensor(variable)) for variable in moving]
    yield
    for variable, value in zip(moving, values, strict=True):
        variable.assign(value)
