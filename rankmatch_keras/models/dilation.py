"""Strides and padding of backbones: dilation in place of strides, odd image sizes, padding before a max pooling."""

from dataclasses import dataclass

import keras
from keras import ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.models.copies import call_copy, clone_with, copy_layer

OUTPUT_STRIDES = (8, 16, 32)

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
POOLINGS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
GLOBAL_POOLINGS = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
# Layers and operations that treat every pixel alike at any stride.
POINTWISE = frozenset(
    "BatchNormalization LayerNormalization GroupNormalization Normalization Rescaling Identity "
    "Activation ReLU LeakyReLU PReLU ELU Softmax Dropout SpatialDropout2D GaussianNoise GaussianDropout "
    "Add Subtract Multiply Divide TrueDivide Average Maximum Minimum Concatenate "
    "Relu Relu6 Sigmoid Silu Gelu HardSigmoid HardSilu".split()
)


@dataclass(frozen=True)
class Grid:
    """Position of a map's pixels: `stride` image pixels apart, `dilation` map pixels per pixel of the original map."""

    stride: int = 1
    dilation: int = 1


def dilate(backbone, output_stride):
    """Clone a functional backbone with the strides beyond `output_stride` turned into dilation.

    The a-trous scheme: a convolution or pooling that loses its stride keeps its own dilation, and all later windows are
    dilated by that stride. Every n-th pixel of the new maps then equals the old map (away from the border; with
    "same" padding at the odd sizes 32k+1, where strided and dense windows have the same centers).

    Args:
        backbone: functional `keras.Model` of convolutions (plain, depthwise, separable), pooling, zero
            padding, global pooling and pointwise layers, nested functional models included.
        output_stride: 8, 16 or 32.

    Returns:
        functional `keras.Model` with the same layer names and copied weights; `backbone` is untouched.
        A backbone that never exceeds `output_stride` is returned as a plain copy.

    Raises:
        UserError: an unsupported output stride, or a layer that cannot be dilated (it is named).
    """
    if output_stride not in OUTPUT_STRIDES:
        raise UserError(
            expected="an output stride of 8, 16 or 32",
            found=f"{output_stride!r}",
            remedy="Choose one of the three.",
        )
    model = clone_with(backbone, _Dilation(output_stride, Grid()).call)
    if hasattr(backbone, "pyramid_level_inputs"):
        # keras-cv's layer names of each level, which the clone's layers share.
        model.pyramid_level_inputs = dict(backbone.pyramid_level_inputs)
    return model


