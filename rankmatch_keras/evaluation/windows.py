"""Which part of an image is shown to the network at once: sliding windows and the centre crop."""


def stride_of(side):
    """Distance of neighbouring windows: floor(2/3 side), at least 1."""
    return max(1, 2 * side // 3)


def window_spans(size, side, border="clip"):
    """Where the windows lie along one axis of an image.

    They are `stride_of` apart. An axis that fits into the window has one window of its own length.

    Args:
        size: length of the axis in pixels, >= 1.
        side: side of the window, >= 1; None: the whole axis.
        border: "clip": starts 0, stride, ... while below the size, cut off at the border (as UniMatch); "shift": the
            last window is moved back to end at the border (as U2PL).

    Returns:
        list of (first, last + 1), from the start of the axis to its end.

    Example:
        >>> window_spans(8, 3), window_spans(8, 3, "shift")
        ([(0, 3), (2, 5), (4, 7), (6, 8)], [(0, 3), (2, 5), (4, 7), (5, 8)])
    """
    if side is None or size <= side:
        return [(0, size)]
    stride = stride_of(side)
    if border == "clip":
        starts = list(range(0, size, stride))
    else:
        starts = [*range(0, size - side, stride), size - side]
    return [(start, min(start + side, size)) for start in starts]


def scored_part(array, protocol):
    """What the protocol scores of an image or a mask: its middle with "center_crop", all of it otherwise.

    Args:
        array: (H, W) or (H, W, C).
        protocol: `data.protocol.Protocol`.

    Returns:
        A view, (min(H, crop), min(W, crop)) with "center_crop".
    """
    if protocol.mode != "center_crop":
        return array
    height, width = array.shape[:2]
    top, left = max(0, (height - protocol.crop) // 2), max(0, (width - protocol.crop) // 2)
    return array[top : top + protocol.crop, left : left + protocol.crop]


def row_blocks(height, bytes_per_row, block_bytes=1 << 23):
    """Slices of rows of about `block_bytes` each, to work through large arrays in little memory."""
    step = max(1, block_bytes // max(1, bytes_per_row))
    for first in range(0, height, step):
        yield slice(first, min(first + step, height))
