"""keras-cv's DeepLabV3+ as a segmenter: a subclass that builds our graph, and a converter for the stock class.

This module alone imports keras-cv's models; it is imported on first use.
"""

import keras
import keras_cv

from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.resize import ResizeLike
from rankmatch_keras.models.copies import call_copy, clone_with, copy_layer
from rankmatch_keras.models.deeplab_v3_plus import (
    ATROUS_RATES,
    build_decoder,
    checked_output_stride,
    low_high_encoder,
)
from rankmatch_keras.models.segmenter import EncodeDecode, Segmenter


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class DeepLabV3Plus(EncodeDecode, keras_cv.models.DeepLabV3Plus):
    """`keras_cv.models.DeepLabV3Plus` with logits, any image size, output stride 8, 16 or 32, and features.

    The constructor takes the stock class's arguments; the graph is that of `deeplab_v3_plus`.

    Args:
        backbone: keras-cv backbone, a model with the outputs {"low", "high"} (`create_backbone`), or a
            functional model without top such as those of keras.applications.
        num_classes: number of classes K.
        projection_filters: channels of the projected low-level map.
        spatial_pyramid_pooling: layer (B, h, w, c) -> (B, h, w, D) in place of our ASPP of 256
            channels, whose atrous rates follow the backbone's output stride.
        segmentation_head: layer (B, h, w, D + projection_filters) -> (B, h', w', K) logits in place
            of our two 3x3 convolutions and classifier.
        pool_norm: whether our ASPP normalizes its pooled image over the batch, as in `build_decoder`.
        **kwargs: name, trainable.

    Call arguments:
        images: (B, H, W, C) float32, normalized as the backbone expects.

    Returns:
        dict of "logits" (B, H, W, K) float32 and "features" (B, h, w, D).

    Raises:
        UserError: the backbone has no low and high map, or another output stride.
    """

    def __init__(
        self,
        backbone,
        num_classes,
        projection_filters=48,
        spatial_pyramid_pooling=None,
        segmentation_head=None,
        pool_norm=True,
        **kwargs,
    ):
        encoder = low_high_encoder(backbone)
        decoder = build_decoder(
            encoder.output["low"].shape[-1],
            encoder.output["high"].shape[-1],
            num_classes,
            rates=ATROUS_RATES[checked_output_stride(encoder)],
            projection_filters=projection_filters,
            spatial_pyramid_pooling=spatial_pyramid_pooling,
            segmentation_head=segmentation_head,
            pool_norm=pool_norm,
        )
        resize = ResizeLike(dtype="float32", name="resize_logits")
        images = keras.Input(encoder.input_shape[1:], name="image")
        outputs = decoder(encoder(images))
        decoded = outputs.get("decoded", outputs["features"])
        outputs = {"logits": resize(outputs["logits"], images), "features": outputs["features"], "decoded": decoded}
        # Skip the stock constructor, which would build the stock graph, for the one that takes any graph.
        super(keras_cv.models.DeepLabV3Plus, self).__init__(inputs=images, outputs=outputs, **kwargs)

        self.encoder = encoder
        self.decoder = decoder
        self.resize = resize
        self.backbone = backbone
        self.num_classes = num_classes
        self.projection_filters = projection_filters
        self.spatial_pyramid_pooling = spatial_pyramid_pooling
        self.segmentation_head = segmentation_head
        self.pool_norm = pool_norm

    def get_config(self):
        """Return the configuration; the backbone is saved as the encoder made from it."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "trainable": self.trainable,
            "backbone": serialize(self.encoder),
            "num_classes": self.num_classes,
            "projection_filters": self.projection_filters,
            "spatial_pyramid_pooling": serialize(self.spatial_pyramid_pooling),
            "segmentation_head": serialize(self.segmentation_head),
            "pool_norm": self.pool_norm,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Make the model with new weights from `get_config()`."""
        config = dict(config)
        for part in ("backbone", "spatial_pyramid_pooling", "segmentation_head"):
            if isinstance(config.get(part), dict):
                config[part] = keras.saving.deserialize_keras_object(config[part], custom_objects=custom_objects)
        return cls(**config)


def segmenter_from_keras_cv(model):
    """Convert a stock `keras_cv.models.DeepLabV3Plus` into a segmenter with copies of its weights.

    Its limits stay: output stride 32 and image sizes that are multiples of 32.

    Args:
        model: a stock model with the default head, or with a `keras.Sequential` head whose last layer applies the
            softmax or no activation.

    Returns:
        `Segmenter`: the encoder is the backbone, "features" is the output of the spatial pyramid pooling,
        "logits" is the input of the softmax.

    Raises:
        UserError: not a stock model, or one with another head.
    """
    stock = isinstance(model, keras_cv.models.DeepLabV3Plus) and not isinstance(model, EncodeDecode)
    head = getattr(model, "segmentation_head", None)
    if not stock or not isinstance(head, keras.Sequential):
        raise UserError(
            expected="a keras_cv.models.DeepLabV3Plus with a Sequential segmentation head",
            found=f"{type(model).__name__} with head {type(head).__name__}",
            remedy="For other models write Segmenter(encoder, decoder).",
        )
    encoder = low_high_encoder(model.backbone)
    low = keras.Input(encoder.output["low"].shape[1:], name="low")
    high = keras.Input(encoder.output["high"].shape[1:], name="high")
    features = model.spatial_pyramid_pooling(high)
    projector = next(
        layer
        for layer in model.layers
        if isinstance(layer, keras.Sequential) and layer.layers[0].name == "low_level_feature_conv"
    )
    x = model.get_layer("encoder_output_upsampling")(features)
    x = keras.layers.Concatenate()([x, _apply(projector, low)])
    x = _apply(head, x)
    decoder = keras.Model({"low": low, "high": high}, {"logits": x, "features": features}, name="decoder")

    classifier = head.layers[-1]

    def call(layer, *args, **kwargs):
        changes = {"activation": None} if layer is classifier and hasattr(layer, "activation") else {}
        return call_copy(layer, copy_layer(layer, **changes), *args, **kwargs)

    return Segmenter(clone_with(encoder, call), clone_with(decoder, call), name=model.name)


def _apply(sequential, x):
    """Apply the layers of a Sequential one by one, so that each becomes a layer of the graph."""
    for layer in sequential.layers:
        x = layer(x)
    return x
