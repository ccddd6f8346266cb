import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.data.masks.mask_files import write_mask
from rankmatch_keras.data.readers.images import read_raw_mask


def test_values_are_the_ids_and_colors_those_of_the_palette(tmp_path):
    ids = np.array([[0, 1, 255], [1, 0, 1]])
    write_mask(tmp_path / "new" / "a.png", ids, ((0, 0, 0), (9, 8, 7)))
    assert read_raw_mask(tmp_path / "new" / "a.png").tolist() == ids.tolist()
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert picture.mode == "P"
        assert np.asarray(picture.convert("RGB"))[0].tolist() == [[0, 0, 0], [9, 8, 7], [224, 224, 192]]


def test_nothing_is_left_of_a_write_that_fails(tmp_path, monkeypatch):
    def fail(self, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_mask(tmp_path / "a.png", np.zeros((2, 2)), ())
    assert list(tmp_path.iterdir()) == []
