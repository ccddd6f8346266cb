"""DeepLabV3+ (Chen et al., ECCV 2018) as two plain Keras graphs, encoder and decoder, and heads of its building blocks.

The network of the UniMatch family: ASPP with image pooling on the high-level map, its output projected to
256 channels ("features"), joined at stride 4 with the projected low-level map, two 3x3 convolutions, a 1x1
classifier. All resizing aligns corners.
"""

import keras
from keras import layers

from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.resize import FineCoarseConv2D, ResizeLike
from rankmatch_keras.models.segmenter import Segmenter

# As in the papers' networks; backbones keep the epsilon that their weights were trained with.
BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}
ATROUS_RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}


def deeplab_v3_plus(
    backbone,
    num_classes,
    projection_filters=48,
    aspp_filters=256,
    decoder_filters=256,
    output_stride=None,
    pool_norm=True,
    name="deeplab_v3_plus",
):
    """Build DeepLabV3+ on a backbone.

    Args:
        backbone: functional `keras.Model` from images to {"low": stride 4, "high": stride 8, 16 or 32}
            (see `create_backbone`), or another model that `low_high_encoder` accepts: a keras-cv backbone, a
            keras.applications network without top. Its weights are used, not copied.
        num_classes: number of classes K.
        projection_filters: channels of the projected low-level map.
        aspp_filters: channels D of each ASPP branch and of the ASPP output.
        decoder_filters: channels of the two decoder convolutions.
        output_stride: 8, 16 or 32, which selects the atrous rates 12/24/36, 6/12/18 or 3/6/9; None reads it off
            the backbone.
        pool_norm: as in `build_decoder`.
        name: name of the model.

    Returns:
        `Segmenter` with "logits" (B, H, W, K) and "features" (B, h, w, D).

    Raises:
        UserError: the backbone has no low and high map, or another output stride.
    """
    encoder = low_high_encoder(backbone)
    stride = checked_output_stride(encoder, output_stride)
    low, high = encoder.output["low"], encoder.output["high"]
    decoder = build_decoder(
        low.shape[-1],
        high.shape[-1],
        num_classes,
        rates=ATROUS_RATES[stride],
        projection_filters=projection_filters,
        aspp_filters=aspp_filters,
        decoder_filters=decoder_filters,
        pool_norm=pool_norm,
    )
    return Segmenter(encoder, decoder, name=name)


def build_decoder(
    low_channels,
    high_channels,
    num_classes,
    rates=(6, 12, 18),
    projection_filters=48,
    aspp_filters=256,
    decoder_filters=256,
    spatial_pyramid_pooling=None,
    segmentation_head=None,
    pool_norm=True,
):
    """Build everything after the backbone as one functional model.

    Args:
        low_channels: channels of the stride 4 map.
        high_channels: channels of the last map.
        num_classes: number of classes K.
        rates: atrous rates of the three 3x3 ASPP branches.
        projection_filters: channels of the projected low-level map.
        aspp_filters: channels of the ASPP output.
        decoder_filters: channels of the two decoder convolutions.
        spatial_pyramid_pooling: layer to use instead of our ASPP, (B, h, w, c) -> (B, h, w, D).
        segmentation_head: layer to use instead of our head, (B, h, w, D + projection) -> (B, h', w', K) logits.
        pool_norm: whether our ASPP normalizes its pooled image over the batch, as published. With one vector per
            image, two images make each channel +-1 whatever they show, so small batches train better without.

    Returns:
        `keras.Model` from {"low", "high"} to {"logits" at the size of low, "features" at that of high}, and with
        our head "decoded", the last map before the classifier.
    """
    low = keras.Input((None, None, low_channels), name="low")
    high = keras.Input((None, None, high_channels), name="high")
    if spatial_pyramid_pooling is None:
        features = atrous_spatial_pyramid_pooling(high, aspp_filters, rates, pool_norm)
    else:
        features = spatial_pyramid_pooling(high)
    projected = conv_norm_relu(low, projection_filters, 1, "low_projection")
    if segmentation_head is None:
        # A 3x3 convolution of the concatenated projected and upsampled maps, for a fraction of the work.
        joined = FineCoarseConv2D(decoder_filters, 3, kernel_initializer="he_normal", name="decoder_1_conv")
        x = norm_relu(joined([projected, features]), "decoder_1")
        x = conv_norm_relu(x, decoder_filters, 3, "decoder_2")
        # float32 under mixed precision too: losses and softmax need the range.
        logits = layers.Conv2D(num_classes, 1, dtype="float32", name="classifier")(x)
        outputs = {"logits": logits, "features": features, "decoded": x}
    else:
        upsampled = ResizeLike(name="features_upsampled")(features, projected)
        logits = segmentation_head(layers.Concatenate(name="decoder_concat")([projected, upsampled]))
        outputs = {"logits": logits, "features": features}
    return keras.Model({"low": low, "high": high}, outputs, name="decoder")


