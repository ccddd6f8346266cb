"""The dilated convolution with its own kernel gradient equals PyTorch's."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the kernels are PyTorch's", allow_module_level=True)

import torch
from torch.nn import functional

from rankmatch_keras.backend.torch import convolution


def tensor(*shape, seed=0):
    value = torch.tensor(np.random.default_rng(seed).normal(size=shape).astype("float32"))
    return value.to(memory_format=torch.channels_last).requires_grad_(True)


# Windows within the map, over its edges, and larger than the map; even and uneven sides.
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3), (5, 4), (6, 6), (18, 7)])
@pytest.mark.parametrize("taps", [(3, 3), (5, 1)])
def test_outputs_and_gradients_are_pytorchs(dilation, taps):
    images, kernel = tensor(2, 6, 7, 9), tensor(4, 6, *taps, seed=1)
    padding = tuple(d * (t // 2) for d, t in zip(dilation, taps, strict=True))
    weight = tensor(2, 4, 7, 9, seed=2).detach()
    expected = functional.conv2d(images, kernel, None, 1, padding, dilation)
    found = convolution.DilatedConvolution.apply(images, kernel, padding, dilation)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    for one, other in zip(
        torch.autograd.grad(found, (images, kernel), weight),
        torch.autograd.grad(expected, (images, kernel), weight),
        strict=True,
    ):
        assert one.stride() == other.stride()
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-5)


def test_frozen_kernels_and_images_get_no_gradient():
    images, kernel = tensor(1, 2, 5, 5), tensor(3, 2, 3, 3).detach()
    convolution.DilatedConvolution.apply(images, kernel, (4, 4), (4, 4)).sum().backward()
    assert images.grad is not None
    images, kernel = images.detach(), kernel.requires_grad_(True)
    convolution.DilatedConvolution.apply(images, kernel, (4, 4), (4, 4)).sum().backward()
    assert kernel.grad is not None and images.grad is None


@pytest.mark.parametrize(
    ("size", "dilation", "expected"),
    # ASPP at crop 321: ((21 + 2 * 15) / 63)^2 is 0.66. The last stage of ResNet: ((21 + 2 * 19) / 63)^2, 0.88.
    [(21, 18, True), (21, 12, True), (21, 6, True), (21, 2, False), (161, 18, False), (81, 1, False)],
)
def test_chosen_where_windows_reach_far_into_the_padding(size, dilation, expected):
    images, kernel = torch.empty(1, 2, size, size), torch.empty(3, 2, 3, 3)
    settings = {"strides": (1, 1), "padding": (dilation, dilation), "dilation": (dilation, dilation)}
    assert convolution._sees_little(images, kernel, **settings) == expected
    assert not convolution._sees_little(images, kernel, **{**settings, "strides": (2, 2)})
    assert not convolution._sees_little(images, kernel, **{**settings, "padding": (0, 0)})
    assert not convolution._sees_little(images.to("meta"), kernel, **settings)
