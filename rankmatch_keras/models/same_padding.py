"""Makes explicitly padded stride 2 convolutions right for odd image sizes too."""

import keras

from rankmatch_keras.models.cloning import call_copy, clone_with, copy_layer


def size_aware_padding(model):
    """Turns "pad bottom and right, then stride 2 without padding" into padding "same".

    keras.applications chooses the padding of such pairs (MobileNetV2) when the model is built: for odd sizes
    one more row on top and column on the left. With an unknown input size it builds the even variant, which
    shrinks 321 to 160 and shifts the grid. "same" decides at each call: identical on even sizes, and on odd
    ones what the library builds for a known odd size, so that 321 -> 161 -> 81 -> 41 -> 21 align.

    Args:
        model: functional ``keras.Model``.

    Returns:
        functional ``keras.Model`` with the same layer names and copied weights; ``model`` itself where it
        pads nothing on one side only.
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
    """Whether the pair is what "same" computes on even sizes at stride 2 with an odd kernel."""
    even = tuple((k // 2 - 1, k // 2) for k in conv.kernel_size)
    pads = tuple(tuple(side) for side in padding.padding)
    odd_kernel = all(k % 2 == 1 for k in conv.kernel_size)
    return odd_kernel and conv.padding == "valid" and tuple(conv.strides) == (2, 2) and pads == even
