"""A segmenter whose classifier is a neural process."""

import keras

from rankmatch_keras.layers.neural_process import NeuralProcess
from rankmatch_keras.models.segmenter import Segmenter, class_count

HEAD = "neural_process"


def with_neural_process(segmenter, seed: int | None = None, **options) -> Segmenter:
    """Puts a neural process in the place of a segmenter's classifier.

    Args:
        segmenter: its encoder and the layers of its decoder are used, not copied; one that has a neural process already
            is returned as it is.
        seed: int or `None`, for the draws.
        **options: of `NeuralProcess`.

    Returns:
        A segmenter that predicts by it; "decoded" are the codes of the pixels.
    """
    if has_neural_process(segmenter):
        return segmenter
    decoder = segmenter.decoder
    outputs = decoder.output
    x = outputs.get("decoded", outputs["features"])
    found = NeuralProcess(class_count(segmenter), seed=seed, name=HEAD, **options)(x)
    outputs = {"logits": found["logits"], "features": outputs["features"], "decoded": found["code"]}
    return Segmenter(segmenter.encoder, keras.Model(decoder.input, outputs, name="decoder"), name=segmenter.name)


def has_neural_process(segmenter) -> bool:
    """Whether a segmenter has a neural process."""
    return any(layer.name == HEAD for layer in segmenter.decoder.layers)


def neural_process_of(segmenter) -> NeuralProcess:
    """The neural process of a segmenter that has one."""
    return segmenter.decoder.get_layer(HEAD)
