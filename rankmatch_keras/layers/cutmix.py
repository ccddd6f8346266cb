"""CutMix: pasting a box of one image, label map or feature map into another."""

from keras import ops

from rankmatch_keras.layers.grid import grid_positions


def box_mask(boxes, image_size, grid_size=None):
    """Marks the pixels inside each box, at image size or on a coarser grid.

    On a grid the box is sampled at the positions of the grid's pixels in the image, `i * (H - 1) / (h - 1)`. Where
    that is a whole number (sizes 16k + 1 at stride 16: 321, 513, 801) mixing there equals upsampling the features with
    aligned corners, mixing at image size and downsampling again.

    Args:
        boxes: `(B, 4)` int, `y0, x0, y1, x1` in pixels of the image, ends excluded; an empty box marks nothing.
        image_size: `(H, W)` of the image the boxes refer to.
        grid_size: `(h, w)` of the map to mark; the image size by default.

    Returns:
        `(B, h, w)` bool, True inside the box.
    """
    boxes = ops.cast(boxes, "float32")
    height, width = grid_size or image_size
    rows = grid_positions(height, image_size[0])[None]  # (1, h)
    columns = grid_positions(width, image_size[1])[None]  # (1, w)
    inside_rows = ops.logical_and(rows >= boxes[:, 0:1], rows < boxes[:, 2:3])  # (B, h)
    inside_columns = ops.logical_and(columns >= boxes[:, 1:2], columns < boxes[:, 3:4])  # (B, w)
    return ops.logical_and(inside_rows[:, :, None], inside_columns[:, None, :])


def mix(target, source, mask):
    """Pastes `source` into `target` where `mask` is True.

    Args:
        target: `(B, H, W)` or `(B, H, W, C)` tensor of any dtype.
        source: the same shape and dtype.
        mask: `(B, H, W)` bool.

    Returns:
        A tensor like `target`.
    """
    if len(target.shape) == 4:
        mask = mask[..., None]
    return ops.where(mask, source, target)
