"""Backbones by name: a low (stride 4) and a high feature map from keras.applications, keras-cv or our own."""

import difflib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from rankmatch_keras.errors import UserError
from rankmatch_keras.models.deeplab_v3_plus import checked_output_stride
from rankmatch_keras.models.dilation import dilate
from rankmatch_keras.models.input_channels import adapt_first_convolution
from rankmatch_keras.models.same_padding import size_aware_padding
from rankmatch_keras.models.tiny import tiny_encoder
from rankmatch_keras.models.weights import load_weights

# In units of 0..255. Caffe's means belong to weights trained on BGR images without scaling.
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


@dataclass(frozen=True)
class BackboneSpec:
    """How to build a backbone, where its maps are and which inputs its pretrained weights expect."""

    build: Callable
    low: str
    high: str
    normalization: dict


BACKBONES = {
    "resnet50": BackboneSpec(_application("ResNet50"), "conv2_block3_out", "conv5_block3_out", CAFFE),
    "resnet101": BackboneSpec(_application("ResNet101"), "conv2_block3_out", "conv5_block3_out", CAFFE),
    "mobilenet_v2": BackboneSpec(_application("MobileNetV2"), "block_2_add", "out_relu", MINUS_ONE_TO_ONE),
    "kerascv_resnet50": BackboneSpec(
        _keras_cv_resnet([3, 4, 6, 3], "resnet50_imagenet"),
        "v2_stack_0_block3_out",
        "v2_stack_3_block3_out",
        ZERO_TO_ONE,
    ),
    "kerascv_resnet101": BackboneSpec(
        _keras_cv_resnet([3, 4, 23, 3], None), "v2_stack_0_block3_out", "v2_stack_3_block3_out", ZERO_TO_ONE
    ),
    "tiny": BackboneSpec(_tiny, "stage_1_out", "stage_3_out", IMAGENET),
}


def create_backbone(name, weights=None, output_stride=16, channels=3):
    """Builds a backbone with its strides beyond ``output_stride`` turned into dilation.

    Every batch normalisation gets momentum 0.9. Where images have other than 3 channels, all pretrained weights are
    kept but those of the first convolution, which ``adapt_first_convolution`` makes from the three colours'.

    Args:
        name: "resnet50", "resnet101", "mobilenet_v2" (keras.applications), "kerascv_resnet50",
            "kerascv_resnet101" (keras-cv) or "tiny" (0.17 million parameters, strides up to 16).
        weights: "imagenet" for what the library offers (downloaded once), the path of a ``.weights.h5`` or
            ``.h5`` file of the library's network without top, or None for random weights.
        output_stride: 8, 16 or 32.
        channels: number of image channels C, 1 or more.

    Returns:
        functional ``keras.Model`` from normalised images (B, H, W, C) to a dict of "low", the map at
        stride 4, and "high", the map at ``output_stride``. ``backbone_normalization`` says what normalised
        means.

    Raises:
        UserError: unknown name or output stride, weights that cannot be had or do not fit.
    """
    spec = _spec(name)
    if channels < 1:
        raise UserError(expected="at least 1 image channel", found=f"{channels}", remedy="Check the images.")
    network = _load(spec, name, weights)
    if channels != 3:
        network = adapt_first_convolution(
            network, spec.build(None, channels), reverse_channels=spec.normalization["reverse_channels"]
        )
    network = dilate(size_aware_padding(network), output_stride)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    maps = {"low": network.get_layer(spec.low).output, "high": network.get_layer(spec.high).output}
    encoder = keras.Model(network.inputs[0], maps, name=name)
    checked_output_stride(encoder, output_stride)
    return encoder


def backbone_normalization(name):
    """The image normalisation that the pretrained weights of a backbone expect.

    Args:
        name: a name that ``create_backbone`` knows.

    Returns:
        dict of mean and std (three floats each, RGB, in units of 0..255) and reverse_channels (bool: RGB to
        BGR afterwards): the arguments of ``ChannelNormalization``.

    Raises:
        UserError: unknown name.
    """
    return dict(_spec(name).normalization)


def measured_normalization(name, mean, std):
    """The normalisation of images that are not 8-bit colour, from their own statistics.

    Every channel gets the mean and the standard deviation that pixels of ImageNet have after the backbone's own
    normalisation (averaged over the three colours), so that pretrained weights meet the inputs they know.

    Args:
        name: a name that ``create_backbone`` knows.
        mean: mean of each channel over the training images, in their own units.
        std: standard deviation of each channel, above 0.

    Returns:
        dict of mean and std (one float per channel) and reverse_channels (False): the arguments of
        ``ChannelNormalization``.

    Raises:
        UserError: unknown name.
    """
    own, colours = _spec(name).normalization, range(3)
    target_mean = sum((IMAGENET["mean"][c] - own["mean"][c]) / own["std"][c] for c in colours) / 3
    target_std = sum(IMAGENET["std"][c] / own["std"][c] for c in colours) / 3
    return {
        "mean": tuple(m - target_mean * s / target_std for m, s in zip(mean, std, strict=True)),
        "std": tuple(s / target_std for s in std),
        "reverse_channels": False,
    }


def _spec(name):
    if name not in BACKBONES:
        near = difflib.get_close_matches(str(name), BACKBONES, n=1)
        raise UserError(
            expected=f"a backbone of {', '.join(BACKBONES)}",
            found=f"{name!r}",
            remedy=f"Did you mean {near[0]!r}?" if near else "Choose one of these.",
        )
    return BACKBONES[name]


def _load(spec, name, weights):
    """The library's network with the weights asked for, never with others."""
    if weights != "imagenet":
        network = spec.build(None)
        if weights is not None:
            load_weights(network, weights)
        return network
    try:
        return spec.build("imagenet")
    # Downloads fail with bare Exception (Keras), OSError or errors of the hub's client.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            expected=f"ImageNet weights of {name!r} from its library",
            found=f"none ({reason})",
            remedy="Give a local .weights.h5 or .h5 file as weights, or None for random weights.",
        ) from error
