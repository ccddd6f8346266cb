import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from scipy import io

from rankmatch_keras import data
from rankmatch_keras.data.readers import matlab
from rankmatch_keras.data.readers.images import read_raw_mask
from rankmatch_keras.errors import UserError

pytestmark = pytest.mark.once

IDS = np.array([[0, 1, 2, 255], [2, 2, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint32", "bool", "float64", "float32"])
@pytest.mark.parametrize("packed", [True, False])
def test_label_maps(kind, packed, tmp_path):
    ids = (IDS == 1) if kind == "bool" else IDS
    io.savemat(tmp_path / "a.mat", {"scale": 2.5, "L": ids.astype(kind), "by": "me"}, do_compression=packed)
    found = read_raw_mask(tmp_path / "a.mat")
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, ids)


def test_a_folder_of_them(tmp_path):
    for name in "ab":
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / f"images/{name}.jpg")
        io.savemat(tmp_path / f"masks/{name}_mask.mat", {"L": IDS.astype(np.uint8)})
    found = data.ImageFolder(tmp_path / "images", tmp_path / "masks")
    assert found.num_classes == 3
    np.testing.assert_array_equal(found.train[1].read_mask(), IDS)


BOX = np.empty((2, 2), object)
BOX[:] = 1.0
MANY = {
    "two": ({"a": IDS, "b": IDS}, r"a \(int64 3 x 4\), b \(int64 3 x 4\) in '.*a\.mat'"),
    "none": ({"s": 1.0, "c": BOX}, r"c \(cell 2 x 2\) in"),
    "struct": ({"s": {"L": IDS}}, r"s \(struct 1 x 1\) in"),
    "empty": ({}, "no variable in"),
    "complex": ({"z": IDS * 1j}, "'z' of complex128 in"),
    "fractions": ({"p": IDS / 7}, "fractions"),
}


@pytest.mark.parametrize("kind", MANY)
def test_files_without_one_label_map(kind, tmp_path):
    variables, message = MANY[kind]
    io.savemat(tmp_path / "a.mat", variables)
    with pytest.raises(UserError, match=message) as error:
        read_raw_mask(tmp_path / "a.mat")
    assert "\n" not in str(error.value)


def element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def label_map(rows, columns, pixels):
    """Write a variable as uint8, in the format's own parts: flags, size, name, values."""
    parts = element(6, struct.pack("<II", 9, 0)) + element(5, struct.pack("<ii", rows, columns)) + element(1, b"L")
    return element(14, parts + element(2, pixels))


HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
HOSTILE = {
    "7.3": (b"MATLAB 7.3 MAT-file".ljust(126) + b"IM" + bytes(400), "version 7.3 in '.*'. Save it with -v7."),
    "other end": (HEADER[:126] + b"XX", "another kind"),
    "cut off": (HEADER + label_map(3, 4, bytes(12))[:-9], "a readable mask; found"),
    "few pixels": (HEADER + label_map(300, 400, bytes(12)), "a readable mask; found"),
    "many pixels": (HEADER + label_map(20_000, 20_000, bytes(12)), "20000 x 20000 pixels"),
    "negative": (HEADER + label_map(-3, -4, bytes(12)), "in '.*a.mat'|found '.*a.mat"),
    "damaged": (HEADER + struct.pack("<II", 15, 40) + b"x" * 40, "a readable mask; found"),
    "no element": (HEADER, "no variable"),
    "wild sizes": (HEADER + struct.pack("<II", 14, 2**32 - 1) + b"\0" * 64, "found"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files(kind, tmp_path):
    content, message = HOSTILE[kind]
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_raw_mask(tmp_path / "a.mat")
    assert "a.mat" in str(error.value) and "\n" not in str(error.value)


def test_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "MAX_BYTES", 100_000)
    packed = zlib.compress(label_map(3, 4, bytes(200_000)))
    (tmp_path / "a.mat").write_bytes(HEADER + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(UserError, match="one label map; found more than 0 MiB"):
        read_raw_mask(tmp_path / "a.mat")
    packed = zlib.compress(label_map(3, 4, bytes(range(12))))
    (tmp_path / "a.mat").write_bytes(HEADER + struct.pack("<II", 15, len(packed)) + packed)
    np.testing.assert_array_equal(read_raw_mask(tmp_path / "a.mat"), np.arange(12).reshape(4, 3).T)
