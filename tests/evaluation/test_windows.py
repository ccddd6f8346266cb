import importlib.util

import numpy as np
import pytest

from rankmatch_keras.data.sets.protocol import Protocol
from rankmatch_keras.evaluation.windows import (
    OneWindow,
    Resized,
    ScaledImage,
    Sweep,
    Taps,
    row_blocks,
    scored_part,
    stride_of,
    window_spans,
)

pytestmark = pytest.mark.once


def test_cityscapes_by_hand():
    """Crop 801, stride 534: on 2048 x 1024 the last windows are cut to 446 columns and 490 rows."""
    assert window_spans(2048, 801) == [(0, 801), (534, 1335), (1068, 1869), (1602, 2048)]
    assert window_spans(1024, 801) == [(0, 801), (534, 1024)]
    assert window_spans(2048, 801, "shift") == [(0, 801), (534, 1335), (1068, 1869), (1247, 2048)]
    assert window_spans(1024, 801, "shift") == [(0, 801), (223, 1024)]


def test_stride_is_two_thirds_rounded_down():
    assert [stride_of(side) for side in (1, 2, 3, 4, 5, 321, 513, 769, 801)] == [1, 1, 2, 2, 3, 214, 342, 512, 534]


def test_clip_may_cut_several_windows():
    """Start 6 is below the size 7 too, as in the published loop over windows."""
    assert window_spans(7, 3) == [(0, 3), (2, 5), (4, 7), (6, 7)]
    assert window_spans(7, 3, "shift") == [(0, 3), (2, 5), (4, 7)]


@pytest.mark.parametrize("border", ["clip", "shift"])
def test_an_axis_that_fits_is_one_window(border):
    assert window_spans(5, 5, border) == window_spans(5, 9, border) == window_spans(5, None, border) == [(0, 5)]
    assert window_spans(1, 4, border) == [(0, 1)]


@pytest.mark.parametrize("border", ["clip", "shift"])
def test_every_size_is_covered(border):
    for side in range(1, 8):
        for size in range(1, 30):
            spans = window_spans(size, side, border)
            touched = np.zeros(size, int)
            for start, stop in spans:
                assert 0 <= start < stop <= size
                assert stop - start <= side
                touched[start:stop] += 1
            assert touched.min() >= 1
            assert spans == sorted(set(spans))
            if border == "shift":
                assert {stop - start for start, stop in spans} == {min(side, size)}


def test_scored_part():
    array = np.arange(5 * 7).reshape(5, 7)
    assert scored_part(array, Protocol("center_crop", 3)).tolist() == [[9, 10, 11], [16, 17, 18], [23, 24, 25]]
    assert scored_part(array, Protocol("center_crop", 6)).tolist() == array[:, :6].tolist(), "all rows, 6 columns"
    assert scored_part(array, Protocol("center_crop", 9)).shape == (5, 7)
    assert scored_part(array[..., None], Protocol("center_crop", 2)).shape == (2, 2, 1)
    assert scored_part(array, Protocol()) is array
    assert scored_part(array, Protocol("sliding_window", 3)) is array


def test_row_blocks():
    assert list(row_blocks(5, 10, 20)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(row_blocks(2, 100, 20)) == [slice(0, 1), slice(1, 2)]
    assert list(row_blocks(3, 0)) == [slice(0, 3)]


def test_positions_by_hand():
    """3 pixels from 6: 0.5, 2.5, 4.5. 4 pixels from 2: -0.25 (clamped to 0), 0.25, 0.75, 1.25 (clamped to 1)."""
    down = Taps.half_pixel(3, 6)
    assert (down.lower + down.weight).tolist() == [0.5, 2.5, 4.5]
    up = Taps.half_pixel(4, 2)
    assert (up.lower + up.weight).tolist() == [0, 0.25, 0.75, 1]
    assert up.upper.max() == 1
    assert up.blend(np.array([0.0, 8.0]), 0).tolist() == [0, 2, 6, 8]


@pytest.mark.parametrize(("out", "size"), [(5, 13), (13, 5), (1, 4), (4, 1), (7, 7), (100, 3)])
def test_parts_equal_the_whole(out, size):
    values = np.random.default_rng(0).random((size, 3)).astype(np.float32)
    taps = Taps.half_pixel(out, size)
    whole = taps.blend(values[slice(*taps.span)], 0)
    for first in range(0, out, 3):
        part = taps.part(first, min(first + 3, out))
        np.testing.assert_array_equal(part.blend(values[slice(*part.span)], 0), whole[first : first + 3])


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
@pytest.mark.parametrize("scale", [0.3, 0.75, 1.6])
def test_resizing_equals_torch(scale):
    import torch

    image = np.random.default_rng(0).random((11, 7, 2)).astype(np.float32)
    scaled = ScaledImage(image, scale)
    height, width = scaled.size
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image.transpose(2, 0, 1)[None]), size=(height, width), mode="bilinear", align_corners=False
    )
    expected = expected[0].numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(scaled.window((0, height), (0, width)), expected, atol=1e-6)
    np.testing.assert_allclose(scaled.window((1, 3), (1, 2)), expected[1:3, 1:2], atol=1e-6)


