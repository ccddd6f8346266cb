import numpy as np
import pytest

from rankmatch_keras.evaluation import default_palette
from rankmatch_keras.evaluation.palette import _oklab


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
