"""What windows see of a map, and where most of them is padding."""

import pytest

from rankmatch_keras.backend.plain_layers import overlaps, sees_little

pytestmark = pytest.mark.once


def test_overlaps_by_hand():
    # Three pixels, dilation 2: the first position sees pixel 0 from output 2, the last one pixel 2 from output 0.
    assert overlaps(3, 3, 2) == [
        (slice(2, 3), slice(0, 1)),
        (slice(0, 3), slice(0, 3)),
        (slice(0, 1), slice(2, 3)),
    ]
    for outputs, pixels in overlaps(3, 3, 7)[::2]:
        assert outputs.start == outputs.stop and pixels.start == pixels.stop


def test_the_whole_window_counts():
    # Five pixels, dilation 2, a side: (3 + 5 + 3) / 15 inside.
    assert sees_little((5, 5), (3, 3), (2, 2))  # 0.54
    assert not sees_little((5, 5), (3, 1), (1, 1))  # (4 + 5 + 4) / 15, but not dilated
    assert not sees_little((9, 9), (1, 3), (2, 2))  # (7 + 9 + 7) / 27 = 0.85
