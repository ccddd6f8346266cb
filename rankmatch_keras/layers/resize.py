"""Align-corners bilinear resizing, a convolution that includes it, and averages on a coarser grid."""

import keras
from keras import ops

from rankmatch_keras.layers.base import ConfigFromArguments


def hat_weights(out_size, in_size):
    """Make the interpolation matrix of one axis: row i holds the weights of the input pixels for output pixel i.

    Output pixel i is at position `i (in - 1) / (out - 1)` of the input axis, so that first and last pixels coincide,
    and each input pixel has the weight `max(0, 1 - distance)`.

    Args:
        out_size: number of output pixels, int or scalar int tensor, >= 1.
        in_size: number of input pixels, int or scalar int tensor, >= 1.

    Returns:
        `(out_size, in_size)` float32; every row sums to 1.
    """
    outputs, pixels = (ops.arange(0, size, dtype="float32") for size in (out_size, in_size))
    # Sizes are read off the ranges: as tensors of their own, PyTorch's export would freeze them.
    # Multiplied before divided: whole-number positions are then exact, e.g. at 21 -> 81 -> 321.
    positions = outputs * pixels[-1:] / ops.maximum(outputs[-1:], 1.0)
    return ops.relu(1.0 - ops.abs(positions[:, None] - pixels[None, :]))


def resize_align_corners(x, size):
    """Resize feature maps bilinearly with aligned corners.

    `keras.ops.image.resize` has no such mode; here two small matrix products do it, differentiably, with static or
    dynamic sizes. A grid of 16k + 1 pixels then lies exactly on one of k + 1 pixels.

    Args:
        x: `(B, h, w, C)` float.
        size: `(H, W)`, ints or scalar int tensors, >= 1.

    Returns:
        `(B, H, W, C)` in the dtype of `x`; `x` itself where its static size is `size`.

    Example:

    >>> x = keras.ops.reshape(keras.ops.arange(2, dtype="float32"), (1, 1, 2, 1))
    >>> [float(v) for v in resize_align_corners(x, (1, 5))[0, 0, :, 0]]
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    height, width = size
    if isinstance(height, int) and isinstance(width, int) and (height, width) == tuple(x.shape[1:3]):
        return x
    in_height, in_width = ops.shape(x)[1:3]
    return _weigh(x, hat_weights(height, in_height), hat_weights(width, in_width), size)


def _weigh(x, rows, columns, size):
    """Turn the pixels `(B, h, w, C)` into sums weighted by `(H, h)` and `(W, w)`."""
    _, in_height, in_width, channels = ops.shape(x)
    (height, width), dtype = size, keras.backend.standardize_dtype(x.dtype)
    rows, columns = ops.cast(rows, dtype), ops.cast(columns, dtype)
    # Height first: the map is still narrow then, and needs no transposition.
    x = ops.reshape(x, (-1, in_height, in_width * channels))
    x = ops.matmul(rows, x)  # (B, H, w * C)
    x = ops.reshape(x, (-1, in_width, channels))
    x = ops.matmul(columns, x)  # (B * H, W, C)
    return ops.reshape(x, (-1, height, width, channels))


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class ResizeLike(keras.layers.Layer):
    """Align-corners bilinear resizing to the height and width of another tensor.

    Call arguments:
        x: `(B, h, w, C)` float.
        reference: `(B, H, W, any)`; only its height and width are read, so it may have no channels.

    Returns:
        `(B, H, W, C)`.
    """

    def call(self, x, reference):
        """Resize `x`."""
        static = reference.shape[1:3]
        dynamic = ops.shape(reference)[1:3]
        # Known ints first: resizing to the same size is then skipped while tracing.
        size = tuple(d if s is None else s for s, d in zip(static, dynamic, strict=True))
        return resize_align_corners(x, size)

    def compute_output_spec(self, x, reference):
        """Return the spec of `(B, H, W, C)` without tracing the call."""
        shape = (x.shape[0], *reference.shape[1:3], x.shape[3])
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def compute_output_shape(self, x_shape, reference_shape):
        """Return `(B, H, W, C)`."""
        return (x_shape[0], *reference_shape[1:3], x_shape[3])


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class CoarseAverage(ConfigFromArguments, keras.layers.Layer):
    """Averages of a map around every `step`-th pixel, corners included, with weights that fall linearly to 0 at `step`.

    With `step` 4 they are 1, 2, 3, 4, 3, 2, 1 in each direction, over their sum inside the map. On a side that is not 1
    modulo `step`, the averages are a little closer together. Average pooling pads such sides differently per backend.

    Args:
        step: pixels between the averages.
        **kwargs: of `keras.layers.Layer`.

    Call arguments:
        x: `(B, H, W, C)` float.

    Returns:
        `(B, h, w, C)` with `h = ceil(H / step)`, the same for w.
    """

    def __init__(self, step: int, **kwargs):
        super().__init__(**kwargs)
        self.step = step

    def call(self, x):
        """Average `x`."""
        height, width = ops.shape(x)[1:3]
        size = (self._coarse(height), self._coarse(width))
        return _weigh(x, self._weights(height), self._weights(width), size)

    def _coarse(self, size):
        return (size + self.step - 1) // self.step

    def _weights(self, size):
        centers, pixels = (ops.arange(0, count, dtype="float32") for count in (self._coarse(size), size))
        positions = centers * pixels[-1:] / ops.maximum(centers[-1:], 1.0)
        weights = ops.relu(self.step - ops.abs(positions[:, None] - pixels[None, :]))
        return weights / ops.sum(weights, axis=1, keepdims=True)

    def compute_output_shape(self, input_shape):
        """Return `(B, h, w, C)`."""
        batch, *sides, channels = input_shape
        return (batch, *(None if side is None else self._coarse(side) for side in sides), channels)

    def compute_output_spec(self, x):
        """Return the spec of `(B, h, w, C)` without tracing the call."""
        return keras.KerasTensor(self.compute_output_shape(x.shape), dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class FineCoarseConv2D(ConfigFromArguments, keras.layers.Layer):
    """A `Conv2D(padding="same", use_bias=False)` over a fine map and an upsampled coarse one, without upsampling.

    Align-corners bilinear upsampling is linear, and so is a convolution: each window position can weight the channels
    on the coarse grid first and interpolate afterwards. With four times as many pixels per side (DeepLabV3+ at output
    stride 16) that takes an eighth of the multiplications of the coarse part, and neither the upsampled map nor the
    concatenated one is ever made. The weights are those of the plain convolution.

    Args:
        filters: number of output channels F.
        kernel_size: side of the window, odd.
        kernel_initializer: as in `keras.layers.Conv2D`.

    Call arguments:
        inputs: pair of the fine map `(B, H, W, c)` and the coarse one `(B, h, w, C)`.

    Returns:
        `(B, H, W, F)`: the convolution of `concatenate([fine, resize_align_corners(coarse, (H, W))])`, up to rounding.

    Raises:
        ValueError: the kernel size is even.
    """

    def __init__(self, filters: int, kernel_size: int = 3, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        if kernel_size % 2 == 0:
            raise ValueError(f"Expected an odd kernel size. Received: kernel_size={kernel_size}")
        self.filters = filters
        self.kernel_size = kernel_size
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        """Make the kernel `(k, k, c + C, F)`, the fine map's channels first."""
        fine, coarse = input_shape
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, fine[-1] + coarse[-1], self.filters),
            initializer=self.kernel_initializer,
        )

    def call(self, inputs):
        """Convolve both maps."""
        fine, coarse = inputs
        kernel, fine_channels = ops.convert_to_tensor(self.kernel), fine.shape[-1]
        outputs = self.convolve(fine, kernel[:, :, :fine_channels])
        return outputs + convolve_upsampled(coarse, kernel[:, :, fine_channels:], ops.shape(fine)[1:3])

    def convolve(self, fine, kernel):
        """Convolve the fine map; a backend may replace this with its own convolution."""
        return ops.conv(fine, kernel, padding="same", data_format="channels_last")

    def compute_output_shape(self, input_shape):
        """Return `(B, H, W, F)`."""
        return (*input_shape[0][:3], self.filters)