class _Dilation:
    """Replacement of layers one by one that tracks the grid of every tensor through the graph."""

    def __init__(self, output_stride, start):
        self.output_stride = output_stride
        self.start = start  # grid of the inputs
        self.grids = {}  # id of tensor -> (tensor, Grid or None); the tensor is held so that ids stay unique
        self.padded = {}  # id of a zero padding's output -> (padding layer, its input)
        self.copies = {}  # id of original layer -> (Grid, replacement)

    def grid(self, tensor):
        """Return the grid of a tensor; None after global pooling."""
        return self.grids[id(tensor)][1] if id(tensor) in self.grids else self.start

    def call(self, layer, *args, **kwargs):
        """Replace `layer`, call the replacement and record the grids of its outputs."""
        tensors = [t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
        grids = {self.grid(t) for t in tensors} - {None}
        if len(grids) > 1:
            raise _cannot(layer, "joins maps of different strides")
        grid = grids.pop() if grids else None
        if isinstance(layer, keras.Model):
            return self.call_nested(layer, grid, *args, **kwargs)

        copy, inputs, out_grid = layer, args, grid
        if isinstance(layer, keras.layers.Layer):
            if grid is not None and isinstance(layer, CONVOLUTIONS + POOLINGS):
                changes, x, out_grid = self.window(layer, args[0], grid)
                copy, inputs = self.shared_copy(layer, grid, changes), (x, *args[1:])
            else:
                out_grid = self.pixelwise(layer, tensors, grid)
                copy = self.shared_copy(layer, grid, {})
            outputs = call_copy(layer, copy, *inputs, **kwargs)
        else:
            out_grid = self.pixelwise(layer, tensors, grid)
            outputs = layer(*args, **kwargs)

        if isinstance(layer, keras.layers.ZeroPadding2D):
            self.padded[id(outputs)] = (layer, args[0])
        self.record(outputs, out_grid)
        return outputs

    def record(self, outputs, grid):
        """Record the grid of a layer's outputs."""
        for tensor in keras.tree.flatten(outputs):
            self.grids[id(tensor)] = (tensor, grid)

    def pixelwise(self, layer, tensors, grid):
        """Return the grid after a layer without a window; refuse unknown layers."""
        if grid is None or isinstance(layer, GLOBAL_POOLINGS):
            return None
        if isinstance(layer, keras.layers.ZeroPadding2D):
            return grid
        if type(layer).__name__ not in POINTWISE:
            raise _cannot(layer, "is of a kind that is not known to keep the grid")
        if grid.dilation > 1 and any(id(t) in self.padded for t in tensors):
            raise _cannot(layer, "uses zero padding outside a convolution or pooling")
        return grid

    def window(self, layer, x, grid):
        """Return config changes, input and output grid of a layer that slides a window over the map."""
        strides = set(layer.strides)
        if len(strides) > 1:
            raise _cannot(layer, f"has different strides {layer.strides}")
        stride = strides.pop()
        lost = stride > 1 and grid.stride * stride > self.output_stride
        if lost and grid.stride != self.output_stride:
            raise _cannot(layer, f"would need its stride {stride} at stride {grid.stride} split")
        pooling = isinstance(layer, POOLINGS)
        size = tuple(layer.pool_size if pooling else layer.kernel_size)
        if pooling and grid.dilation > 1 and max(size) > 1:
            raise _cannot(layer, "pools over a dilated map, which Keras has no layer for")

        changes = {"strides": (1, 1)} if lost else {}
        rates = (1, 1) if pooling else tuple(layer.dilation_rate)
        if not pooling and grid.dilation > 1 and max(size) > 1:
            changes["dilation_rate"] = tuple(rate * grid.dilation for rate in rates)
        if (lost or grid.dilation > 1) and id(x) in self.padded:
            x = self.repad(x, size, rates, grid.dilation, lost)
        if lost:
            return changes, x, Grid(grid.stride, grid.dilation * stride)
        return changes, x, Grid(grid.stride * stride, grid.dilation)

    def repad(self, x, size, rates, dilation, lost):
        """Pad with zeros for a dilated window: the top left scales, so that window i starts where it did.

        Without its stride a window needs enough padding at the bottom right to keep the size: libraries leave out
        the rows that a strided window on even sizes never reaches.
        """
        padding, source = self.padded[id(x)]
        sides = []
        for (before, after), k, rate in zip(padding.padding, size, rates, strict=True):
            reach = (k - 1) * rate
            after = max(reach - before, 0) if lost else after
            sides.append((before * dilation, after * dilation))
        return copy_layer(padding, padding=tuple(sides))(source)

    def shared_copy(self, layer, grid, changes):
        """Return the replacement of a layer, the same one wherever the layer is used."""
        known, copy = self.copies.get(id(layer), (grid, None))
        if known != grid:
            raise _cannot(layer, "is shared between maps of different strides")
        if copy is None:
            copy = copy_layer(layer, **changes)
            self.copies[id(layer)] = (grid, copy)
        return copy

    def call_nested(self, model, grid, *args, **kwargs):
        """Dilate a nested model, starting from the grid of its input."""
        if isinstance(model, keras.Sequential) or not hasattr(model, "operations"):
            raise _cannot(model, "is a nested model that is not functional")
        inner = _Dilation(self.output_stride, grid)
        copy = clone_with(model, inner.call)
        outputs = copy(*args, **kwargs)
        inner_outputs = keras.tree.flatten(copy.output)
        for tensor, source in zip(keras.tree.flatten(outputs), inner_outputs, strict=True):
            self.grids[id(tensor)] = (tensor, inner.grid(source))
        return outputs


def _cannot(layer, reason):
    return UserError(
        expected="a functional backbone of convolutions, pooling, zero padding and pointwise layers",
        found=f"layer {layer.name!r} ({type(layer).__name__}), which {reason}",
        remedy="Use the backbone at its own output stride, or one made of plain layers.",
    )


def size_aware_padding(model):
    """Turn "pad bottom and right, then stride 2 without padding" into padding "same".

    keras.applications chooses the padding of such pairs (MobileNetV2) when the model is built: for odd sizes
    one more row at the top and column at the left. For an unknown input size it builds the even variant, which
    shrinks 321 to 160 and shifts the grid. "same" decides at each call: even sizes give identical maps, odd
    ones what the library builds for a known odd size, so that 321 -> 161 -> 81 -> 41 -> 21 align.

    Args:
        model: functional `keras.Model`.

    Returns:
        functional `keras.Model` with the same layer names and copied weights; `model` itself where all of
        its padding is symmetric.
    """
    paddings = [layer for layer in model.layers if isinstance(layer, keras.layers.ZeroPadding2D)]
    if all(before == after for layer in paddings for before, after in layer.padding):
        return model
    padded: dict = {}  # id of a padding's output -> (that output, padding layer, its input)

    def call(layer, *args, **kwargs):
        if not isinstance(layer, keras.layers.Layer):
            return layer(*args, **kwargs)
        copy = copy_layer(layer)
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            _, padding, source = padded.get(id(args[0]), (None, None, None))
            if padding is not None and _is_even_variant(padding, layer):
                copy, args = copy_layer(layer, padding="same"), (source, *args[1:])
        outputs = call_copy(layer, copy, *args, **kwargs)
        if isinstance(layer, keras.layers.ZeroPadding2D):
            padded[id(outputs)] = (outputs, layer, args[0])
        return outputs

    return clone_with(model, call)


def _is_even_variant(padding, conv):
    """Return whether "same" computes the pair on even sizes: stride 2, an odd kernel, one-sided padding."""
    even = tuple((k // 2 - 1, k // 2) for k in conv.kernel_size)
    pads = tuple(tuple(side) for side in padding.padding)
    odd_kernel = all(k % 2 == 1 for k in conv.kernel_size)
    return odd_kernel and conv.padding == "valid" and tuple(conv.strides) == (2, 2) and pads == even


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class InfinitePadding2D(keras.layers.ZeroPadding2D):
    """`keras.layers.ZeroPadding2D` with minus infinity in place of zero, as a max pooling needs it."""

    def call(self, inputs):
        """Pad the map."""
        return ops.pad(inputs, ((0, 0), *self.padding, (0, 0)), constant_values=float("-inf"))
