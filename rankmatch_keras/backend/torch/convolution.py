"""Convolution, pooling and resizing of channels-last maps by PyTorch's own kernels, and what these leave slow.

Under Keras a convolution copies its input twice and its weights once per call; PyTorch's kernels read channels-last
maps as they are. Weights keep their shape but are stored in the order that PyTorch reads: in Keras' order a 3x3
convolution of 304 channels takes three times as long.
"""

import itertools

import torch
from torch.nn import functional

from rankmatch_keras.backend.plain_layers import overlaps, sees_little


def store_outputs_first(variable):
    """Store a kernel (kh, kw, in, out) in the memory order out, kh, kw, in; shape and values stay."""
    if len(variable.shape) == 4:
        value = variable.value
        value.data = value.data.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)


def convolution(layer, inputs, before=(0, 0)):
    """Compute `Conv2D.call` for maps `(B, H, W, C)` zero padded by `before` pixels (height, width) on each side."""
    return _convolve(layer, inputs, layer.kernel.value.permute(3, 2, 0, 1), layer.groups, before)


def depthwise_convolution(layer, inputs, before=(0, 0)):
    """Compute `DepthwiseConv2D.call` for maps `(B, H, W, C)`, like `convolution`."""
    height, width, channels, multiplier = layer.kernel.shape
    kernel = layer.kernel.value.reshape(height, width, 1, channels * multiplier).permute(3, 2, 0, 1)
    return _convolve(layer, inputs, kernel, channels, before)


def plain_convolution(inputs, kernel):
    """Convolve `(B, H, W, C)` by `(k, k, C, F)`, k odd, with zero padding that keeps the size."""
    padding = tuple(side // 2 for side in kernel.shape[:2])
    return _channels_last(functional.conv2d(_channels_first(inputs), kernel.permute(3, 2, 0, 1), padding=padding))


def max_pooling(layer, inputs, before=(0, 0)):
    """Compute `MaxPooling2D.call`, padding "valid", for non-negative maps `(B, H, W, C)`, like `convolution`."""
    # PyTorch pads with minus infinity: for non-negative values the maximum is the same as with zeros.
    return _channels_last(functional.max_pool2d(_channels_first(inputs), layer.pool_size, tuple(layer.strides), before))


def resize_align_corners(x, size):
    """Resize bilinearly with aligned corners; not deterministic on GPUs, on CPUs three times as fast as the layer."""
    resized = functional.interpolate(_channels_first(x), size=size, mode="bilinear", align_corners=True)
    return _channels_last(resized)


def _channels_first(images):
    return images.permute(0, 3, 1, 2)  # a view: PyTorch's "channels last" memory format


def _channels_last(images):
    return images.permute(0, 2, 3, 1)


def _convolve(layer, inputs, kernel, groups, before):
    images, padding = _channels_first(inputs), tuple(before)
    if layer.padding == "same":
        images, padding = _same_padding(images, layer)
    bias = layer.bias.value if layer.use_bias else None
    strides, dilation = tuple(layer.strides), tuple(layer.dilation_rate)
    if groups == 1 and bias is None and _sees_little(images, kernel, strides, padding, dilation):
        outputs = DilatedConvolution.apply(images, kernel, padding, dilation)
    else:
        outputs = functional.conv2d(images, kernel, bias, strides, padding, dilation, groups)
    outputs = _channels_last(outputs)
    return outputs if layer.activation is None else layer.activation(outputs)


def _same_padding(images, layer):
    """Apply Keras' "same" padding: return images and padding for the kernel, with a padded copy if it is lopsided."""
    sides = []
    for size, kernel, stride, dilation in zip(
        images.shape[2:], layer.kernel_size, layer.strides, layer.dilation_rate, strict=True
    ):
        total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        sides.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = sides
    if top == bottom and left == right:
        return images, (top, left)
    return functional.pad(images, (left, right, top, bottom)), (0, 0)


def _sees_little(images, kernel, strides, padding, dilation):
    """Tell whether a good part of a dilated convolution's windows lies in the padding, on a CPU."""
    same = padding == tuple(d * (k - 1) // 2 for k, d in zip(kernel.shape[2:], dilation, strict=True))
    if images.device.type != "cpu" or strides != (1, 1) or not same:
        return False
    return sees_little(tuple(images.shape[2:]), tuple(kernel.shape[2:]), dilation)


class DilatedConvolution(torch.autograd.Function):
    """A stride 1 convolution that keeps the size, with a kernel gradient that leaves out the padding.

    oneDNN skips window positions in the padding forward and in the gradient of the images, but not in that of the
    kernel: with dilation 18 on 21 pixels, 82 % of them. Here each position is one matrix product over the pixels that
    it sees.
    """

    @staticmethod
    def forward(ctx, images, kernel, padding, dilation):
        """Convolve `(B, C, H, W)` by `(F, C, kh, kw)`."""
        ctx.save_for_backward(images, kernel)
        ctx.padding, ctx.dilation = padding, dilation
        return functional.conv2d(images, kernel, None, 1, padding, dilation)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        """Return the gradients of images and kernel."""
        images, kernel = ctx.saved_tensors
        to_images = to_kernel = None
        if ctx.needs_input_grad[0]:
            to_images, _, _ = torch.ops.aten.convolution_backward(
                gradient,
                images,
                kernel,
                None,
                [1, 1],
                ctx.padding,
                ctx.dilation,
                False,
                [0, 0],
                1,
                [True, False, False],
            )
        if ctx.needs_input_grad[1]:
            to_kernel = _kernel_gradient(images, kernel, gradient, ctx.dilation)
        return to_images, to_kernel, None, None


def _kernel_gradient(images, kernel, gradient, dilation):
    pixels, gradient = _channels_last(images), _channels_last(gradient)
    to_kernel = torch.zeros_like(kernel)
    rows, columns = (overlaps(images.shape[2 + a], kernel.shape[2 + a], dilation[a]) for a in (0, 1))
    for (i, (out_y, in_y)), (j, (out_x, in_x)) in itertools.product(enumerate(rows), enumerate(columns)):
        seen = pixels[:, in_y, in_x].reshape(-1, pixels.shape[3])
        to_kernel[:, :, i, j] = gradient[:, out_y, out_x].reshape(-1, gradient.shape[3]).T @ seen
    return to_kernel
