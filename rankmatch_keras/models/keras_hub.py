"""keras-hub's encoders (ResNet, SegFormer's MiT, DINOv2, DINOv3, ViT) as segmenters.

This module alone imports keras-hub; it is imported on first use. All encoders can have the decoder of DeepLabV3+,
those with maps at several strides also SegFormer's.
"""

from pathlib import Path

import keras

from rankmatch_keras.errors import UserError, did_you_mean
from rankmatch_keras.models.backbones import BACKBONES, IMAGENET, MINUS_ONE_TO_ONE
from rankmatch_keras.models.copies import call_copy, clone_with, copy_layer
from rankmatch_keras.models.deeplab_v3_plus import ATROUS_RATES, build_decoder, deeplab_v3_plus
from rankmatch_keras.models.dilation import InfinitePadding2D, dilate
from rankmatch_keras.models.fixed_size import INSTALL, FixedSizeMaps, grid_step, require_levels
from rankmatch_keras.models.loading import load_weights
from rankmatch_keras.models.preset_folders import CLASSES, CONVERTER, RESNETS, is_folder, require_safe
from rankmatch_keras.models.segformer import segformer
from rankmatch_keras.models.segmenter import Segmenter, by_level

try:
    import keras_hub
except ImportError as error:
    raise UserError("keras-hub", f"it cannot be imported ({error})", INSTALL) from error

DECODERS = ("deeplab", "segformer")


def segmenter(
    backbone,
    num_classes,
    weights=None,
    image_size=None,
    output_stride=16,
    channels=3,
    pretrained=True,
    name=None,
    decoder="deeplab",
    **sizes,
):
    """Build a segmenter on an encoder of keras-hub.

    ResNets take images of any size. Transformers are built for one size S x S and resize other images to it and the
    logits back (see `FixedSizeMaps`): train with crops of S, predict large images with sliding windows of S.

    Args:
        backbone: a `keras_hub.models` backbone, whose weights are used; a configuration {"class_name":
            "MiTBackbone", ...its constructor's arguments} for random weights; or a preset: a local folder, else a
            name that keras-hub downloads.
        num_classes: number of classes K.
        weights: `.weights.h5` file of the backbone, or None for those of the preset, of the model or random ones.
        image_size: S of a transformer that is built here from a configuration or preset; S - 1 must be a multiple of
            the patch size (MiT: 32). None takes it from the configuration's `image_shape`.
        output_stride: 8, 16 or 32 for a ResNet; transformers keep their own.
        channels: those of the images: the backbone's own, or 1, which it gets three times.
        pretrained: whether a preset comes with its weights.
        name: name of the model, None for the backbone's class.
        decoder: "deeplab", or for a ResNet or MiT "segformer".
        **sizes: projection_filters, aspp_filters, decoder_filters, pool_norm of `build_decoder`; filters, dropout of
            `segformer`.

    Returns:
        `Segmenter` with "logits" (B, H, W, K) and "features" (B, h, w, D).

    Raises:
        UserError: an unknown class, an impossible image size, stride or decoder, weights that are unavailable or do not
            fit, images of other channels.
    """
    if decoder not in DECODERS:
        raise UserError(f"a decoder of {', '.join(DECODERS)}", f"{decoder!r}", did_you_mean(decoder, DECODERS))
    backbone = _backbone(backbone, image_size, pretrained)
    if weights is not None:
        load_weights(backbone, weights)
    kind, levels = type(backbone).__name__, decoder == "segformer"
    name = name or kind.removesuffix("Backbone").lower()
    resnet = kind in RESNETS
    encoder = (
        _resnet_encoder(backbone, output_stride, levels) if resnet else _fixed_size_encoder(backbone, name, levels)
    )
    encoder = _for_channels(encoder, channels)
    if levels:
        return segformer(encoder, num_classes, output_stride=output_stride if resnet else 16, name=name, **sizes)
    if resnet:
        return deeplab_v3_plus(encoder, num_classes, name=name, **sizes)
    low, high = encoder.output["low"].shape[-1], encoder.output["high"].shape[-1]
    return Segmenter(encoder, build_decoder(low, high, num_classes, rates=ATROUS_RATES[16], **sizes), name=name)


def preset_names() -> tuple[str, ...]:
    """Return the names that keras-hub downloads."""
    return tuple(name for kind in CLASSES for name in getattr(keras_hub.models, kind).presets)


