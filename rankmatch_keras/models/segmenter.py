"""The segmenter: an encoder from image to feature maps and a decoder from feature maps to logits.

The two are separate so that one encoder pass can serve several decoder passes, e.g. a clean one and one with dropped
feature channels.
"""

from typing import Any

import keras

from rankmatch_keras.layers.base import ConfigFromArguments
from rankmatch_keras.layers.resize import ResizeLike

CANVAS = "canvas"


def as_maps(outputs):
    """Return an encoder's outputs by name: a dict as it is, a list or one tensor as map_0, map_1, ..."""
    if isinstance(outputs, dict):
        return dict(outputs)
    if isinstance(outputs, (list, tuple)):
        return {f"map_{i}": x for i, x in enumerate(outputs)}
    return {"map_0": outputs}


def by_level(maps):
    """Return the maps of a pyramid, finest first, by name: level_1, level_2, ..."""
    return {f"level_{number}": x for number, x in enumerate(maps, start=1)}


def class_count(segmenter):
    """Return the number of classes K, read off the decoder's logits."""
    return int(segmenter.decoder.output["logits"].shape[-1])


def decoded_channels(segmenter) -> int:
    """Return the channels of "decoded", the map that the classifier reads, or of the features in its place."""
    outputs = segmenter.decoder.output
    return outputs.get("decoded", outputs["features"]).shape[-1]


class EncodeDecode:
    """`encode` and `decode` for a model with the attributes `encoder`, `decoder`, `resize`."""

    encoder: Any
    decoder: Any
    resize: Any

    def encode(self, images, training=None):
        """Run the encoder.

        Args:
            images: (B, H, W, C) float32, normalized as the encoder expects.
            training: whether layers such as batch normalization run in training mode.

        Returns:
            dict of feature maps (B, h, w, c), and "canvas": (B, H, W, 0).
        """
        maps = as_maps(self.encoder(images, training=training))
        # The decoder must know the image size. A tensor without channels carries it: it holds no values, yet slices
        # and concatenates along the batch like any other map.
        maps[CANVAS] = images[..., :0]
        return maps

    def decode(self, features, training=None):
        """Run the decoder.

        Args:
            features: the maps that `encode` returned, possibly altered (except "canvas").
            training: as in `encode`.

        Returns:
            dict of "logits" (B, H, W, K) float32 at image size, "features" (B, h, w, D), and "decoded"
            (B, h', w', D'): the map that the classifier reads, or the features where the decoder does not return it.
        """
        maps = {name: x for name, x in features.items() if name != CANVAS}
        outputs = self.decoder(maps, training=training)
        return {
            "logits": self.resize(outputs["logits"], features[CANVAS]),
            "features": outputs["features"],
            "decoded": outputs.get("decoded", outputs["features"]),
        }


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class Segmenter(ConfigFromArguments, EncodeDecode, keras.Model):
    """A segmenter made of two Keras models.

    Args:
        encoder: `keras.Model` from images (B, H, W, C) to a dict of feature maps (B, h, w, c); a list or a
            single map is renamed to map_0, map_1, ...
        decoder: `keras.Model` from that dict to a dict of "logits" (B, h, w, K) at any resolution (they
            are resized to the image, align-corners bilinear, in float32) and "features" (B, h', w', D); it may also
            return "decoded", the map that the classifier reads.
        **kwargs: name, dtype, trainable of the model.

    Call arguments:
        images: (B, H, W, C) float32.
        training: bool or None.

    Returns:
        dict of "logits" (B, H, W, K) float32, "features" (B, h', w', D) and "decoded", see `decode`.

    Example:
        >>> segmenter = deeplab_v3_plus(create_backbone("tiny"), num_classes=3)
        >>> segmenter(keras.ops.zeros((1, 33, 49, 3)))["logits"].shape
        (1, 33, 49, 3)
    """

    def __init__(self, encoder, decoder, **kwargs):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.resize = ResizeLike(dtype="float32", name="resize_logits")
        # All variables belong to the two models.
        self.built = bool(encoder.built and decoder.built)

    def call(self, images, training=None):
        """Encode and decode."""
        return self.decode(self.encode(images, training=training), training=training)

    def compute_output_spec(self, images, training=None):
        """Return symbolic outputs from the two models; tracing with unknown sizes fails on JAX and guesses on torch."""
        maps = as_maps(self.encoder.compute_output_spec(images))
        outputs = self.decoder.compute_output_spec(maps)
        logits = self.resize.compute_output_spec(outputs["logits"], images)
        decoded = outputs.get("decoded", outputs["features"])
        return {"logits": logits, "features": outputs["features"], "decoded": decoded}
