import numpy as np
import pytest

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import default_palette, to_display
from rankmatch_keras.evaluation.colors import IGNORED_COLOR, _oklab, full_palette

pytestmark = pytest.mark.once


def test_shape_and_first_color():
    palette = default_palette(256)
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert palette[0].tolist() == [0, 0, 0]
    assert len(np.unique(palette, axis=0)) == 256


def test_a_class_keeps_its_color():
    np.testing.assert_array_equal(default_palette(21)[:5], default_palette(5))


def test_the_result_may_be_modified():
    default_palette(3)[:] = 7
    assert default_palette(3)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("n", "distance"), [(11, 0.15), (21, 0.1)])
def test_colors_are_far_apart(n, distance):
    """The VOC color map itself reaches 0.03 over 11 classes."""
    lab = _oklab(default_palette(n))
    gaps = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + np.eye(n)
    assert gaps.min() > distance


def test_oklab_of_known_colors():
    expected = [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.628, 0.225, 0.126]]  # white, black, red as published
    np.testing.assert_allclose(_oklab([[255, 255, 255], [0, 0, 0], [255, 0, 0]]), expected, atol=2e-3)


def test_full_palette():
    colors = full_palette(((1, 2, 3), (4, 5, 6)))
    assert colors.shape == (256, 3)
    assert colors.dtype == np.uint8
    assert colors[:2].tolist() == [[1, 2, 3], [4, 5, 6]]
    np.testing.assert_array_equal(colors[2:255], default_palette(256)[2:255])
    assert tuple(colors[255]) == IGNORED_COLOR
    np.testing.assert_array_equal(full_palette()[:255], default_palette(255))
    np.testing.assert_array_equal(full_palette(()), full_palette(None))


@pytest.mark.parametrize(
    "palette", [[(0, 0)], [(0, 0, 256)], [(-1, 0, 0)], [(0.5, 0, 0)], [1, 2, 3], np.zeros((257, 3), int)]
)
def test_other_palettes_are_refused(palette):
    with pytest.raises(UserError, match="palette"):
        full_palette(palette)


def test_uint8_is_shown_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 5), dtype=np.uint8)
    np.testing.assert_array_equal(to_display(image), image[..., :3])
    np.testing.assert_array_equal(to_display(image[..., :3]), image[..., :3])
    gray = np.repeat(image[..., :1], 3, axis=-1)
    for one in (image[..., 0], image[..., :1], image[..., :2]):
        np.testing.assert_array_equal(to_display(one), gray)


def test_stretch_by_hand():
    """For 0..100 once each, the 2nd percentile is 2, the 98th is 98, and 50 is halfway."""
    image = np.arange(101, dtype=np.float32).reshape(1, 101, 1) * 1000
    shown = to_display(image)
    assert shown.dtype == np.uint8
    assert shown.shape == (1, 101, 3)
    assert shown[0, [0, 2, 26, 50, 98, 100], 0].tolist() == [0, 0, 64, 128, 255, 255]
    np.testing.assert_array_equal(to_display(image.astype(np.int32)), shown)


def test_channels_are_stretched_separately():
    """Units may differ from channel to channel."""
    image = np.random.default_rng(0).random((20, 20, 4)).astype(np.float32) * [1, 1000, 1e-6, 1]
    shown = to_display(image)
    assert shown.reshape(-1, 3).min(0).tolist() == [0, 0, 0]
    assert shown.reshape(-1, 3).max(0).tolist() == [255, 255, 255]


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float16, np.float64, bool])
def test_every_dtype(dtype):
    shown = to_display((np.arange(64).reshape(8, 8, 1) % 2).astype(dtype))
    assert set(np.unique(shown)) == {0, 255}


def test_constant_channels_and_nan():
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