def atrous_spatial_pyramid_pooling(x, filters, rates, pool_norm=True):
    """Apply ASPP: 1x1, three atrous 3x3 and an image-pooling branch, concatenated and projected by a 1x1.

    Args:
        x: symbolic (B, h, w, c).
        filters: channels of every branch and of the output.
        rates: atrous rates, one branch each.
        pool_norm: whether the pooled image is normalized over the batch, or has a bias instead.

    Returns:
        symbolic (B, h, w, filters).
    """
    branches = [conv_norm_relu(x, filters, 1, "aspp_1x1")]
    for i, rate in enumerate(rates, start=1):
        branches.append(conv_norm_relu(x, filters, 3, f"aspp_atrous_{i}", dilation_rate=rate))
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_pool")(x)
    pooled = (conv_norm_relu if pool_norm else conv_relu)(pooled, filters, 1, "aspp_pool")
    branches.append(ResizeLike(name="aspp_pool_upsampled")(pooled, x))
    x = layers.Concatenate(name="aspp_concat")(branches)
    return conv_norm_relu(x, filters, 1, "aspp_projection")


def representation_head(
    input_channels: int, channels: int, kernel_sizes: tuple[int, ...], linear: bool = True, name: str = "representation"
):
    """Build a head that turns the decoder's map into vectors for a contrastive loss.

    Args:
        input_channels: channels of the map that it reads.
        channels: channels D of every layer and of the representations.
        kernel_sizes: one convolution with batch normalization and ReLU each.
        linear: whether a 1x1 convolution without activation follows.
        name: name of the model.

    Returns:
        functional `keras.Model` from `(B, h, w, input_channels)` to `(B, h, w, channels)`.
    """
    maps = keras.Input((None, None, input_channels))
    x = maps
    for number, size in enumerate(kernel_sizes, start=1):
        x = conv_norm_relu(x, channels, size, f"{name}_{number}")
    if linear:
        x = layers.Conv2D(channels, 1, kernel_initializer="he_normal", name=f"{name}_linear")(x)
    return keras.Model(maps, x, name=name)


def conv_norm_relu(x, filters, kernel_size, name, dilation_rate=1):
    """Apply a convolution without bias, batch normalization and ReLU; height and width stay."""
    x = layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        dilation_rate=dilation_rate,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return norm_relu(x, name)


def conv_relu(x, filters, kernel_size, name):
    """Apply a convolution with bias and ReLU; height and width stay."""
    conv = layers.Conv2D(filters, kernel_size, padding="same", kernel_initializer="he_normal", name=f"{name}_conv")
    return layers.ReLU(name=f"{name}_relu")(conv(x))


def norm_relu(x, name):
    """Apply batch normalization and ReLU."""
    x = layers.BatchNormalization(**BATCH_NORM, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def low_high_encoder(backbone):
    """Return a backbone as a functional model with the outputs {"low", "high"}.

    Args:
        backbone: a model with these outputs; or one whose `pyramid_level_inputs` name the layers of the
            levels P2 (stride 4) to the last; or a functional model without top, with one map as output, whose last
            layer at stride 4 yields the low map.

    Returns:
        functional `keras.Model` on the same layers.

    Raises:
        UserError: none of these.
    """
    outputs = getattr(backbone, "output", None)
    if isinstance(outputs, dict) and {"low", "high"} <= set(outputs):
        return backbone
    levels = getattr(backbone, "pyramid_level_inputs", None)
    if levels and "P2" in levels:
        last = max(levels, key=lambda level: int(level[1:]))
        low, high = backbone.get_layer(levels["P2"]).output, backbone.get_layer(levels[last]).output
    elif isinstance(outputs, keras.KerasTensor) and len(outputs.shape) == 4:
        low, high = _last_map_at_stride_4(backbone), outputs
    else:
        low = high = None
    if low is None:
        raise UserError(
            expected="a functional backbone with the outputs low and high, pyramid levels, or one feature map",
            found=f"{type(backbone).__name__} {getattr(backbone, 'name', '')!r}",
            remedy='Use create_backbone(name), or keras.Model(inputs, {"low": ..., "high": ...}).',
        )
    return keras.Model(backbone.inputs[0], {"low": low, "high": high}, name=backbone.name)


def _last_map_at_stride_4(backbone):
    """Return the output of the last layer whose map has a quarter of the image's sides, or None."""
    maps = [
        layer.output
        for layer in backbone.layers
        if isinstance(layer.output, keras.KerasTensor) and len(layer.output.shape) == 4
    ]
    side = 256
    shapes = keras.Model(backbone.inputs[0], maps).compute_output_shape((1, side, side, backbone.input_shape[-1]))
    low = [x for x, shape in zip(maps, shapes, strict=True) if tuple(shape[1:3]) == (side // 4, side // 4)]
    return low[-1] if low else None


def checked_output_stride(encoder, output_stride=None):
    """Return the output stride of a {"low", "high"} encoder, read off its shapes.

    Args:
        encoder: model with the output "high".
        output_stride: the stride that the caller expects, or None.

    Returns:
        8, 16 or 32.

    Raises:
        UserError: an unsupported stride, or not the expected one.
    """
    channels = encoder.input_shape[-1]
    side = 256  # divisible by every supported stride
    found = side // encoder.compute_output_shape((1, side, side, channels))["high"][1]
    if found not in ATROUS_RATES or output_stride not in (None, found):
        raise UserError(
            expected=f"a backbone with output stride {output_stride or '8, 16 or 32'}",
            found=f"{encoder.name!r} with output stride {found}",
            remedy="Build it with create_backbone(name, output_stride=...) or dilate(backbone, output_stride).",
        )
    return found
