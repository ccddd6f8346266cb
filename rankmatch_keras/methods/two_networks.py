"""What the methods share that train two networks which label for each other."""

from rankmatch_keras.methods.base import Method, as_one
from rankmatch_keras.models.segmenter import class_count


class TwoNetworks(Method):
    """Base of the methods with two students; one optimizer moves both, as two of the same settings would.

    The first network predicts after the training.

    Args:
        segmenter: the first network.
        second: the second one.
        **kwargs: see `Method`.

    Raises:
        ValueError: the networks differ in channels or classes.
    """

    def __init__(self, segmenter, second, **kwargs):
        super().__init__(segmenter, **kwargs)
        _check_alike(segmenter, second)
        self.second = second

    @property
    def students(self):
        """Both networks."""
        return (self.segmenter, self.second)

    def network_stages(self) -> tuple:
        """The stages, each of one network."""
        raise NotImplementedError

    def stages(self):
        """A stage for each pass of a network, so that no two of them hold activations at once."""
        return as_one(self.network_stages())


def _check_alike(first, second):
    channels = tuple(network.encoder.input_shape[-1] for network in (first, second))
    classes = tuple(class_count(network) for network in (first, second))
    for name, (one, other) in (("input channels", channels), ("classes", classes)):
        if one != other:
            raise ValueError(
                f"Expected two networks with the same number of {name}. "
                f"Received: {first.name!r} with {one}, {second.name!r} with {other}"
            )
