import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers import gather_agents
from rankmatch_keras.layers.pixels import (
    class_maps,
    flatten_pixels,
    masked_mean,
    on_grid,
    pixel_rows,
    sample_at,
    unit_length,
)


def test_gather_agents_takes_row_major_pixels():
    features = np.arange(2 * 2 * 3 * 1, dtype="float32").reshape(2, 2, 3, 1)
    agents = gather_agents(ops.convert_to_tensor(features), ops.convert_to_tensor([[5, 0], [1, 1]]))
    assert ops.convert_to_numpy(agents)[..., 0].tolist() == [[5.0, 0.0], [7.0, 7.0]]


def test_the_grid_is_sampled_at_its_positions():
    values = np.arange(33 * 17).reshape(1, 33, 17)
    found = ops.convert_to_numpy(on_grid(values, (3, 2)))
    assert found.tolist() == [[[0, 16], [16 * 17, 16 * 17 + 16], [32 * 17, 32 * 17 + 16]]]


def test_rows_and_lists_hold_the_same_pixels():
    maps = np.arange(24, dtype="float32").reshape(2, 2, 2, 3)
    rows = ops.convert_to_numpy(pixel_rows(maps))
    np.testing.assert_array_equal(rows, ops.convert_to_numpy(flatten_pixels(maps)).reshape(8, 3))
    np.testing.assert_array_equal(ops.convert_to_numpy(pixel_rows(maps[..., 0])), rows[:, 0])


def test_unit_length_by_hand_and_near_zero(value_and_gradient):
    vectors = np.float32([[3.0, 4.0], [0.0, 0.0], [3e-7, 4e-7]])
    expected = [[0.6, 0.8], [0.0, 0.0], [0.3, 0.4]]  # the last one is divided by 1e-6
    np.testing.assert_allclose(ops.convert_to_numpy(unit_length(ops.convert_to_tensor(vectors))), expected, rtol=1e-6)
    _, gradient = value_and_gradient(lambda x: ops.sum(unit_length(x)), vectors)
    assert np.isfinite(gradient).all()


def test_class_maps_leave_out_padding_and_other_values():
    label, valid = np.int32([[[0, 1, 255, 1]]]), np.array([[[True, True, True, False]]])
    maps = ops.convert_to_numpy(class_maps(label, 2, valid))
    assert maps.tolist() == [[[[True, False], [False, True], [False, False], [False, False]]]]
    assert ops.convert_to_numpy(class_maps(label, 2))[0, 0, 3].tolist() == [False, True]


@pytest.mark.parametrize(
    ("mask", "expected"),
    [(None, 2.5), ([[True, False], [True, False]], 2.0), ([[0.5, 0.0], [1.5, 0.0]], 2.5), ([[False] * 2] * 2, 0.0)],
)
def test_masked_mean_by_hand(mask, expected):
    values = np.float32([[1.0, 2.0], [3.0, 4.0]])
    mean = masked_mean(ops.convert_to_tensor(values), None if mask is None else np.array(mask))
    assert float(mean) == pytest.approx(expected) and keras.backend.standardize_dtype(mean.dtype) == "float32"


@pytest.mark.parametrize(("size", "grid", "rows"), [(33, 9, range(0, 33, 4)), (33, 3, [0, 16, 32]), (10, 1, [0])])
def test_the_corners_of_the_grid_are_the_images(size, grid, rows):
    values = np.arange(size * size).reshape(1, size, size)
    expected = values[:, list(rows)][:, :, list(rows)]
    np.testing.assert_array_equal(ops.convert_to_numpy(on_grid(values, (grid, grid))), expected)
    found = ops.convert_to_numpy(on_grid(values[..., None] > 3, (grid, grid)))
    np.testing.assert_array_equal(found[..., 0], expected > 3)


@pytest.mark.parametrize("shape", [(2, 5, 4, 3), (1, 1, 2, 1)])
def test_maps_are_interpolated_at_crossings(shape):
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape).astype("float32")
    rows = rng.uniform(-1, shape[1], (shape[0], 6)).astype("float32")
    columns = rng.uniform(-1, shape[2], (shape[0], 7)).astype("float32")
    found = ops.convert_to_numpy(sample_at(values, rows, columns))
    assert found.shape == (shape[0], 6, 7, shape[3])
    for b in range(shape[0]):
        for i, y in enumerate(np.clip(rows[b], 0, shape[1] - 1)):
            for j, x in enumerate(np.clip(columns[b], 0, shape[2] - 1)):
                y0, x0 = int(y), int(x)
                y1, x1 = min(y0 + 1, shape[1] - 1), min(x0 + 1, shape[2] - 1)
                top, bottom = ((1 - x + x0) * values[b, r, x0] + (x - x0) * values[b, r, x1] for r in (y0, y1))
                np.testing.assert_allclose(found[b, i, j], (1 - y + y0) * top + (y - y0) * bottom, atol=1e-5)