def convolve_upsampled(x, kernel, size):
    """Convolve an upsampled map without making it: stride 1, zero padding that keeps the size.

    Args:
        x: `(B, h, w, C)` float, the map before upsampling.
        kernel: `(k, k, C, F)`, k odd.
        size: `(H, W)` after upsampling, ints or scalar int tensors.

    Returns:
        `(B, H, W, F)` in the dtype of `x`.
    """
    (_, h, w, channels), (height, width) = ops.shape(x), size
    taps, _, _, filters = kernel.shape
    pixels = ops.reshape(x, (-1, channels))
    columns = ops.reshape(ops.stack(_interpolations(width, w, taps, x.dtype), axis=-1), (width, w * taps))
    strips = []  # one per row of the kernel: (B, h, W * F), still as high as the coarse map
    for row in range(taps):
        weights = ops.reshape(ops.transpose(kernel[row], (1, 0, 2)), (channels, taps * filters))
        products = ops.reshape(ops.matmul(pixels, weights), (-1, w * taps, filters))
        strips.append(ops.reshape(ops.matmul(columns, products), (-1, h, width * filters)))
    rows = ops.concatenate(_interpolations(height, h, taps, x.dtype), axis=1)  # (H, k * h)
    return ops.reshape(ops.matmul(rows, ops.concatenate(strips, axis=1)), (-1, height, width, filters))


def _interpolations(out_size, in_size, taps, dtype):
    """Make `k` matrices `(out, in)`: the input pixels that each window position sees from each output pixel."""
    reach = taps // 2
    weights = ops.cast(ops.pad(hat_weights(out_size, in_size), ((reach, reach), (0, 0))), dtype)
    return [weights[tap : tap + out_size] for tap in range(taps)]
