import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from rankmatch_keras.data.views.seeds_tensorflow import fold
from rankmatch_keras.data.views.weak_tensorflow import WeakGeometry, draw_geometry, valid_area, weak_image, weak_mask

RNG = np.random.default_rng(0)
IMAGE = np.kron(RNG.integers(0, 256, (9, 13, 3)), np.ones((4, 4, 1))).astype(np.uint8)  # 36 x 52
MASK = np.kron(RNG.integers(0, 5, (9, 13)), np.ones((4, 4))).astype(np.int32)


def geometry(height, width, top=0, left=0, flip=False):
    return WeakGeometry(*(tf.constant(v) for v in (height, width, top, left)), tf.constant(flip))


def twin(height, width, top, left, flip, crop):
    """The published order of things with PIL: resize, pad right and bottom, crop, flip."""
    image = np.asarray(Image.fromarray(IMAGE).resize((width, height), Image.BILINEAR))
    mask = np.asarray(Image.fromarray(MASK.astype(np.uint8)).resize((width, height), Image.NEAREST))
    below, right = max(crop[0] - height, 0), max(crop[1] - width, 0)
    image = np.pad(image, ((0, below), (0, right), (0, 0)))
    mask = np.pad(mask, ((0, below), (0, right)), constant_values=255)
    window = np.s_[top : top + crop[0], left : left + crop[1]]
    image, mask = image[window], mask[window]
    return (image[:, ::-1], mask[:, ::-1]) if flip else (image, mask)


CASES = [
    (36, 52, 0, 0, False, (36, 52)),
    (36, 52, 3, 9, True, (20, 24)),
    (18, 26, 0, 0, False, (40, 40)),  # padded below and right
    (18, 26, 0, 5, True, (24, 20)),  # padded below
    (72, 104, 11, 30, False, (33, 47)),
    (57, 83, 20, 0, True, (37, 90)),
    (25, 37, 1, 2, False, (21, 21)),
]


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_pil(case):
    *numbers, crop = case
    image, mask = twin(*numbers, crop)
    drawn = geometry(*numbers)
    # PIL rounds to whole levels after each of its two passes.
    np.testing.assert_allclose(weak_image(tf.constant(IMAGE), drawn, crop), image, atol=1.01)
    np.testing.assert_array_equal(weak_mask(tf.constant(MASK), drawn, crop), mask)
    valid = valid_area(drawn, crop).numpy()
    np.testing.assert_array_equal(valid, mask != 255)
    assert valid.dtype == bool


def test_nothing_changes_at_scale_one():
    view = weak_image(tf.constant(IMAGE), geometry(36, 52), (36, 52))
    assert view.dtype == tf.float32
    np.testing.assert_allclose(view, IMAGE, atol=1e-4)


def test_drawn_geometry_covers_its_ranges():
    size, crop = tf.constant([40, 80]), (30, 100)
    drawn = [[int(v) for v in draw_geometry(fold((0, 1), n), size, crop)] for n in range(400)]
    height, width, top, left, flip = np.array(drawn).T
    assert width.min() < 45 and width.max() > 155 and 40 <= width.min() and width.max() <= 160
    assert abs(width.mean() - 100) < 6  # uniform in 40..160; standard error 1.75
    np.testing.assert_array_equal(height, np.floor(40 * width / 80 + 0.5))  # the ratio is kept
    assert (top <= np.maximum(height - 30, 0)).all() and (left <= np.maximum(width - 100, 0)).all()
    assert top.max() > 40 and left.max() > 45
    assert 150 < flip.sum() < 250


def test_same_seed_same_view_eagerly_and_in_map():
    def view(n):
        drawn = draw_geometry(fold((7, 1), n), tf.shape(IMAGE)[:2], (24, 28))
        return weak_image(tf.constant(IMAGE), drawn, (24, 28)), weak_mask(tf.constant(MASK), drawn, (24, 28))

    mapped = tf.data.Dataset.range(6).map(view, num_parallel_calls=2)
    assert mapped.element_spec[0].shape == (24, 28, 3) and mapped.element_spec[1].shape == (24, 28)
    views = list(mapped)
    for n, (image, mask) in enumerate(views):
        eager_image, eager_mask = view(tf.constant(n, tf.int64))
        np.testing.assert_allclose(image, eager_image, atol=1e-3)
        np.testing.assert_array_equal(mask, eager_mask)
    assert abs(views[0][0] - views[1][0]).numpy().mean() > 1
