import pickle

import numpy as np
import pytest
import tifffile
from PIL import Image

from rankmatch_keras.data.masks.encodings import Lookup, TwoValues
from rankmatch_keras.data.masks.legends import Legend
from rankmatch_keras.data.masks.mask_files import MaskFile
from rankmatch_keras.data.readers.sources import Array, ImageFile, ImageSource, MaskSource
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.errors import UserError

VALUES = np.array([[0, 255], [255, 0]], np.uint8)


@pytest.fixture
def path(tmp_path):
    Image.fromarray(VALUES).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_image_file(path):
    assert isinstance(ImageFile(path), ImageSource)
    assert ImageFile(path).read().shape == (2, 2, 3)
    np.testing.assert_array_equal(ImageFile(path, channels=1).read()[..., 0], VALUES)
    assert ImageFile(path, channels=None).read().shape == (2, 2, 1)


@pytest.mark.parametrize(
    "encoding", [TwoValues(0, 255), Lookup(((0, 0), (255, 1))), Legend(((0, 0, 0), (255, 255, 255)))]
)
def test_mask_file_with_an_encoding(path, encoding):
    mask = MaskFile(path, encoding=encoding)
    assert isinstance(mask, MaskSource)
    assert mask.read().tolist() == [[0, 1], [1, 0]] and mask.read().dtype == np.int32
    assert pickle.loads(pickle.dumps(mask)) == mask


def test_masks_are_class_ids_unless_said_otherwise(path):
    assert MaskFile(path).read().tolist() == [[0, 255], [255, 0]]


def test_a_third_value_names_the_file(path):
    with pytest.raises(UserError, match=r"255 at 2 pixels of '.*a\.png'"):
        MaskFile(path, encoding=TwoValues(0, 1)).read()


def test_pages_are_named(tmp_path):
    tifffile.imwrite(
        tmp_path / "s.tif", np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5), photometric="minisblack"
    )
    mask = MaskFile(tmp_path / "s.tif", 2, TwoValues(40, 41))
    assert str(mask) == f"{tmp_path / 's.tif'}, page 2"
    with pytest.raises(UserError, match=r"42 and 17 others at 18 pixels of '.*s\.tif, page 2'"):
        mask.read()
    assert ImageFile(tmp_path / "s.tif", 1, 1).read()[0, 0, 0] == 20


def test_names_are_printed_on_one_line(tmp_path):
    assert "\n" not in str(ImageFile(tmp_path / "a\nb.png")) and "a\\nb" in str(MaskFile(tmp_path / "a\nb.png"))


def test_arrays():
    image = Array(np.zeros((2, 3, 1), np.uint8), "first")
    assert isinstance(image, ImageSource) and isinstance(image, MaskSource)
    assert image.read() is image.values and str(image) == "first"
    assert image != Array(image.values, "first")  # arrays have no single truth value to compare by


def test_a_sample_takes_paths_and_sources(path):
    sample = Sample("a", path, MaskFile(path, encoding=TwoValues(255, 0)))
    assert sample.image == ImageFile(path)
    assert sample.read_image().shape == (2, 2, 3) and sample.read_mask().tolist() == [[1, 0], [0, 1]]
    assert Sample("a", str(path), str(path)).read_mask().tolist() == [[0, 255], [255, 0]]
