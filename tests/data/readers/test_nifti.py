"""NIfTI volumes as stacks of slices; files are made byte by byte, as nibabel would not write the wrong ones."""

import gzip
import importlib.util
import struct

import numpy as np
import pytest

from rankmatch_keras.data import image_info, read_image, read_raw_mask
from rankmatch_keras.data.readers import nifti
from rankmatch_keras.data.readers.folders import masks_by_name, pictures_by_name
from rankmatch_keras.errors import UserError

pytest.importorskip("nibabel")
pytestmark = pytest.mark.once

UINT8, INT16, FLOAT32, COMPLEX, RGB = 2, 4, 16, 32, 128


def header(shape, code=UINT8, bits=8, slope=1.0, intercept=0.0, offset=352.0, magic=b"n+1\0"):
    """The fields of the standard that are read, at their places."""
    fields = bytearray(352)
    struct.pack_into("<i", fields, 0, 348)
    struct.pack_into("<8h", fields, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<2h", fields, 70, code, bits)
    struct.pack_into("<8f", fields, 76, 1, 0.5, 0.5, 3, 0, 0, 0, 0)
    struct.pack_into("<3f", fields, 108, offset, slope, intercept)
    fields[344:348] = magic
    return bytes(fields)


VALUES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(4, 3, 2)  # slice, row, column


@pytest.fixture(autouse=True)
def closed_files():
    yield
    nifti._UNPACKED.close()


def test_a_slice_lies_along_the_first_two_axes(tmp_path):
    plain, packed = tmp_path / "plain.nii", tmp_path / "packed.nii.gz"
    plain.write_bytes(header((2, 3, 4)) + VALUES.tobytes())
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        found = pictures_by_name(path)
        assert list(found) == [f"{path.name.split('.')[0]}/{number:04d}" for number in range(4)]
        assert image_info(path, 3) == (3, 2, 1, True)
        for number in (3, 0, 2):
            image = read_image(path, number, channels=1)
            assert image.dtype == np.uint8
            np.testing.assert_array_equal(image[..., 0], VALUES[number])
    import nibabel

    np.testing.assert_array_equal(np.asarray(nibabel.load(plain).dataobj).T, VALUES)


def test_slope_and_intercept_are_applied(tmp_path):
    values = np.array([[[-1000, 0], [7, 3000]]], "<i2")
    (tmp_path / "ct.nii").write_bytes(header((2, 2, 1), INT16, 16, 0.5, 10) + values.tobytes())
    image = read_image(tmp_path / "ct.nii", 0, channels=1)
    assert image.dtype == np.float32
    assert image[..., 0].tolist() == [[-490, 10], [13.5, 1510]]
    with pytest.raises(UserError, match=r"13\.5 and the like"):
        read_raw_mask(tmp_path / "ct.nii", 0)
    # A slope of 0 means none.
    (tmp_path / "ct.nii").write_bytes(header((2, 2, 1, 1), INT16, 16, 0, 10) + values.tobytes())
    assert read_raw_mask(tmp_path / "ct.nii", 0).tolist() == [[-1000, 0], [7, 3000]]


def test_volumes_in_folders_are_matched_by_name(tmp_path):
    for folder, ending in (("images", ".nii"), ("masks", ".nii.gz")):
        (tmp_path / folder).mkdir()
        for name in ("a", "b.1"):
            content = header((2, 3, 4)) + VALUES.tobytes()
            content = gzip.compress(content) if ending.endswith("gz") else content
            (tmp_path / folder / f"{name}{ending}").write_bytes(content)
    images = pictures_by_name(tmp_path / "images")
    assert len(images) == 8 and {"a/0000", "b.1/0003"} <= images.keys()
    masks = masks_by_name(tmp_path / "masks", tmp_path / "images", images)
    assert masks.keys() == images.keys() and masks["b.1/0003"] == (tmp_path / "masks/b.1.nii.gz", 3)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (header((2, 3, 4), RGB, 24) + bytes(72), "RGB in"),
        (header((2, 3, 4), COMPLEX, 64) + bytes(192), "complex64 in"),
        (header((2, 3, 4, 2)) + bytes(48), "2 x 3 x 4 x 2 in"),
        (header((30000, 30000, 2)) + bytes(48), "30000 x 30000 pixels"),
        (header((2, -3, 4)) + bytes(48), "2 x -3"),
        (header((2, 3, 4)) + bytes(23), "cut off"),
        (header((2, 3, 4), offset=float("nan")) + bytes(24), "at byte nan"),
        (header((2, 3, 4), offset=-352.0) + bytes(24), "offset -352|at byte -352"),
        (header((2, 3, 4), offset=1e12) + bytes(24), "at byte"),
        (header((2, 3, 4), code=999) + bytes(24), "999"),
        (header((2, 3, 4), magic=b"ni1\0") + bytes(24), "another kind of file"),
        (b"", "another kind of file"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_not_read_is_said_in_one_line(tmp_path, content, found, packed):
    path = tmp_path / ("bad.nii.gz" if packed else "bad.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(UserError, match=found) as caught:
        pictures = pictures_by_name(path)
        read_image(*next(iter(pictures.values())))
    assert "\n" not in str(caught.value)


def test_no_more_is_unpacked_than_the_header_declares(tmp_path, monkeypatch):
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(header((2, 3, 4)) + VALUES.tobytes() + bytes(50_000_000)))
    np.testing.assert_array_equal(read_image(path, 1, channels=1)[..., 0], VALUES[1])
    (file,) = nifti._UNPACKED._files.values()
    assert file.seek(0, 2) == 24
    path.write_bytes(gzip.compress(header((30000, 1000, 30000)) + bytes(1000)))  # no file shrinks that much
    with pytest.raises(UserError, match="cut off"):
        pictures_by_name(path)
    path.write_bytes(gzip.compress(header((2, 3, 4)) + VALUES.tobytes()))
    for name in ("second", "third"):
        (tmp_path / f"{name}.nii.gz").write_bytes(path.read_bytes())
    monkeypatch.setattr(nifti, "MAX_UNPACKED", 376)  # header and pixels of one
    for name in ("bomb", "second", "third") * 2:
        read_image(tmp_path / f"{name}.nii.gz", 0)
    monkeypatch.setattr(nifti, "MAX_UNPACKED", 375)
    (tmp_path / "fourth.nii.gz").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="gunzip"):
        pictures_by_name(tmp_path / "fourth.nii.gz")


def test_without_nibabel_one_line_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.nii").write_bytes(header((2, 3, 4)) + VALUES.tobytes())
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nibabel" else find_spec(name))
    with pytest.raises(UserError, match=r"pip install 'rankmatch-keras\[volumes\]'"):
        pictures_by_name(tmp_path / "a.nii")