def require_preset(preset) -> None:
    """Check that a preset is a name that keras-hub knows, or a folder that may be used.

    Raises:
        UserError: it is neither.
    """
    if is_folder(preset):
        require_safe(preset)
    elif str(preset) not in (names := preset_names()):
        begun = [name for name in names if name.startswith(str(preset))]
        otherwise = "docs/models.md has more; a folder needs the config.json of save_to_preset."
        raise UserError(
            f"a backbone of {', '.join(BACKBONES)}, a preset of keras-hub such as {names[0]}, or a preset's folder",
            f"{str(preset)!r}",
            f"Did you mean {begun[0]}?" if begun else did_you_mean(preset, (*BACKBONES, *names), otherwise),
        )


def require_pyramid(preset) -> None:
    """Check that a known preset yields maps at several strides.

    Raises:
        UserError: it does not.
    """
    if is_folder(preset):
        kind = require_safe(preset)
    else:
        kind = next(kind for kind in CLASSES if str(preset) in getattr(keras_hub.models, kind).presets)
    require_levels(kind, preset)


def crop_of(preset, side: int) -> int:
    """Return the side of the crops nearest to the given one that a preset takes without resizing.

    Raises:
        UserError: the preset is unavailable.
    """
    empty = _empty(preset)
    kind = type(empty).__name__
    if kind in RESNETS:
        return side
    if kind == "ViTBackbone":
        return FixedSizeMaps(empty).image_size
    step = grid_step(kind, empty.get_config())
    return step * max(2, round((side - 1) / step)) + 1


def image_size_for(preset, crop: int) -> int | None:
    """Return the `image_size` of `segmenter` for crops of a side: that side, or None where any size will do.

    Raises:
        UserError: the preset is unavailable, or takes other crops; the nearest is named.
    """
    if type(_empty(preset)).__name__ in RESNETS:
        return None
    nearest = crop_of(preset, crop)
    if nearest != crop:
        raise UserError(f"a --crop that {preset} takes unresized", f"{crop}", f"Take --crop {nearest}.")
    return crop


def normalization(backbone):
    """Return the image normalization that a backbone expects; keras-hub's backbones contain none themselves.

    Args:
        backbone: as in `segmenter`. A preset's image converter is read; where there is none, the normalization is
            that of the class's published weights: ViT -1..1, all others ImageNet's mean and standard deviation.

    Returns:
        dict of mean and std (three floats, RGB, in units of 0..255) and reverse_channels (False): the arguments of
        `ChannelNormalization`.

    Raises:
        UserError: an unknown class, or a preset that is unavailable.
    """
    if isinstance(backbone, (str, Path)) and is_folder(backbone) and not (Path(backbone) / CONVERTER).exists():
        backbone = {"class_name": require_safe(backbone)}
    if not isinstance(backbone, (str, Path)):
        kind = backbone.get("class_name") if isinstance(backbone, dict) else type(backbone).__name__
        return dict(MINUS_ONE_TO_ONE if _known(kind) == "ViTBackbone" else IMAGENET)
    converter = _preset(keras_hub.layers.ImageConverter, backbone)
    # converter: x * scale + offset = (x - mean) / std
    scale = _three(1.0 if converter.scale is None else converter.scale)
    offset = _three(0.0 if converter.offset is None else converter.offset)
    return {
        "mean": tuple(-o / s for o, s in zip(offset, scale, strict=True)),
        "std": tuple(1.0 / s for s in scale),
        "reverse_channels": False,
    }


def _three(value):
    values = [float(v) for v in value] if hasattr(value, "__len__") else [float(value)]
    return values * 3 if len(values) == 1 else values


def _known(kind):
    if kind not in CLASSES:
        raise UserError(f"a backbone of {', '.join(CLASSES)}", f"{kind!r}", did_you_mean(kind, CLASSES))
    return kind


def _backbone(source, image_size, pretrained):
    """Return the backbone of a configuration or preset, for images of `image_size`."""
    if isinstance(source, (str, Path)):
        return _from_preset(source, image_size, pretrained)
    if not isinstance(source, dict):
        kind = _known(type(source).__name__)
        if image_size is not None and (kind in RESNETS or image_size != FixedSizeMaps(source).image_size):
            raise UserError(
                "no image_size with a backbone that is already built",
                f"image_size={image_size}, image_shape={source.image_shape}",
                "Leave it out, or build the backbone for another image_shape.",
            )
        return source
    config = dict(source)
    kind = _known(config.pop("class_name", None))
    if image_size is not None:
        config["image_shape"] = _image_shape(kind, config, image_size)
    try:
        return getattr(keras_hub.models, kind)(**config)
    # Constructors check little and raise TypeError, ValueError, KeyError or IndexError.
    except Exception as error:
        raise UserError(
            f"the arguments of keras_hub.models.{kind}", f"{source} ({_line(error)})", "See keras-hub's documentation."
        ) from error


