"""A convolution over a fine map and an upsampled coarse one, without upsampling it."""

import keras
from keras import ops

from rankmatch_keras.layers.base import ConfigFromArguments
from rankmatch_keras.layers.resize import hat_weights


@keras.saving.register_keras_serializable(package="rankmatch_keras")
class FineCoarseConv2D(ConfigFromArguments, keras.layers.Layer):
    """What `Conv2D(padding="same", use_bias=False)` computes of a fine map joined with an upsampled coarse one.

    Upsampling (align-corners bilinear, as `ResizeLike` does) is linear, and so is a convolution: each window position
    may weigh the channels on the coarse grid first, and interpolate afterwards. With four times as many pixels
    per side (DeepLabV3+ at output stride 16) that takes an eighth of the multiplications of the coarse part, and
    neither the upsampled map nor the joined one is ever made. Weights are those of the plain convolution.

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
        """Makes the kernel `(k, k, c + C, F)`, the fine map's channels first."""
        fine, coarse = input_shape
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, fine[-1] + coarse[-1], self.filters),
            initializer=self.kernel_initializer,
        )

    def call(self, inputs):
        """See the class."""
        fine, coarse = inputs
        kernel, fine_channels = ops.convert_to_tensor(self.kernel), fine.shape[-1]
        outputs = self.convolve(fine, kernel[:, :, :fine_channels])
        return outputs + convolve_upsampled(coarse, kernel[:, :, fine_channels:], ops.shape(fine)[1:3])

    def convolve(self, fine, kernel):
        """The fine map's part; a backend may put its own convolution in place."""
        return ops.conv(fine, kernel, padding="same", data_format="channels_last")

    def compute_output_shape(self, input_shape):
        """`(B, H, W, F)`."""
        return (*input_shape[0][:3], self.filters)


def convolve_upsampled(x, kernel, size):
    """Convolves an upsampled map without making it: stride 1, zero padding that keeps the size.

    Args:
        x: `(B, h, w, C)` float, the map before upsampling.
        kernel: `(k, k, C, F)`, k odd.
        size: `(H, W)` that `x` is upsampled to, ints or scalar int tensors.

    Returns:
        `(B, H, W, F)` in the dtype of `x`.
    """
    (_, h, w, channels), (height, width) = ops.shape(x), size
    taps, _, _, filters = kernel.shape
    pixels = ops.reshape(x, (-1, channels))
    columns = ops.reshape(ops.stack(_interpolations(width, w, taps, x.dtype), axis=-1), (width, w * taps))
    strips = []  # one per row of the kernel: (B, h, W * F), as high as the coarse map still
    for row in range(taps):
        weights = ops.reshape(ops.transpose(kernel[row], (1, 0, 2)), (channels, taps * filters))
        products = ops.reshape(ops.matmul(pixels, weights), (-1, w * taps, filters))
        strips.append(ops.reshape(ops.matmul(columns, products), (-1, h, width * filters)))
    rows = ops.concatenate(_interpolations(height, h, taps, x.dtype), axis=1)  # (H, k * h)
    return ops.reshape(ops.matmul(rows, ops.concatenate(strips, axis=1)), (-1, height, width, filters))


def _interpolations(out_size, in_size, taps, dtype):
    """For each position in a window, which input pixels it sees from each output pixel: `k` of `(out, in)`."""
    reach = taps // 2
    weights = ops.cast(ops.pad(hat_weights(out_size, in_size), ((reach, reach), (0, 0))), dtype)
    return [weights[tap : tap + out_size] for tap in range(taps)]
