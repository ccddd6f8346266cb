"""The features of a saved predictor: what the rank loss compares, at the grid of the encoder."""

import keras

from rankmatch_keras.errors import UserError
from rankmatch_keras.models.predictor import PadToGrid
from rankmatch_keras.models.segmenter import as_maps


def feature_model(predictor):
    """The model from raw images to the features (the ASPP output) that a predictor computes on its way.

    Its layers are the predictor's own. Feature pixel (i, j) lies on image pixel (stride * i, stride * j), where the
    images are padded at the bottom and right as the predictor pads them.

    Args:
        predictor: a loaded predictor of this program, of any version (`models.load_predictor`).

    Returns:
        ``(model, stride)``: a functional ``keras.Model`` from (B, H, W, C) to (B, h, w, D).

    Raises:
        UserError: it is another kind of model, whose parts cannot be told apart.
    """
    layers = getattr(predictor, "layers", ())
    pads = [layer for layer in layers if isinstance(layer, PadToGrid)]
    networks = [layer for layer in layers if isinstance(layer, keras.Model)]
    decoders = [network for network in networks if _offers_features(network)]
    encoders = [network for network in networks if network not in decoders]
    if not (len(pads) == len(encoders) == len(decoders) == 1):
        raise UserError(
            "a predictor that a training run of this program saved, with encoder, decoder and features",
            f"a model of {len(encoders)} encoders and {len(decoders)} decoders with features",
            "Give a run whose last.keras or best.keras was written by rankmatch train.",
        )
    (pad,), (encoder,), (decoder,) = pads, encoders, decoders
    image = keras.Input((None, None, predictor.input_shape[-1]), dtype="float32", name="image")
    x = image
    for layer in layers[: list(layers).index(pad) + 1]:
        if not isinstance(layer, keras.layers.InputLayer):
            x = layer(x)
    return keras.Model(image, decoder(as_maps(encoder(x)))["features"], name="features"), pad.output_stride


def _offers_features(network):
    output = getattr(network, "output", None)
    return isinstance(output, dict) and {"logits", "features"} <= set(output)
