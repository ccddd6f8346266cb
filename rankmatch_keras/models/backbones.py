"""Backbones by name (keras.applications, keras-cv, our own), and the image normalization that they expect."""

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from rankmatch_keras.errors import UserError, did_you_mean
from rankmatch_keras.layers.normalization import ChannelNormalization
from rankmatch_keras.models.copies import adapt_first_convolution
from rankmatch_keras.models.deeplab_v3_plus import checked_output_stride
from rankmatch_keras.models.dilation import dilate, size_aware_padding
from rankmatch_keras.models.loading import load_weights
from rankmatch_keras.models.preset_folders import is_folder
from rankmatch_keras.models.segmenter import by_level
from rankmatch_keras.models.tiny import tiny_encoder

# In units of 0..255. Caffe's means belong to weights that were trained on unscaled BGR images.
CAFFE: dict[str, Any] = {"mean": (123.68, 116.779, 103.939), "std": (1.0, 1.0, 1.0), "reverse_channels": True}
MINUS_ONE_TO_ONE: dict[str, Any] = {"mean": (127.5,) * 3, "std": (127.5,) * 3, "reverse_channels": False}
ZERO_TO_ONE: dict[str, Any] = {"mean": (0.0,) * 3, "std": (255.0,) * 3, "reverse_channels": False}
IMAGENET: dict[str, Any] = {
    "mean": (123.675, 116.28, 103.53),
    "std": (58.395, 57.12, 57.375),
    "reverse_channels": False,
}

# The papers' value. Keras' 0.99 (MobileNetV2: 0.999) lets the moving statistics lag by thousands of steps.
BATCH_NORM_MOMENTUM = 0.9


@dataclass(frozen=True)
class BackboneSpec:
    """Constructor of a backbone, the layers that yield its levels, and the inputs of its pretrained weights."""

    build: Callable
    levels: tuple[str, ...]  # finest first, at stride 4
    normalization: dict[str, Any]


def create_backbone(name, weights=None, output_stride=16, channels=3, levels=False):
    """Build a backbone with its strides beyond `output_stride` turned into dilation.

    Every batch normalization gets momentum 0.9. For images with other than 3 channels, all pretrained weights are kept
    except those of the first convolution, which `adapt_first_convolution` derives from the three colors'.

    Args:
        name: "resnet50", "resnet101", "mobilenet_v2" (keras.applications), "kerascv_resnet50",
            "kerascv_resnet101" (keras-cv) or "tiny" (0.17 million parameters, strides up to 16).
        weights: "imagenet" for those that the library offers (downloaded once), the path of a `.weights.h5` or
            `.h5` file of the library's network without top, or None for random weights.
        output_stride: 8, 16 or 32.
        channels: number of image channels C, 1 or more.
        levels: whether the last map of every stage is wanted, which `segformer` reads.

    Returns:
        functional `keras.Model` from normalized images (B, H, W, C) (see `backbone_normalization`) to a dict of
        "low", the map at stride 4, and "high", the map at `output_stride`; or of "level_1", ..., low to high.

    Raises:
        UserError: unknown name or output stride, weights that are unavailable or do not fit.
    """
    spec = _spec(name)
    if channels < 1:
        raise UserError(expected="at least 1 image channel", found=f"{channels}", remedy="Check the images.")
    network = _with_weights(spec, name, weights)
    if channels != 3:
        network = adapt_first_convolution(
            network, spec.build(None, channels), reverse_channels=spec.normalization["reverse_channels"]
        )
    network = dilate(size_aware_padding(network), output_stride)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    maps = [network.get_layer(layer).output for layer in spec.levels]
    encoder = keras.Model(network.inputs[0], {"low": maps[0], "high": maps[-1]}, name=name)
    checked_output_stride(encoder, output_stride)
    return keras.Model(network.inputs[0], by_level(maps), name=name) if levels else encoder


def backbone_normalization(name):
    """Return the image normalization that the pretrained weights of a backbone expect.

    Args:
        name: a name that `create_backbone` knows, or a preset of keras-hub.

    Returns:
        dict of mean and std (three floats each, RGB, in units of 0..255) and reverse_channels (bool: RGB to
        BGR afterwards): the arguments of `ChannelNormalization`.

    Raises:
        UserError: unknown name.
    """
    if name in BACKBONES:
        return dict(BACKBONES[name].normalization)
    require_backbone(name)
    return _keras_hub(name).normalization(name)


def require_backbone(name: str) -> None:
    """Check that a backbone is a name that `create_backbone` knows, or a preset of keras-hub: a name or a folder.

    Raises:
        UserError: it is not; the nearest name is suggested. Or keras-hub is needed and not installed.
    """
    if name not in BACKBONES:
        _keras_hub(name).require_preset(name)


def require_decoder(name: str, decoder: str) -> None:
    """Check that a backbone that `require_backbone` accepts can have a decoder: "deeplab" or "segformer".

    Raises:
        UserError: it cannot, since its maps all have one stride.
    """
    if decoder == "segformer" and name not in BACKBONES:
        _keras_hub(name).require_pyramid(name)


def _keras_hub(name):
    """Return the module of keras-hub's networks, to which a name that is not of `BACKBONES` may belong."""
    if importlib.util.find_spec("keras_hub") is None and not is_folder(name):
        _spec(name)
    from rankmatch_keras.models import keras_hub

    return keras_hub


