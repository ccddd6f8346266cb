import numpy as np
import pytest

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import default_palette
from rankmatch_keras.evaluation.palette import IGNORED_COLOUR, _oklab, full_palette

pytestmark = pytest.mark.once


def test_shape_and_first_colour():
    palette = default_palette(256)
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert palette[0].tolist() == [0, 0, 0]
    assert len(np.unique(palette, axis=0)) == 256


def test_a_class_keeps_its_colour():
    np.testing.assert_array_equal(default_palette(21)[:5], default_palette(5))


def test_the_result_may_be_changed():
    default_palette(3)[:] = 7
    assert default_palette(3)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("n", "distance"), [(11, 0.15), (21, 0.1)])
def test_colours_are_far_apart(n, distance):
    """The VOC colour map itself reaches 0.03 over 11 classes."""
    lab = _oklab(default_palette(n))
    gaps = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + np.eye(n)
    assert gaps.min() > distance


def test_oklab_of_known_colours():
    expected = [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.628, 0.225, 0.126]]  # white, black, red as published
    np.testing.assert_allclose(_oklab([[255, 255, 255], [0, 0, 0], [255, 0, 0]]), expected, atol=2e-3)


def test_full_palette():
    colours = full_palette(((1, 2, 3), (4, 5, 6)))
    assert colours.shape == (256, 3)
    assert colours.dtype == np.uint8
    assert colours[:2].tolist() == [[1, 2, 3], [4, 5, 6]]
    np.testing.assert_array_equal(colours[2:255], default_palette(256)[2:255])
    assert tuple(colours[255]) == IGNORED_COLOUR
    np.testing.assert_array_equal(full_palette()[:255], default_palette(255))
    np.testing.assert_array_equal(full_palette(()), full_palette(None))


@pytest.mark.parametrize(
    "palette", [[(0, 0)], [(0, 0, 256)], [(-1, 0, 0)], [(0.5, 0, 0)], [1, 2, 3], np.zeros((257, 3), int)]
)
def test_odd_palettes(palette):
    with pytest.raises(UserError, match="palette"):
        full_palette(palette)
