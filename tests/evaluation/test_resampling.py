import importlib.util

import numpy as np
import pytest

from rankmatch_keras.evaluation.resampling import Picture, Taps

pytestmark = pytest.mark.once


def test_positions_by_hand():
    """3 pixels from 6: positions 0.5, 2.5, 4.5. 4 pixels from 2: -0.25 (held at 0), 0.25, 0.75, 1.25 (held at 1)."""
    down = Taps.half_pixel(3, 6)
    assert (down.lower + down.weight).tolist() == [0.5, 2.5, 4.5]
    up = Taps.half_pixel(4, 2)
    assert (up.lower + up.weight).tolist() == [0, 0.25, 0.75, 1]
    assert up.upper.max() == 1
    assert up.blend(np.array([0.0, 8.0]), 0).tolist() == [0, 2, 6, 8]


@pytest.mark.parametrize(("out", "size"), [(5, 13), (13, 5), (1, 4), (4, 1), (7, 7), (100, 3)])
def test_parts_make_the_whole(out, size):
    values = np.random.default_rng(0).random((size, 3)).astype(np.float32)
    taps = Taps.half_pixel(out, size)
    whole = taps.blend(values[slice(*taps.span)], 0)
    for first in range(0, out, 3):
        part = taps.part(first, min(first + 3, out))
        np.testing.assert_array_equal(part.blend(values[slice(*part.span)], 0), whole[first : first + 3])


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
@pytest.mark.parametrize("scale", [0.3, 0.75, 1.6])
def test_same_as_torch(scale):
    import torch

    image = np.random.default_rng(0).random((11, 7, 2)).astype(np.float32)
    picture = Picture(image, scale)
    height, width = picture.size
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image.transpose(2, 0, 1)[None]), size=(height, width), mode="bilinear", align_corners=False
    )
    expected = expected[0].numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(picture.window((0, height), (0, width)), expected, atol=1e-6)
    np.testing.assert_allclose(picture.window((1, 3), (1, 2)), expected[1:3, 1:2], atol=1e-6)


def test_own_size_is_a_view():
    image = np.zeros((4, 5, 3), np.uint8)
    window = Picture(image).window((1, 3), (0, 5))
    assert window.base is image
    assert window.dtype == np.uint8


def test_sizes():
    assert Picture(np.zeros((10, 7, 1)), 0.5).size == (5, 3)
    assert Picture(np.zeros((1, 1, 1)), 0.5).size == (1, 1)
    assert Picture(np.zeros((3, 4, 1)), 1.75).size == (5, 7)
