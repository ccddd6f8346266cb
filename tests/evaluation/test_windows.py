import numpy as np
import pytest

from rankmatch_keras.data.protocol import Protocol
from rankmatch_keras.evaluation.windows import row_blocks, scored_part, stride_of, window_spans

pytestmark = pytest.mark.once


def test_cityscapes_by_hand():
    """Crop 801, stride 534: on 2048 x 1024 the last windows are cut to 446 columns and 490 rows."""
    assert window_spans(2048, 801) == [(0, 801), (534, 1335), (1068, 1869), (1602, 2048)]
    assert window_spans(1024, 801) == [(0, 801), (534, 1024)]
    assert window_spans(2048, 801, "shift") == [(0, 801), (534, 1335), (1068, 1869), (1247, 2048)]
    assert window_spans(1024, 801, "shift") == [(0, 801), (223, 1024)]


def test_stride_is_two_thirds_rounded_down():
    assert [stride_of(side) for side in (1, 2, 3, 4, 5, 321, 513, 769, 801)] == [1, 1, 2, 2, 3, 214, 342, 512, 534]


def test_several_cut_windows_at_the_end():
    """Start 6 is below the size 7 too, as in the published loop."""
    assert window_spans(7, 3) == [(0, 3), (2, 5), (4, 7), (6, 7)]
    assert window_spans(7, 3, "shift") == [(0, 3), (2, 5), (4, 7)]


@pytest.mark.parametrize("border", ["clip", "shift"])
def test_small_axes_are_one_window(border):
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
