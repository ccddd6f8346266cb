"""The predictor, the model that a run saves: raw images of any size in, class probabilities out."""

import keras
from keras import layers, ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.base import ConfigFromArguments
from rankmatch_keras.layers.resize import ResizeLike
from rankmatch_keras.models.segmenter import as_maps

SLICES = range(3, 23, 2)


def predictor(segmenter, normalization, output_stride=16, name="predictor", slices=1):
    """Wrap a segmenter into one functional model on raw images.

    The weights are the segmenter's own, not copies. The file that `save` writes needs only keras and
    rankmatch_keras to load, whatever library the backbone came from (unless its layers are that library's).

    Args:
        segmenter: `Segmenter` or `DeepLabV3Plus`: a model whose `encoder` and `decoder` are functional models.
        normalization: the `ChannelNormalization` layer used in training.
        output_stride: the encoder's stride between feature pixels.
        name: name of the model.
        slices: how many slices of a volume the channels of its images are, see `data.readers.slices`.

    Returns:
        functional `keras.Model` from (B, H, W, C) uint8 or float32 in 0..255 to probabilities
        (B, H, W, K) float32 that sum to 1 per pixel.
    """
    channels = segmenter.encoder.input_shape[-1]
    image = keras.Input((None, None, channels), name="image", dtype="float32")
    x = image if slices == 1 else NeighboringSlices(slices, name="neighboring_slices")(image)
    x = normalization(x)
    x = PadToGrid(output_stride, name="pad_to_grid")(x)
    maps = as_maps(segmenter.encoder(x))
    outputs = segmenter.decoder(maps)
    logits = ResizeLike(dtype="float32", name="resize_logits")(outputs.get("nodes", outputs["logits"]), x)
    logits = CropLike(dtype="float32", name="crop_to_image")(logits, image)
    if "nodes" in outputs:  # of a `TreeSegmenter`
        logits = segmenter.scores(logits)
    return keras.Model(image, layers.Softmax(dtype="float32", name="probabilities")(logits), name=name)


def feature_model(predictor):
    """Return the part of a predictor from raw images to the features (the ASPP output).

    Its layers are the predictor's own. Feature pixel (i, j) lies on image pixel (stride * i, stride * j), where the
    images are padded at the bottom and right as the predictor pads them.

    Args:
        predictor: a loaded predictor of this program, of any version (`models.load_predictor`).

    Returns:
        `(model, stride)`: a functional `keras.Model` from (B, H, W, C) to (B, h, w, D).

    Raises:
        UserError: another kind of model, whose encoder and decoder cannot be told apart.
    """
    parts = getattr(predictor, "layers", ())
    pads = [layer for layer in parts if isinstance(layer, PadToGrid)]
    networks = [layer for layer in parts if isinstance(layer, keras.Model)]
    decoders = [network for network in networks if _has_features(network)]
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
    for layer in parts[: list(parts).index(pad) + 1]:
        if not isinstance(layer, layers.InputLayer):
            x = layer(x)
    return keras.Model(image, decoder(as_maps(encoder(x)))["features"], name="features"), pad.output_stride


def context_of(predictor):
    """Return how many neighbors of a slice, on each side, a predictor expects as further channels; 0 for most.

    Args:
        predictor: a loaded predictor, or an `ExportedPredictor`.
    """
    found = [layer.slices for layer in predictor.layers if isinstance(layer, NeighboringSlices)]
    return (found[0] if found else getattr(predictor, "slices", 1)) // 2


def _has_features(network):
    output = getattr(network, "output", None)
    return isinstance(output, dict) and {"logits", "features"} <= set(output)


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class NeighboringSlices(ConfigFromArguments, layers.Layer):
    """Record in a model that the channels of its images are slices of a volume; it changes nothing.

    Args:
        slices: their number, odd: the slice to segment is in the middle.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, slices, **kwargs):
        super().__init__(**kwargs)
        if slices not in SLICES:
            raise ValueError(f"Expected slices of {tuple(SLICES)}. Received: {slices!r}")
        self.slices = slices

    def call(self, images):
        """Return the images (B, H, W, C) as they are."""
        return images


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class PadToGrid(ConfigFromArguments, layers.Layer):
    """Zero padding at the bottom and right until each side is 1 modulo `output_stride`.

    At such sizes, 16k+1, the k+1 feature pixels lie exactly on every 16th image pixel, corners included, so
    that align-corners resizing shifts nothing; training crops (321, 513, 801) have such sizes. Zero after
    normalization is the mean color, which convolutions pad with too.

    Args:
        output_stride: spacing of the feature pixels in image pixels.
        **kwargs: of `keras.layers.Layer`.

    Call arguments:
        images: (B, H, W, C) normalized images.

    Returns:
        (B, H', W', C) with H <= H' < H + output_stride, the same for W.
    """

    def __init__(self, output_stride=16, **kwargs):
        super().__init__(**kwargs)
        self.output_stride = output_stride

    def call(self, images):
        """Pad the images."""
        _, height, width, _ = ops.shape(images)
        # Padded by a fixed width, then cropped: in this form exporters keep it for images of any size.
        most = self.output_stride - 1
        padded = ops.pad(images, ((0, 0), (0, most), (0, most), (0, 0)))
        return padded[:, : self._grown(height), : self._grown(width), :]

    def _grown(self, side):
        # As k * stride + 1 an exporter can tell that strided convolutions of any size need the same padding.
        return (side + self.output_stride - 2) // self.output_stride * self.output_stride + 1

    def compute_output_shape(self, input_shape):
        """Return the shape with known sides grown to the next grid size."""
        batch, *sides, channels = input_shape
        padded = [None if side is None else self._grown(side) for side in sides]
        return (batch, *padded, channels)


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class CropLike(layers.Layer):
    """Cropping of `x` at the bottom and right to the height and width of `reference`.

    Call arguments:
        x: (B, H', W', C) with H' >= H and W' >= W.
        reference: (B, H, W, any).

    Returns:
        (B, H, W, C).
    """

    def call(self, x, reference):
        """Crop `x`."""
        height, width = ops.shape(reference)[1:3]
        return x[:, :height, :width, :]

    def compute_output_spec(self, x, reference):
        """Return the symbolic (B, H, W, C) without tracing the call."""
        shape = (x.shape[0], *reference.shape[1:3], x.shape[3])
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def compute_output_shape(self, x_shape, reference_shape):
        """Return (B, H, W, C)."""
        return (x_shape[0], *reference_shape[1:3], x_shape[3])
