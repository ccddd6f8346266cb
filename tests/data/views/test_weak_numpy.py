import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.data.views.sampling import WeakGeometry
from rankmatch_keras.data.views.weak_numpy import valid_area, weak_image, weak_mask

RNG = np.random.default_rng(0)
IMAGE = np.kron(RNG.integers(0, 256, (9, 13, 3)), np.ones((4, 4, 1))).astype(np.uint8)  # 36 x 52
MASK = np.kron(RNG.integers(0, 5, (9, 13)), np.ones((4, 4))).astype(np.int32)

CASES = [
    (36, 52, 0, 0, False, (36, 52)),
    (36, 52, 3, 9, True, (20, 24)),
    (18, 26, 0, 0, False, (40, 40)),  # padded below and right
    (18, 26, 0, 5, True, (24, 20)),  # padded below
    (72, 104, 11, 30, False, (33, 47)),
    (57, 83, 20, 0, True, (37, 90)),
    (25, 37, 1, 2, False, (21, 21)),
    (9, 5, 0, 0, True, (10, 7)),  # four times smaller, and ten
    (1, 1, 0, 0, False, (3, 2)),
]


def in_pil(height, width, top, left, flip, crop):
    """The published order of things with PIL: resize, pad right and bottom, crop, flip."""
    bands = [Image.fromarray(IMAGE[..., band].astype(np.float32)) for band in range(3)]
    image = np.stack([np.asarray(band.resize((width, height), Image.BILINEAR)) for band in bands], axis=-1)
    mask = np.asarray(Image.fromarray(MASK.astype(np.uint8)).resize((width, height), Image.NEAREST))
    below, right = max(crop[0] - height, 0), max(crop[1] - width, 0)
    image = np.pad(image, ((0, below), (0, right), (0, 0)))
    mask = np.pad(mask, ((0, below), (0, right)), constant_values=255)
    window = np.s_[top : top + crop[0], left : left + crop[1]]
    image, mask = image[window], mask[window]
    return (image[:, ::-1], mask[:, ::-1]) if flip else (image, mask)


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_pil(case):
    *numbers, crop = case
    image, mask = in_pil(*numbers, crop)
    geometry = WeakGeometry(*numbers)
    # PIL on single float channels: no rounding to whole levels.
    view = weak_image(IMAGE, geometry, crop)
    np.testing.assert_allclose(view, image, atol=1e-3)
    assert view.dtype == np.float32 and view.flags.c_contiguous
    np.testing.assert_array_equal(weak_mask(MASK, geometry, crop), mask)
    np.testing.assert_array_equal(valid_area(geometry, crop), mask != 255)


def test_nothing_changes_at_scale_one():
    np.testing.assert_array_equal(weak_image(IMAGE, WeakGeometry(36, 52, 0, 0, False), (36, 52)), IMAGE)
