import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import random_picture, two_classes

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import overlay, overlays

pytestmark = pytest.mark.once

PALETTE = np.array([[0, 0, 0], [200, 100, 0]], np.uint8)
RED = [255, 0, 0]


def test_a_tint_by_hand():
    image = np.full((1, 3, 3), 100, np.uint8)
    mixed = overlay(image, np.array([[0, 1, 255]]), PALETTE, "tint")
    # The second color has brightness 0.299 * 200 + 0.587 * 100 = 118.5, and 35 % of its hue are
    # 0.35 * (200 - 118.5, 100 - 118.5, 0 - 118.5). The pale color of ignored pixels counts half.
    assert mixed[0].tolist() == [[100, 100, 100], [129, 94, 59], [170, 170, 170]]
    assert mixed.dtype == np.uint8


def test_a_contour_by_hand():
    classes = np.zeros((5, 6), int)
    classes[1:4, 1:5] = 1
    image = np.full((5, 6, 1), 40, np.uint8)
    lines = (overlay(image, classes, [[0, 0, 0], RED], "contour") == RED).all(-1)
    inner = np.zeros((5, 6), bool)
    inner[2, 2:4] = True
    np.testing.assert_array_equal(lines, (classes == 1) & ~inner)
    assert (overlay(image, classes, [[0, 0, 0], RED], "contour")[~lines] == 40).all()


def test_a_contour_of_a_large_image_is_wider():
    classes = np.zeros((960, 960), np.uint8)
    classes[:, 400:] = 1
    assert overlays.contours(classes)[0].nonzero()[0].tolist() == list(range(397, 403))


def test_a_background_that_is_not_black_is_shown():
    image, classes = np.full((4, 4, 3), 90, np.uint8), np.zeros((4, 4), int)
    assert (overlay(image, classes, [[0, 0, 0], RED]) == image).all()
    assert (overlay(image, classes, [[0, 0, 200], RED])[..., 2] > 90).all()


def test_a_mask_by_hand():
    mixed = overlay(np.full((1, 2, 3), 100, np.uint8), np.array([[0, 1]]), PALETTE, "mask")
    assert mixed[0].tolist() == [[100, 100, 100], [165, 100, 35]]


@settings(max_examples=30, deadline=None)
@given(st.integers(60, 190), st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_the_photo_stays_as_bright_as_it_was(gray, ids):
    image = np.full((2, 2, 3), gray, np.uint8)
    mixed = overlay(image, np.reshape(ids, (2, 2)), style="tint")
    np.testing.assert_allclose(mixed @ overlays.LUMA, gray, atol=8)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("style", overlays.STYLES)
def test_overlay_of_any_channel_count(channels, style):
    image = random_picture(channels=channels)
    before = image.copy()
    assert overlay(image, two_classes(), style=style).shape == (24, 32, 3)
    np.testing.assert_array_equal(image, before)


def test_overlay_of_float_images_and_in_blocks(monkeypatch):
    image = random_picture().astype(np.float32) * 300
    whole = overlay(image, two_classes(), PALETTE)
    assert whole.dtype == np.uint8
    assert len(np.unique(whole)) > 20
    monkeypatch.setattr(overlays, "row_blocks", lambda height, _: (slice(i, i + 1) for i in range(height)))
    np.testing.assert_array_equal(overlay(image, two_classes(), PALETTE), whole)


def test_mistakes_of_an_overlay():
    with pytest.raises(UserError, match=r"\(2, 2\) for \(24, 32\)"):
        overlay(random_picture(), np.zeros((2, 2), int))
    with pytest.raises(UserError, match=r"-1\.\.0"):
        overlay(random_picture(), two_classes() * 0 - np.eye(24, 32, dtype=int))
    with pytest.raises(UserError, match="contour, tint, mask; found 'fill'"):
        overlay(random_picture(), two_classes(), style="fill")
