"""SegFormer's decoder (Xie et al., NeurIPS 2021, Section 3.2) on encoders with maps at several strides."""

import keras
from keras import layers

from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.resize import CoarseAverage, ResizeLike
from rankmatch_keras.models.deeplab_v3_plus import norm_relu
from rankmatch_keras.models.segmenter import Segmenter


def segformer(backbone, num_classes, filters=256, dropout=0.1, output_stride=16, name="segformer"):
    """Build a segmenter with SegFormer's decoder.

    Args:
        backbone: functional `keras.Model` from images to {"level_1": stride 4, "level_2": ..., ...}, e.g.
            `create_backbone(name, levels=True)`. Its weights are used, not copied.
        num_classes: number of classes K.
        filters: channels C of every level's projection and of the fused map; in the article 256 for MiT-B0 and B1,
            768 for larger ones.
        dropout: fraction of the fused channels that are dropped in training.
        output_stride: stride of "features", a multiple of 4; the logits have stride 4 before they are resized.
        name: name of the model.

    Returns:
        `Segmenter` with "logits" (B, H, W, K) and "features" (B, h, w, C).

    Raises:
        UserError: the backbone's outputs are no levels.
    """
    maps = getattr(backbone, "output", None)
    if not isinstance(maps, dict) or sorted(maps) != [f"level_{i}" for i in range(1, len(maps) + 1)]:
        raise UserError(
            expected="a functional backbone with the outputs level_1, level_2, ...",
            found=f"{type(backbone).__name__} {getattr(backbone, 'name', '')!r}",
            remedy='Use create_backbone(name, levels=True), or keras.Model(inputs, {"level_1": ..., ...}).',
        )
    channels = [maps[level].shape[-1] for level in sorted(maps)]
    decoder = segformer_decoder(channels, num_classes, filters, dropout, feature_step=output_stride // 4)
    return Segmenter(backbone, decoder, name=name)


def segformer_decoder(channels, num_classes, filters=256, dropout=0.1, feature_step=4):
    """Build everything after the backbone as one functional model.

    The article upsamples the projected levels, concatenates them and fuses them by a 1x1 convolution. That is a sum of
    1x1 convolutions of the levels, which commute with upsampling: here each runs at its own level's resolution.

    Args:
        channels: channels of each level, finest first.
        num_classes: number of classes K.
        filters: channels C of every projection and of the fused map.
        dropout: fraction of the fused channels that are dropped in training.
        feature_step: pixels of the finest level between those of "features".

    Returns:
        `keras.Model` from {"level_1", ...} to {"logits", "decoded"} at the size of level_1, and "features", the fused
        map averaged to every `feature_step`-th pixel.
    """
    levels = {
        f"level_{number}": keras.Input((None, None, count), name=f"level_{number}")
        for number, count in enumerate(channels, start=1)
    }
    finest, *coarser = [_fused_part(x, filters, len(channels), name) for name, x in levels.items()]
    parts = [finest, *(ResizeLike(name=f"level_{i}_upsampled")(x, finest) for i, x in enumerate(coarser, start=2))]
    fused = norm_relu(layers.Add(name="fuse_add")(parts), "fuse")
    # Of whole channels, as in the published program.
    decoded = layers.SpatialDropout2D(dropout, name="fuse_dropout")(fused)
    # float32 under mixed precision too: losses and softmax need the range.
    logits = layers.Conv2D(num_classes, 1, dtype="float32", name="classifier")(decoded)
    features = CoarseAverage(feature_step, name="features")(fused)
    return keras.Model(levels, {"logits": logits, "features": features, "decoded": decoded}, name="decoder")


def _fused_part(x, filters, levels, name):
    """Project a level, and apply its part of the convolution that fuses all of them."""
    x = layers.Conv2D(filters, 1, kernel_initializer="he_normal", name=f"{name}_projection")(x)
    # he_normal of the whole convolution, whose inputs are the channels of all levels.
    initializer = keras.initializers.VarianceScaling(2.0 / levels, "fan_in", "truncated_normal")
    return layers.Conv2D(filters, 1, use_bias=False, kernel_initializer=initializer, name=f"{name}_fuse")(x)
