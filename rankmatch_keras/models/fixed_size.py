"""Fixed-size transformers as encoders of a low and a high map for images of any size.

keras-hub is not imported here, so a saved model with the layer can say that it needs it.
"""

import math

import keras
from keras import layers, ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.base import ConfigFromArguments
from rankmatch_keras.layers.resize import resize_align_corners
from rankmatch_keras.models.segmenter import by_level

PYRAMIDS = ("MiTBackbone",)
TOKENS = ("DINOV2Backbone", "DINOV3Backbone", "ViTBackbone")
INSTALL = "Install it as docs/models.md says (keras-hub, without TensorFlow Text)."


def grid_step(class_name, config):
    """Return the image pixels between neighboring pixels of the coarsest map.

    Args:
        class_name: one of `PYRAMIDS` or `TOKENS`.
        config: its constructor's arguments.

    Returns:
        int: the patch size of a vision transformer, the product of the strides of a pyramid.

    Raises:
        UserError: the configuration lacks it, or patches are not square.
    """
    key = "layerwise_strides" if class_name in PYRAMIDS else "patch_size"
    value = config.get(key)
    sides = {value} if isinstance(value, int) else set(value or ())
    if key == "patch_size" and len(sides) == 1:
        return sides.pop()
    if key == "layerwise_strides" and value:
        return math.prod(value)
    raise UserError(f"{key} of {class_name}, square", f"{value!r}", "Give it in the configuration.")


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class FixedSizeMaps(ConfigFromArguments, layers.Layer):
    """A keras-hub transformer on images of any size, yielding maps whose corner pixels are the image's corners.

    The transformer sees N x N pixels. With `step` image pixels between neighboring pixels of its coarsest map, the
    image covers S = N - step + 1 of them; the rest is zero (the mean color), at the bottom and right for a pyramid of
    strided convolutions, on all sides for patches. The map's k pixels then lie on every `step`-th image pixel, and
    align-corners resizing shifts nothing: S = 16 (k - 1) + 1 gives the crops 321 and 513. Images of other sizes are
    first resized to S x S, align-corners bilinear.

    Args:
        backbone: keras-hub's MiT, DINOv2, DINOv3 or ViT with a square `image_shape`; its weights are used.
        levels: whether a pyramid yields each of its levels, which `segformer` reads.
        **kwargs: of `keras.layers.Layer`.

    Call arguments:
        images: (B, H, W, C) normalized images.

    Returns:
        dict of "low" (B, l, l, c) and "high" (B, h, h, d). A pyramid yields its first level, and its last two levels
        concatenated at the finer one; a vision transformer its tokens after a third of the layers, interpolated to
        four times the resolution, and the normalized last ones, without class and register tokens. With `levels`, dict
        of "level_1", "level_2", ..., finest first.

    Raises:
        UserError: another class, levels of a vision transformer, or an image shape that is unknown, not square or not a
            multiple of the step.
    """

    def __init__(self, backbone, levels=False, **kwargs):
        super().__init__(**kwargs)
        name, side = type(backbone).__name__, _side(backbone)
        self.backbone = backbone
        self.levels = levels
        token = getattr(getattr(backbone, "embeddings", None), "mask_token", None)
        if token is not None:
            token.trainable = False  # for DINO's own training: images here have no masked patches
        self.step = grid_step(name, backbone.get_config())
        self.image_size = side - self.step + 1
        self.side = side
        if levels:
            require_levels(name)
        outputs = _pyramid(backbone, levels) if name in PYRAMIDS else _tokens(backbone)
        self._shapes = self._map_shapes(outputs)
        # Only the bound method is kept, so that the layers are tracked and saved once, as part of the backbone.
        self._run = keras.Function(backbone.input, outputs).call
        self.built = True  # all weights belong to the backbone

    def call(self, images):
        """Encode the images."""
        x = resize_align_corners(images, (self.image_size, self.image_size))
        rest = self.step - 1
        before = 0 if self.is_pyramid else rest // 2
        x = ops.pad(x, ((0, 0), (before, rest - before), (before, rest - before), (0, 0)))
        names = list(self.backbone.input) if isinstance(self.backbone.input, dict) else None
        outputs = self._run({names[0]: x} if names else x)
        return self._pyramid_maps(*outputs) if self.is_pyramid else self._token_maps(*outputs)

    @property
    def is_pyramid(self):
        """True for backbones that yield maps of several strides."""
        return type(self.backbone).__name__ in PYRAMIDS

    def _pyramid_maps(self, *maps):
        # Pixels of a level beyond the image's corner saw only padding.
        inside = [self._inside(x) for x in maps]
        if self.levels:
            return by_level(inside)
        low, middle, last = inside
        last = resize_align_corners(last, tuple(middle.shape[1:3]))
        return {"low": low, "high": ops.concatenate([middle, last], axis=-1)}

    def _inside(self, x):
        side = (self.image_size - 1) * x.shape[1] // self.side + 1
        return x[:, :side, :side, :]

    def _token_maps(self, early, last):
        grid = self.side // self.step
        early, last = (
            ops.reshape(x[:, x.shape[1] - grid * grid :, :], (-1, grid, grid, x.shape[-1])) for x in (early, last)
        )
        fine = 4 * (grid - 1) + 1
        return {"low": resize_align_corners(early, (fine, fine)), "high": last}

    def _map_shapes(self, outputs):
        low, *_, last = outputs
        if type(self.backbone).__name__ in TOKENS:
            grid = self.side // self.step
            return {"low": (4 * (grid - 1) + 1, low.shape[-1]), "high": (grid, last.shape[-1])}
        sides = [(self.image_size - 1) * x.shape[1] // self.side + 1 for x in outputs]
        if self.levels:
            return by_level([(side, x.shape[-1]) for side, x in zip(sides, outputs, strict=True)])
        return {"low": (sides[0], low.shape[-1]), "high": (sides[1], outputs[1].shape[-1] + last.shape[-1])}

    def compute_output_spec(self, images):
        """Return symbolic maps without tracing the backbone."""
        return {
            name: keras.KerasTensor((images.shape[0], side, side, channels), dtype=self.compute_dtype)
            for name, (side, channels) in self._shapes.items()
        }

    def compute_output_shape(self, input_shape):
        """Return the shapes of the maps."""
        return {name: (input_shape[0], side, side, channels) for name, (side, channels) in self._shapes.items()}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Make backbone and layer with new weights; needs keras-hub."""
        try:
            return super().from_config(config, custom_objects)
        except (ImportError, TypeError) as error:
            wanted, reason = config["backbone"].get("class_name", "?"), " ".join(str(error).split())[:130]
            raise UserError(f"{wanted} of keras-hub", f"none that can be used ({reason})", INSTALL) from error


def require_levels(kind, preset=None):
    """Check that a class of keras-hub yields maps at several strides.

    Raises:
        UserError: it does not.
    """
    if kind in TOKENS:
        raise UserError(
            "an encoder with maps at several strides for the decoder segformer, such as MiT or ResNet",
            f"{kind}, whose maps all have one" if preset is None else f"{preset}, a {kind}, whose maps all have one",
            "Take the decoder deeplab.",
        )


def _side(backbone):
    """Return N of the backbone's N x N images."""
    shape = tuple(backbone.image_shape)
    step = grid_step(type(backbone).__name__, backbone.get_config())
    height, width = shape[:2]
    if height is None or height != width or height % step or height < 2 * step:
        legal = (max((height or 0) // step, 2) * step, (max((height or 0) // step, 1) + 1) * step)
        raise UserError(
            expected=f"a square image_shape whose sides are a multiple of {step}",
            found=f"{shape} of {type(backbone).__name__}",
            remedy=f"Give for example image_shape=({legal[1]}, {legal[1]}, {shape[-1]}), "
            f"which takes images of {legal[1] - step + 1} pixels unresized.",
        )
    return height


def _pyramid(backbone, all_levels):
    """Return all levels, or the first and the last two."""
    levels = sorted(backbone.pyramid_outputs, key=lambda level: int(level[1:]))
    if len(levels) < 3:
        raise UserError(
            f"three levels or more of {type(backbone).__name__}", f"{len(levels)}", "Give more layers in the config."
        )
    wanted = levels if all_levels else (levels[0], *levels[-2:])
    return [backbone.pyramid_outputs[level] for level in wanted]


def _tokens(backbone):
    """Return the tokens after a third of the layers, and the normalized ones after all layers."""
    early = max(backbone.num_layers // 3, 1)
    if type(backbone).__name__ != "ViTBackbone":
        return [backbone.pyramid_outputs[f"stage{early}"], backbone.output]
    # Its intermediate outputs have no names: apply its layers again.
    encoder = backbone.get_layer("vit_encoder")
    x = encoder.dropout(backbone.get_layer("vit_patching_and_embedding").output)
    for block in encoder.encoder_layers[:early]:
        x = block(x)
    return [x, backbone.output]