def _image_shape(kind, config, image_size):
    """Return the shape N x N for images of S x S, see `FixedSizeMaps`."""
    if kind in RESNETS:
        raise UserError("no image_size", f"{image_size} for {kind}", "It takes images of any size: leave it out.")
    step = grid_step(kind, config)
    if image_size <= step or (image_size - 1) % step:
        below, above = (max((image_size - 1) // step, 1) + i for i in (0, 1))
        raise UserError(
            expected=f"an image_size of {step} k + 1 for {kind}",
            found=f"{image_size}",
            remedy=f"Choose {above * step + 1} or {below * step + 1}: smaller and larger images are resized to it.",
        )
    side = image_size + step - 1
    return (side, side, (config.get("image_shape") or (None, None, 3))[-1])


def _from_preset(preset, image_size, pretrained):
    if image_size is None:
        return _checked(_preset(keras_hub.models.Backbone, preset, load_weights=pretrained))
    empty = _empty(preset)
    kind = type(empty).__name__
    if kind == "ViTBackbone" and FixedSizeMaps(empty).image_size != image_size:
        raise UserError(
            expected=f"image_size={FixedSizeMaps(empty).image_size}, the size of {preset}",
            found=f"{image_size}",
            remedy="keras-hub's ViT cannot interpolate its position embedding: leave image_size out.",
        )
    shape = _image_shape(kind, empty.get_config(), image_size)
    return _preset(keras_hub.models.Backbone, preset, load_weights=pretrained, image_shape=shape)


def _empty(preset):
    """Return the backbone of a preset without its weights, for its class and patch size."""
    return _checked(_preset(keras_hub.models.Backbone, preset, load_weights=False))


def _checked(backbone):
    _known(type(backbone).__name__)
    return backbone


def _preset(cls, preset, **kwargs):
    """Return `cls.from_preset`; only a name that is not a local folder makes keras-hub download."""
    if is_folder(preset):
        require_safe(preset)
    try:
        return cls.from_preset(str(preset), **kwargs)
    # Downloads and broken folders raise errors of any type.
    except Exception as error:
        raise UserError(
            expected=f"a preset with a {cls.__name__}: a local folder, or a name that keras-hub can download",
            found=f"{preset} ({_line(error)})",
            remedy="Give a folder that save_to_preset wrote, or a configuration and weights='file.weights.h5'.",
        ) from error


def _line(error):
    return " ".join(str(error).split())[:200]


def _for_channels(encoder, channels):
    """Return the encoder for images of its own channels, or of one, which it gets three times."""
    own = encoder.input_shape[-1]
    if channels == own:
        return encoder
    if (channels, own) != (1, 3):
        raise UserError(
            f"images of {own} channels, or of one, for a network of keras-hub",
            f"images of {channels}",
            "Take a backbone of another library, e.g. --backbone resnet50.",
        )
    image = keras.Input((None, None, 1), name="image")
    colors = keras.layers.Concatenate(name="gray_as_colors")([image] * 3)
    return keras.Model(image, encoder(colors), name=encoder.name)


def _resnet_encoder(backbone, output_stride, levels):
    names = [backbone.pyramid_outputs[level]._keras_history.operation.name for level in ("P2", "P3", "P4")]
    network = dilate(clone_with(backbone, _call_plain), output_stride)
    maps = [*(network.get_layer(name).output for name in names), network.output]
    outputs = by_level(maps) if levels else {"low": maps[0], "high": maps[-1]}
    return keras.Model(network.inputs[0], outputs, name="resnet_encoder")


def _fixed_size_encoder(backbone, name, levels):
    image = keras.Input((None, None, backbone.image_shape[-1]), name="image")
    return keras.Model(image, FixedSizeMaps(backbone, levels, name="maps")(image), name=f"{name}_encoder")


def _call_plain(layer, *args, **kwargs):
    """Copy a layer; turn the one bare operation into a layer that `dilate` and saving know."""
    if type(layer).__name__ == "Pad":
        top, bottom = layer.pad_width[1:3]
        return InfinitePadding2D((tuple(top), tuple(bottom)), name="pool1_pad")(args[0])
    if isinstance(layer, keras.layers.Layer):
        return call_copy(layer, copy_layer(layer), *args, **kwargs)
    return layer(*args, **kwargs)
