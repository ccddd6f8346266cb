import numpy as np
import pytest

from rankmatch_keras.data import from_arrays
from rankmatch_keras.data.readers.sources import Array
from rankmatch_keras.data.sets.samples import SegmentationData
from rankmatch_keras.errors import UserError

GRAY = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)
MASKS = (GRAY % 3).astype(np.uint8)


def test_gray_arrays_are_not_copied():
    data = from_arrays(GRAY, MASKS)
    assert [sample.name for sample in data.train] == ["train/0000", "train/0001"]
    assert data.class_names == ("class 0", "class 1", "class 2")
    sample = data.train[1]
    assert isinstance(sample.image, Array) and str(sample.image) == "images[1]" and str(sample.mask) == "masks[1]"
    assert sample.read_image().shape == (4, 5, 1) and sample.read_image().dtype == np.uint8
    np.testing.assert_array_equal(sample.read_image()[..., 0], GRAY[1])
    assert np.shares_memory(sample.image.values, GRAY) and np.shares_memory(sample.mask.values, MASKS)
    assert sample.read_mask().dtype == np.int32
    np.testing.assert_array_equal(sample.read_mask(), MASKS[1])


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float16, np.float64])
def test_other_types_become_float_in_their_units(dtype):
    image = from_arrays((GRAY * 3).astype(dtype), MASKS).train[0].read_image()
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[..., 0], (GRAY[0] * 3).astype(np.float32))


def test_lists_of_different_sizes():
    images = [np.zeros((3, 4, 6), np.float32), np.ones((5, 2, 6), np.float32)]
    masks = [np.zeros((3, 4), bool), np.ones((5, 2), bool)]
    data = from_arrays(
        images, masks, unlabeled=images, val_images=images[:1], val_masks=masks[:1], class_names=["a", "b"]
    )
    assert [s.read_image().shape for s in data.train] == [(3, 4, 6), (5, 2, 6)]
    assert data.train[0].read_image() is images[0]
    assert data.train[1].read_mask().tolist() == [[1, 1]] * 5
    assert [s.name for s in data.unlabeled] == ["unlabeled/0000", "unlabeled/0001"] and data.unlabeled[0].mask is None
    assert [s.name for s in data.val] == ["val/0000"] and data.class_names == ("a", "b")


def test_images_without_masks():
    data = from_arrays(GRAY, class_names=["a", "b"])
    assert data.train == () and len(data.unlabeled) == 2


def test_ignored_pixels_and_single_classes():
    assert from_arrays(GRAY, np.full((2, 4, 5), 255)).class_names == ("class 0", "class 1")
    assert from_arrays(GRAY, MASKS, class_names=list("abcde")).num_classes == 5


BAD = {
    "no list": ((GRAY.tolist(),), "found list in a list"),
    "no array": (("images",), "found str"),
    "one image": ((GRAY[0],), r"shape \(4, 5\)"),
    "five axes": ((GRAY[None, None],), "shape"),
    "nothing": ((GRAY[:0],), "none in images"),
    "no pixels": ((GRAY[:, :0], MASKS[:, :0]), r"images\[0\]"),
    "objects": ((GRAY.astype(object), MASKS), r"object in images\[0\]"),
    "complex": ((GRAY.astype(complex), MASKS), "complex128"),
    "text": ((GRAY.astype(str), MASKS), "<U"),
    "NaN": ((np.array([GRAY[0], GRAY[1] * np.nan]), MASKS), r"NaN.*images\[1\]"),
    "infinity": ((np.full((2, 4, 5), -np.inf), MASKS), "infinity"),
    "too large": ((np.full((2, 4, 5), 1e300), MASKS), "beyond 32-bit"),
    "mask count": ((GRAY, MASKS[:1]), "2 images, 1 mask\\."),
    "mask size": ((GRAY, MASKS[:, :2]), r"\(4, 5\).*\(2, 5\) in masks\[0\]"),
    "mask axes": ((GRAY, MASKS[..., None]), r"\(4, 5, 1\) in masks\[0\]"),
    "float masks": ((GRAY, MASKS.astype(np.float32)), "float32 in masks"),
    "negative ids": ((GRAY, MASKS.astype(int) - 1), "-1 to 1 in masks"),
    "large ids": ((GRAY, MASKS.astype(int) + 255), "255 to 257"),
    "mixed types": (([GRAY[0], GRAY[1].astype(float)], MASKS), r"uint8 as in images\[0\].*float32 in images\[1\]"),
    "mixed channels": (([np.zeros((4, 5, 3)), np.zeros((4, 5))], MASKS), r"1 channels.*images\[1\]"),
    "unlabeled channels": ((GRAY, MASKS, np.zeros((1, 4, 5, 3), np.uint8)), r"unlabeled\[0\]"),
}


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD.keys())
def test_bad_arrays_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        from_arrays(*arguments)


def test_bad_names_and_pairs():
    with pytest.raises(UserError, match=r"0..1 or 255 .*2 in masks\[0\]"):
        from_arrays(GRAY, MASKS, class_names=["a", "b"])
    for names in ("abc", ["a", "a", "b"], ["a"]):
        with pytest.raises(UserError, match="class names"):
            from_arrays(GRAY, MASKS, class_names=names)
    with pytest.raises(UserError, match="only val_images"):
        from_arrays(GRAY, MASKS, val_images=GRAY)
    with pytest.raises(UserError, match="only val_masks"):
        from_arrays(GRAY, MASKS, val_masks=MASKS)


def test_class_names_that_no_file_can_hold_are_refused():
    with pytest.raises(UserError, match=r"class names of Unicode text; found 'a\\ud800' in cells"):
        SegmentationData("cells", (), (), ("ground", "a\ud800"))
