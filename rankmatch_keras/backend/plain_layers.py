"""Which layers a backend may compute in a way of its own, and what their windows see."""

import functools

import keras

FLOATS = ("float32", "bfloat16", "float16")
MOSTLY_INSIDE = 0.75


def is_plain(layer):
    """Tell whether a layer is built, computes floats on channels-last maps, and has no special options."""
    if not layer.built or layer.compute_dtype not in FLOATS:
        return False
    if isinstance(layer, keras.layers.BatchNormalization):
        special = layer.renorm or layer.synchronized or not (layer.scale and layer.center)
        return layer.input_spec.ndim == 4 and layer.axis in (-1, 3) and not special
    channels_last = getattr(layer, "data_format", "channels_last") == "channels_last"
    return channels_last and not getattr(layer, "lora_enabled", False)


@functools.cache
def overlaps(size, taps, dilation):
    """Return for each position in a window along one axis the outputs that see a pixel there, and those pixels.

    Args:
        size: pixels of the axis; the convolution keeps it.
        taps: size of the window, odd.
        dilation: distance of its positions in pixels.

    Returns:
        A list of pairs of slices, one pair for each position; both are empty where all of it is padding.
    """
    offsets = [(tap - taps // 2) * dilation for tap in range(taps)]
    return [
        (slice(min(max(-o, 0), size), max(size - max(o, 0), 0)), slice(min(max(o, 0), size), max(size + min(o, 0), 0)))
        for o in offsets
    ]


def sees_little(size, kernel_size, dilation):
    """Tell whether a good part of a convolution's windows lies in the padding.

    Args:
        size: height and width of the maps; the convolution keeps them.
        kernel_size: height and width of the window, odd.
        dilation: distances of its positions in pixels.
    """
    inside = 1.0
    for pixels, taps, distance in zip(size, kernel_size, dilation, strict=True):
        inside *= sum(seen.stop - seen.start for seen, _ in overlaps(pixels, taps, distance)) / (pixels * taps)
    return max(dilation) > 1 and inside < MOSTLY_INSIDE
