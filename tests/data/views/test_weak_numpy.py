import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.data.views.weak_numpy import WeakGeometry, draw_geometry, valid_area, weak_image, weak_mask

RNG = np.random.default_rng(0)
IMAGE = np.kron(RNG.integers(0, 256, (9, 13, 3)), np.ones((4, 4, 1))).astype(np.uint8)  # 36 x 52
MASK = np.kron(RNG.integers(0, 5, (9, 13)), np.ones((4, 4))).astype(np.int32)
BANDS = RNG.uniform(100, 4000, (37, 23, 6)).astype(np.float32)

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


def twin(height, width, top, left, flip, crop):
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
    image, mask = twin(*numbers, crop)
    drawn = WeakGeometry(*numbers)
    # PIL on single float channels: no rounding to whole levels.
    view = weak_image(IMAGE, drawn, crop)
    np.testing.assert_allclose(view, image, atol=1e-3)
    assert view.dtype == np.float32 and view.flags.c_contiguous
    np.testing.assert_array_equal(weak_mask(MASK, drawn, crop), mask)
    np.testing.assert_array_equal(valid_area(drawn, crop), mask != 255)


def tf_twin(image, numbers, crop):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("keras_cv")
    from rankmatch_keras.data.views import weak_tensorflow as weak

    drawn = weak.WeakGeometry(*(tf.constant(number) for number in numbers))
    views = weak.weak_image(tf.constant(image), drawn, crop), weak.weak_mask(tf.constant(MASK), drawn, crop)
    return *(view.numpy() for view in views), weak.valid_area(drawn, crop).numpy()


@pytest.mark.parametrize("case", CASES)
def test_same_pixels_as_tf_data(case):
    *numbers, crop = case
    image, mask, valid = tf_twin(IMAGE, numbers, crop)
    drawn = WeakGeometry(*numbers)
    np.testing.assert_allclose(weak_image(IMAGE, drawn, crop), image, atol=1e-3)
    np.testing.assert_array_equal(weak_mask(MASK, drawn, crop), mask)
    np.testing.assert_array_equal(valid_area(drawn, crop), valid)


@pytest.mark.parametrize("numbers, crop", [((50, 31, 7, 2, True), (30, 40)), ((20, 12, 0, 0, False), (24, 10))])
def test_same_pixels_as_tf_data_for_other_images(numbers, crop):
    view = weak_image(BANDS, WeakGeometry(*numbers), crop)
    np.testing.assert_allclose(view, tf_twin(BANDS, numbers, crop)[0], rtol=1e-5, atol=0.02)


@pytest.mark.parametrize("height, tolerance", [(200, 1e-3), (800, 1e-3), (563, 0.02)])
def test_same_pixels_as_tf_data_of_large_images(height, tolerance):
    # TensorFlow reckons places in float32: beyond 256 pixels they are 3e-5 off, which times 255 levels between
    # neighbours is 0.008 a tap. Where old / new is a power of two nothing is rounded.
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 1), dtype=np.uint8)
    numbers = (height, height, height - 150, height - 90, False)
    view = weak_image(noise, WeakGeometry(*numbers), (120, 60))
    np.testing.assert_allclose(view, tf_twin(noise, numbers, (120, 60))[0], atol=tolerance)


def test_nothing_changes_at_scale_one():
    np.testing.assert_array_equal(weak_image(IMAGE, WeakGeometry(36, 52, 0, 0, False), (36, 52)), IMAGE)


def test_drawn_geometry_covers_its_ranges():
    drawn = [draw_geometry(np.random.default_rng(n), (40, 80), (30, 100)) for n in range(400)]
    height, width, top, left, flip = np.array(drawn).T
    assert width.min() < 45 and width.max() > 155 and 40 <= width.min() and width.max() <= 160
    assert abs(width.mean() - 100) < 6  # uniform in 40..160; standard error 1.75
    np.testing.assert_array_equal(height, np.floor(40 * width / 80 + 0.5))  # the ratio is kept
    assert (top <= np.maximum(height - 30, 0)).all() and (left <= np.maximum(width - 100, 0)).all()
    assert top.max() > 40 and left.max() > 45
    assert 150 < flip.sum() < 250


@pytest.mark.parametrize("size, scale", [((40, 80), (0.5, 2.0)), ((61, 33), (1.0, 1.0)), ((3, 2), (0.1, 0.2))])
def test_geometry_has_the_distribution_of_tf_data(size, scale):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("keras_cv")
    from scipy.stats import ks_2samp

    from rankmatch_keras.data.views import seeds_tensorflow as seeds
    from rankmatch_keras.data.views import weak_tensorflow as weak

    def draw(n):
        return tuple(weak.draw_geometry(seeds.fold((0, 1), n), tf.constant(size), (30, 50), scale))

    theirs = np.stack([np.array(g) for g in tf.data.Dataset.range(1500).map(draw).as_numpy_iterator()])
    ours = np.array([draw_geometry(np.random.default_rng(n), size, (30, 50), scale) for n in range(1500)])
    for column in range(5):
        assert ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3
        assert ours[:, column].min() == pytest.approx(theirs[:, column].min(), abs=2)
        assert ours[:, column].max() == pytest.approx(theirs[:, column].max(), abs=2)
    # Where the crop lies within what it can: not only each number alone.
    for place, side, crop in ((2, 0, 30), (3, 1, 50)):
        shares = [d[:, place] / np.maximum(d[:, side] - crop, 1) for d in (ours, theirs)]
        assert ks_2samp(*shares).pvalue > 1e-3
