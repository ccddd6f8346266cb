import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers import box_mask, mix

BOXES = np.array([[2, 3, 7, 5], [0, 0, 9, 6], [4, 4, 4, 4]], dtype="int32")  # some, all, none of a 9x6 image


def resize_twin(x, size):
    """Bilinear resizing of `(H, W)` with aligned corners, in float64."""

    def weights(count, length):
        positions = np.arange(count) * (length - 1) / (count - 1)
        return np.maximum(0.0, 1.0 - np.abs(positions[:, None] - np.arange(length)))

    return weights(size[0], x.shape[0]) @ x @ weights(size[1], x.shape[1]).T


def test_mask_is_the_slice():
    expected = np.zeros((3, 9, 6), dtype=bool)
    for image, (y0, x0, y1, x1) in zip(expected, BOXES, strict=True):
        image[y0:y1, x0:x1] = True
    mask = ops.convert_to_numpy(box_mask(BOXES, (9, 6)))
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, expected)


def test_grid_of_the_images_size_is_the_image():
    np.testing.assert_array_equal(
        ops.convert_to_numpy(box_mask(BOXES, (9, 6), (9, 6))), ops.convert_to_numpy(box_mask(BOXES, (9, 6)))
    )


def test_grid_positions_by_hand():
    # A 3x2 grid on 9x6 pixels sits at rows 0, 4, 8 and columns 0, 5. Box rows 4..7 hold row 4, columns 3..5 column 5.
    mask = ops.convert_to_numpy(box_mask([[4, 3, 8, 6], [0, 0, 5, 5]], (9, 6), (3, 2)))
    assert mask.astype(int).tolist() == [[[0, 0], [0, 1], [0, 0]], [[1, 0], [1, 0], [0, 0]]]


def test_grid_of_one_pixel_sits_at_the_corner():
    mask = ops.convert_to_numpy(box_mask([[0, 0, 3, 3], [1, 0, 3, 3]], (9, 6), (1, 1)))
    assert mask[:, 0, 0].tolist() == [True, False]


@pytest.mark.parametrize("shape", [(3, 9, 6), (3, 9, 6, 2)])
@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_mix_pastes_slices(shape, dtype):
    rng = np.random.default_rng(0)
    target, source = (rng.integers(0, 2 if dtype == "bool" else 99, shape).astype(dtype) for _ in range(2))
    expected = target.copy()
    for b, (y0, x0, y1, x1) in enumerate(BOXES):
        expected[b, y0:y1, x0:x1] = source[b, y0:y1, x0:x1]
    mixed = ops.convert_to_numpy(
        mix(ops.convert_to_tensor(target), ops.convert_to_tensor(source), box_mask(BOXES, (9, 6)))
    )
    assert mixed.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(mixed, expected)


@pytest.mark.parametrize(("size", "grid"), [(321, 21), (513, 33), (801, 51)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mixing_on_the_grid_equals_mixing_at_image_size(size, grid, seed):
    rng = np.random.default_rng(seed)
    (y0, y1), (x0, x1) = np.sort(rng.integers(0, size + 1, (2, 2)), axis=1)
    # Also boxes that begin and end exactly on grid points, where off-by-one would show.
    y0, y1 = (y0 // 16 * 16, y1 // 16 * 16 + 1) if seed == 1 else (y0, y1)
    target, source = rng.normal(size=(2, grid, grid))
    large = resize_twin(target, (size, size))
    large[y0:y1, x0:x1] = resize_twin(source, (size, size))[y0:y1, x0:x1]
    expected = resize_twin(large, (grid, grid))

    mask = box_mask([[y0, x0, y1, x1]], (size, size), (grid, grid))
    mixed = ops.convert_to_numpy(mix(ops.convert_to_tensor(target[None]), ops.convert_to_tensor(source[None]), mask))[0]
    np.testing.assert_array_equal(mixed, expected.astype(mixed.dtype))


def test_compiled(compiled):
    mask = compiled(lambda boxes: box_mask(boxes, (9, 6), (3, 2)))(ops.convert_to_tensor(BOXES))
    np.testing.assert_array_equal(ops.convert_to_numpy(mask), ops.convert_to_numpy(box_mask(BOXES, (9, 6), (3, 2))))
