import numpy as np
import pytest

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import to_display

pytestmark = pytest.mark.once


def test_bytes_are_shown_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 5), dtype=np.uint8)
    np.testing.assert_array_equal(to_display(image), image[..., :3])
    np.testing.assert_array_equal(to_display(image[..., :3]), image[..., :3])
    grey = np.repeat(image[..., :1], 3, axis=-1)
    for one in (image[..., 0], image[..., :1], image[..., :2]):
        np.testing.assert_array_equal(to_display(one), grey)


def test_stretch_by_hand():
    """0..100 once each: the 2nd percentile is 2, the 98th 98; 50 lies in the middle."""
    image = np.arange(101, dtype=np.float32).reshape(1, 101, 1) * 1000
    shown = to_display(image)
    assert shown.dtype == np.uint8
    assert shown.shape == (1, 101, 3)
    assert shown[0, [0, 2, 26, 50, 98, 100], 0].tolist() == [0, 0, 64, 128, 255, 255]
    np.testing.assert_array_equal(to_display(image.astype(np.int32)), shown)


def test_channels_are_stretched_apart():
    """Units may differ from channel to channel."""
    image = np.random.default_rng(0).random((20, 20, 4)).astype(np.float32) * [1, 1000, 1e-6, 1]
    shown = to_display(image)
    assert shown.reshape(-1, 3).min(0).tolist() == [0, 0, 0]
    assert shown.reshape(-1, 3).max(0).tolist() == [255, 255, 255]


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float16, np.float64, bool])
def test_every_dtype(dtype):
    shown = to_display((np.arange(64).reshape(8, 8, 1) % 2).astype(dtype))
    assert set(np.unique(shown)) == {0, 255}


def test_no_contrast_and_no_numbers():
    assert to_display(np.full((3, 3, 3), 7.0)).max() == 0
    image = np.linspace(0, 1, 400).reshape(20, 20, 1)
    image[0, 0], image[0, 1], image[0, 2] = np.nan, np.inf, -np.inf
    shown = to_display(image)
    assert shown[0, :3].max() == 0
    assert shown.max() == 255
    assert to_display(np.full((2, 2, 1), np.nan)).max() == 0


def test_a_large_image_is_sampled():
    image = np.random.default_rng(0).random((1500, 1500), dtype=np.float32)
    shown = to_display(image)[..., 0]
    assert abs(shown.mean() - 127.5) < 2


@pytest.mark.parametrize("shape", [(3,), (0, 3, 3), (2, 3, 0), (1, 2, 3, 3)])
def test_mistakes(shape):
    with pytest.raises(UserError, match=str(shape[0])):
        to_display(np.zeros(shape))