def measured_normalization(name, mean, std):
    """Return the normalization of images that are not 8-bit RGB, from their own statistics.

    Every channel gets the mean and standard deviation that ImageNet's pixels have after the backbone's own
    normalization (averaged over the three colors), so that pretrained weights see inputs in the range they know.

    Args:
        name: a name that `create_backbone` knows.
        mean: mean of each channel over the training images, in their own units.
        std: standard deviation of each channel, above 0.

    Returns:
        dict of mean and std (one float per channel) and reverse_channels (False): the arguments of
        `ChannelNormalization`.

    Raises:
        UserError: unknown name.
    """
    own, colors = backbone_normalization(name), range(3)
    target_mean = sum((IMAGENET["mean"][c] - own["mean"][c]) / own["std"][c] for c in colors) / 3
    target_std = sum(IMAGENET["std"][c] / own["std"][c] for c in colors) / 3
    return {
        "mean": tuple(m - target_mean * s / target_std for m, s in zip(mean, std, strict=True)),
        "std": tuple(s / target_std for s in std),
        "reverse_channels": False,
    }


def renormalized(backbone, own: str, other: str):
    """Make a backbone accept images that are normalized for another one, so that two networks share their batches.

    Args:
        backbone: a model that `create_backbone(own)` made.
        own: its name.
        other: name of the backbone that the images are normalized for. Three-channel images are taken to be 8-bit
            RGB, all others to have `measured_normalization`.

    Returns:
        functional `keras.Model` with the outputs of `backbone`; `backbone` itself where both expect the same.

    Raises:
        UserError: unknown name.
    """
    channels = backbone.input_shape[-1]
    normalization = _between(other, own, channels)
    if (
        normalization["reverse_channels"] is False
        and not any(normalization["mean"])
        and set(normalization["std"]) == {1.0}
    ):
        return backbone
    image = keras.Input(backbone.input_shape[1:], name="image")
    return keras.Model(image, backbone(ChannelNormalization(**normalization)(image)), name=backbone.name)


def _between(first, second, channels):
    """Return the normalization that turns images normalized for the first backbone into the second's."""
    if channels == 3:
        one, other = backbone_normalization(first), backbone_normalization(second)
    else:
        # The raw units cancel out, so any will do.
        one, other = (measured_normalization(name, (0.0,) * channels, (1.0,) * channels) for name in (first, second))
    # In the channel order of the first one.
    order = slice(None, None, -1 if one["reverse_channels"] else 1)
    values = [tuple(of[key])[order] for key in ("mean", "std") for of in (one, other)]
    return {
        "mean": tuple((b - a) / s for a, b, s in zip(values[0], values[1], values[2], strict=True)),
        "std": tuple(b / a for a, b in zip(values[2], values[3], strict=True)),
        "reverse_channels": one["reverse_channels"] != other["reverse_channels"],
    }


def _spec(name):
    if name in BACKBONES:
        return BACKBONES[name]
    raise UserError(
        f"a backbone of {', '.join(BACKBONES)}",
        f"{name!r}",
        did_you_mean(name, BACKBONES, "Choose one of them; for presets see docs/models.md."),
    )


def _with_weights(spec, name, weights):
    """Build the library's network with exactly the weights asked for."""
    if weights != "imagenet":
        network = spec.build(None)
        if weights is not None:
            load_weights(network, weights)
        return network
    try:
        return spec.build("imagenet")
    # Failed downloads raise a bare Exception (Keras), OSError or errors of the hub's client.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            expected=f"ImageNet weights of {name!r} from its library",
            found=f"none ({reason})",
            remedy="Give a local .weights.h5 or .h5 file as weights, or None for random weights.",
        ) from error


def _application(class_name):
    def build(weights, channels=3):
        network = getattr(keras.applications, class_name)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This model usually expects 1 or 3 input channels")
            return network(include_top=False, weights=weights, input_shape=(None, None, channels))

    return build


def _keras_cv_resnet(blocks, preset):
    def build(weights, channels=3):
        from keras_cv.models import ResNetBackbone

        network = ResNetBackbone(
            input_shape=(None, None, channels),
            stackwise_filters=[64, 128, 256, 512],
            stackwise_blocks=blocks,
            stackwise_strides=[1, 2, 2, 2],
            include_rescaling=False,
        )
        if weights is not None:
            if preset is None:
                raise ValueError("keras-cv offers no weights for this network")
            network.set_weights(ResNetBackbone.from_preset(preset).get_weights())
        return network

    return build


def _tiny(weights, channels=3):
    if weights is not None:
        raise ValueError("there are no pretrained weights of the tiny encoder")
    return tiny_encoder(channels)


def _stages(pattern, first, blocks):
    """Return the layers that end each stage, named after stage and block."""
    return tuple(pattern.format(stage, block) for stage, block in enumerate(blocks, start=first))


def _resnet(class_name, blocks):
    return BackboneSpec(_application(class_name), _stages("conv{}_block{}_out", 2, blocks), CAFFE)


def _resnet_of_keras_cv(blocks, preset):
    return BackboneSpec(_keras_cv_resnet(blocks, preset), _stages("v2_stack_{}_block{}_out", 0, blocks), ZERO_TO_ONE)


MOBILENET_V2 = ("block_2_add", "block_5_add", "block_12_add", "out_relu")
BACKBONES = {
    "resnet50": _resnet("ResNet50", [3, 4, 6, 3]),
    "resnet101": _resnet("ResNet101", [3, 4, 23, 3]),
    "mobilenet_v2": BackboneSpec(_application("MobileNetV2"), MOBILENET_V2, MINUS_ONE_TO_ONE),
    "kerascv_resnet50": _resnet_of_keras_cv([3, 4, 6, 3], "resnet50_imagenet"),
    "kerascv_resnet101": _resnet_of_keras_cv([3, 4, 23, 3], None),
    "tiny": BackboneSpec(_tiny, ("stage_1_out", "stage_2_out", "stage_3_out"), IMAGENET),
}
