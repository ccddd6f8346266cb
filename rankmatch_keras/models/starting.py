"""Beginning a training with the network of an earlier one."""

from pathlib import Path

from rankmatch_keras.errors import UserError
from rankmatch_keras.models.loading import load_predictor


def start_from(segmenter, path):
    """Gives a segmenter the weights and batch statistics of a saved predictor with the same network inside.

    Args:
        segmenter: a built ``Segmenter`` or ``DeepLabV3Plus``; its variables are assigned.
        path: the predictor's ``.keras`` file.

    Raises:
        UserError: there is no such file, it is not a predictor, or its network differs; the first difference is named.
    """
    own = [*segmenter.encoder.weights, *segmenter.decoder.weights]
    saved = load_predictor(path).weights
    difference = _difference(_facts(own), _facts(saved))
    if difference:
        raise UserError(
            "a network as the flags describe it",
            f"{difference} in {Path(path)}",
            "Give the backbone, --output-stride, filters and classes of the run that made the file.",
        )
    for variable, value in zip(own, saved, strict=True):
        variable.assign(value)


def _facts(weights):
    return {weight.path: tuple(weight.shape) for weight in weights}


def _difference(own, saved):
    for name, shape in own.items():
        if name not in saved:
            return f"no {name}"
        if saved[name] != shape:
            return f"{name} of shape {saved[name]} instead of {shape}"
    more = saved.keys() - own.keys()
    return f"{min(more)}, which it does not have," if more else None