def test_an_unscaled_window_is_a_view():
    image = np.zeros((4, 5, 3), np.uint8)
    window = ScaledImage(image).window((1, 3), (0, 5))
    assert window.base is image
    assert window.dtype == np.uint8


def test_sizes():
    assert ScaledImage(np.zeros((10, 7, 1)), 0.5).size == (5, 3)
    assert ScaledImage(np.zeros((1, 1, 1)), 0.5).size == (1, 1)
    assert ScaledImage(np.zeros((3, 4, 1)), 1.75).size == (5, 7)


def count_windows(images):
    """Predict one class of "probability" 1, so that sums count the windows over each pixel."""
    return np.ones((*images.shape[:3], 1), np.float32)


def test_overlaps_by_hand():
    sweep = Sweep(count_windows, ScaledImage(np.zeros((4, 5, 1))), (0, 5), side=3)
    # Stride 2: rows 0-2, 2-3; columns 0-2, 2-4, 4.
    rows, columns = np.array([1, 1, 2, 1]), np.array([1, 1, 2, 1, 2])
    np.testing.assert_array_equal(sweep.rows(0, 4)[..., 0], rows[:, None] * columns)


def test_mirrored_windows_start_at_the_right():
    sweep = Sweep(count_windows, ScaledImage(np.zeros((1, 6, 1))), (0, 6), side=3, flip=True)
    # Columns 0-2, 2-4, 4-5, and the same counted from the right.
    once = np.array([1, 1, 2, 1, 2, 1])
    np.testing.assert_array_equal(sweep.rows(0, 1)[0, :, 0], once + once[::-1])


def test_rows_are_computed_on_demand_and_dropped():
    calls = []

    def predict(images):
        calls.append(images.shape)
        return count_windows(images)

    sweep = Sweep(predict, ScaledImage(np.zeros((90, 4, 1))), (0, 4), side=9)
    most = 0
    for first in range(0, 90, 3):
        assert sweep.rows(first, first + 3).shape == (3, 4, 1)
        most = max(most, len(sweep._lines))
        assert len(calls) == min(first // 6 + 1, 15), "one window per 6 rows"
    assert most <= 9


def test_skipped_rows():
    """Rows of an enlarged image are read with gaps."""
    whole = Sweep(count_windows, ScaledImage(np.zeros((40, 3, 1))), (0, 3), side=5).rows(0, 40)
    sweep = Sweep(count_windows, ScaledImage(np.zeros((40, 3, 1))), (0, 3), side=5)
    for first in (0, 9, 17, 30, 38):
        np.testing.assert_array_equal(sweep.rows(first, first + 2), whole[first : first + 2])


@pytest.mark.parametrize("columns", [(0, 4), (3, 9), (9, 11), (10, 11)])
def test_strips_equal_the_whole(columns):
    image = np.random.default_rng(0).random((7, 11, 1)).astype(np.float32)

    def predict(images):
        return images * np.arange(1, images.shape[2] + 1, dtype=np.float32)[:, None]

    def make(columns):
        return Sweep(predict, ScaledImage(image), columns, side=4, flip=True, window_batch=2)

    np.testing.assert_allclose(make(columns).rows(0, 7), make((0, 11)).rows(0, 7)[:, slice(*columns)], rtol=1e-6)


def test_a_batch_holds_windows_of_one_size():
    shapes = []

    def predict(images):
        shapes.append(images.shape[:3])
        return count_windows(images)

    Sweep(predict, ScaledImage(np.zeros((3, 14, 1))), (0, 14), side=3, flip=True, window_batch=4).rows(0, 3)
    # 7 windows each way: 6 of width 3, 1 of width 2.
    assert shapes == [(4, 3, 3), (4, 3, 3), (4, 3, 3), (2, 3, 2)]


def test_one_window_equals_a_sweep_of_one():
    image = np.random.default_rng(0).random((5, 8, 2)).astype(np.float32)
    for scale in (1.0, 0.6):
        scaled = ScaledImage(image, scale)
        one, sweep = (kind(lambda images: images * 3, scaled, (1, 4)) for kind in (OneWindow, Sweep))
        np.testing.assert_array_equal(one.rows(0, 2), sweep.rows(0, 2))
        np.testing.assert_array_equal(one.rows(1, 3), sweep.rows(1, 3))


def test_resized_rows():
    """Two rows from four of value 1: bilinear weights sum to 1."""
    ones = ScaledImage(np.ones((2, 3, 1), np.float32), 2.0)
    resized = Resized(lambda columns: Sweep(count_windows, ones, columns), (2, 3), ones.size, (1, 3))
    np.testing.assert_allclose(resized.rows(0, 1), np.ones((1, 2, 1)))
    np.testing.assert_allclose(resized.rows(1, 2), np.ones((1, 2, 1)))
