"""Align-corners bilinear resizing, the same arithmetic on every backend."""

import keras
from keras import ops


def hat_weights(out_size, in_size):
    """Interpolation matrix of one axis: row i holds the weights of the input pixels for output pixel i.

    Output pixel i sits at position ``i (in - 1) / (out - 1)`` of the input axis, so that first and last
    pixels coincide, and each input pixel weighs ``max(0, 1 - distance)``.

    Args:
        out_size: number of output pixels, int or scalar int tensor, >= 1.
        in_size: number of input pixels, int or scalar int tensor, >= 1.

    Returns:
        float32 (out_size, in_size); every row sums to 1.
    """
    steps = ops.cast(ops.maximum(out_size - 1, 1), "float32")
    last = ops.cast(in_size - 1, "float32")
    # Multiply before dividing: whole-number positions then come out exact, e.g. at 21 -> 81 -> 321.
    positions = ops.arange(0, out_size, dtype="float32") * last / steps
    pixels = ops.arange(0, in_size, dtype="float32")
    return ops.relu(1.0 - ops.abs(positions[:, None] - pixels[None, :]))


def resize_align_corners(x, size):
    """Resizes feature maps bilinearly with the corner pixels of both grids aligned.

    ``keras.ops.image.resize`` has no align-corners mode; two small matrix products do, differentiably,
    with static or dynamic sizes. A grid of 16k+1 pixels lies exactly on one of k+1 pixels this way.

    Args:
        x: (B, h, w, C) float maps.
        size: (H, W), ints or scalar int tensors, >= 1.

    Returns:
        (B, H, W, C) in the dtype of ``x``; ``x`` itself where its static size is already ``size``.

    Example:
        >>> x = keras.ops.reshape(keras.ops.arange(2, dtype="float32"), (1, 1, 2, 1))
        >>> [float(v) for v in resize_align_corners(x, (1, 5))[0, 0, :, 0]]
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    height, width = size
    if isinstance(height, int) and isinstance(width, int) and (height, width) == tuple(x.shape[1:3]):
        return x
    _, in_height, in_width, channels = ops.shape(x)
    dtype = keras.backend.standardize_dtype(x.dtype)
    rows = ops.cast(hat_weights(height, in_height), dtype)
    columns = ops.cast(hat_weights(width, in_width), dtype)
    # Height first: it touches the map while its width is still small, and needs no transposition.
    x = ops.reshape(x, (-1, in_height, in_width * channels))
    x = ops.matmul(rows, x)  # (B, H, w * C)
    x = ops.reshape(x, (-1, in_width, channels))
    x = ops.matmul(columns, x)  # (B * H, W, C)
    return ops.reshape(x, (-1, height, width, channels))


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class ResizeLike(keras.layers.Layer):
    """Resizes ``x`` to the height and width of ``reference`` (align-corners bilinear).

    Call arguments:
        x: (B, h, w, C) float maps.
        reference: (B, H, W, any) tensor; only its height and width are read, so it may have no channels.

    Returns:
        (B, H, W, C) maps.
    """

    def call(self, x, reference):
        """See the class."""
        static = reference.shape[1:3]
        dynamic = ops.shape(reference)[1:3]
        # Prefer known ints: a resize to the own size is then skipped while tracing.
        size = tuple(d if s is None else s for s, d in zip(static, dynamic, strict=True))
        return resize_align_corners(x, size)

    def compute_output_spec(self, x, reference):
        """(B, H, W, C), without tracing the call."""
        shape = (x.shape[0], *reference.shape[1:3], x.shape[3])
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def compute_output_shape(self, x_shape, reference_shape):
        """(B, H, W, C)."""
        return (x_shape[0], *reference_shape[1:3], x_shape[3])
