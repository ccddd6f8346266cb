"""Masks whose names are not those of their images."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmatch_keras.data.readers.mask_names import AROUND_IMAGES, AROUND_MASKS, masks_of
from rankmatch_keras.errors import UserError

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("img_001", "mask_001"),
        ("a", "a_mask"),
        ("a", "a_Mask"),
        ("day 1/a", "day 1/a-gt"),
        ("0001TP_006690", "0001TP_006690_L"),
        ("bonn_000_leftImg8bit", "bonn_000_gtFine_labelIds"),
        ("a_image", "a_segmentation"),
    ],
)
def test_usual_names(image, mask):
    assert masks_of([image, "other"], [mask, "leftover"]) == {image: mask}


def test_equal_names_come_first_and_are_not_mixed_with_others():
    assert masks_of(["a", "b"], ["a", "a_mask", "b_mask"]) == {"a": "a"}
    assert masks_of(["a", "a_mask"], ["a", "a_mask"], apart=False) == {"a": "a_mask"}


def test_the_names_that_serve_most_images_are_taken():
    assert masks_of(["a", "b"], ["a_gt", "a_mask", "b_mask"]) == {"a": "a_mask", "b": "b_mask"}
    with pytest.raises(UserError, match="'a_mask' and 'a_gt' for 'a'.*--mask-suffix"):
        masks_of(["a"], ["a_gt", "a_mask"])


def test_a_suffix_is_taken_by_its_letters():
    assert masks_of(["a", "b"], ["a", "b", "a_mask", "a_roads", "b_Roads"], "_roads") == {"a": "a_roads"}
    assert masks_of(["a"], ["b_mask", "c"]) == masks_of([], []) == {}


@given(
    st.lists(st.text("abc_-1", min_size=1, max_size=6), unique=True, min_size=1),
    st.sampled_from(AROUND_IMAGES),
    st.sampled_from(AROUND_MASKS),
)
def test_every_pair_is_found_or_said_to_be_in_doubt(shared, around_image, around_mask):
    pairs = {f"{around_image[0]}{part}{around_image[1]}": f"{around_mask[0]}{part}{around_mask[1]}" for part in shared}
    try:
        found = masks_of(pairs, pairs.values(), apart=not pairs.keys() & {*pairs.values()})
    except UserError:
        return  # such as "a_mask" and "a_mask_mask"
    assert len(found) == len(pairs)
