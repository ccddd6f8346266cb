import io
import stat
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import data
from rankmatch_keras.data.masks.mask_sets import unused_masks
from rankmatch_keras.errors import UserError

pytestmark = pytest.mark.once

LABELMAP = """# label:color_rgb:parts:actions
background:0,0,0::
road: wet:128,64,128:left,right:drive
car:0,0,142::
"""
COLORS = np.array([[0, 0, 0], [128, 64, 128], [0, 0, 142]], np.uint8)
IDS = np.array([[0, 1, 1, 2], [0, 0, 1, 2], [0, 0, 0, 0]])


def png(values):
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


MEMBERS = {
    "labelmap.txt": LABELMAP.encode(),
    "ImageSets/Segmentation/default.txt": b"a\nsub/b\n",
    "SegmentationClass/a.png": png(COLORS[IDS]),
    "SegmentationClass/sub/b.png": png(COLORS[IDS * 0 + 2]),
    "SegmentationObject/a.png": png(COLORS[IDS * 0 + 1]),
    "SegmentationObject/sub/b.png": png(COLORS[IDS * 0 + 1]),
    "__MACOSX/SegmentationClass/._a.png": b"of the system",
}


@pytest.fixture
def images(tmp_path):
    for name in ("a", "sub/b"):
        (tmp_path / f"images/{name}.png").parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / f"images/{name}.png")
    return tmp_path / "images"


def packed(path, members, **how):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content, **how)
    return path


@pytest.mark.parametrize("how", ["zip", "zip of a folder", "unpacked", "the folder of the masks"])
def test_export(how, images, tmp_path):
    place = tmp_path / ("export.zip" if "zip" in how else "export")
    if "zip" in how:
        packed(place, {("job 7/" if "folder" in how else "") + name: content for name, content in MEMBERS.items()})
    else:
        for name, content in MEMBERS.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
    given = place / "SegmentationClass" if "masks" in how else place
    found = data.ImageFolder(images, given)
    assert found.class_names == ("background", "road: wet", "car")
    assert found.palette == tuple(map(tuple, COLORS.tolist()))
    np.testing.assert_array_equal(found.train[0].read_mask(), IDS)
    np.testing.assert_array_equal(found.train[1].read_mask(), IDS * 0 + 2)
    legend = place / ("job 7/labelmap.txt" if "folder" in how and "zip" in how else "labelmap.txt")
    assert found.notes == (f"The colors of the masks are those of {legend}.",)
    assert unused_masks(images, given) == []


def lying(name, size):
    """Pack one member that declares another size than it has."""
    file = io.BytesIO()
    packed(file, {name: png(COLORS[IDS])})
    content = bytearray(file.getvalue())
    for signature, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", content, content.index(signature) + at, size)
    return bytes(content)


def link():
    member = zipfile.ZipInfo("masks/a.png")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


def encrypted():
    content = bytearray(packed(io.BytesIO(), {"a.png": png(COLORS[IDS])}).getvalue())
    for signature, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + at] |= 1
    return bytes(content)


def damaged():
    content = bytearray(packed(io.BytesIO(), {"a.png": png(COLORS[IDS])}).getvalue())
    content[content.index(b"a.png") + 20] ^= 255
    return bytes(content)


def end_record(length):
    """Write the end of a zip file whose list of members has a length, in the record of large files if need be."""
    large = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, length, 0) if length >= 2**32 else b""
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, 0, 1) if large else b""
    return large + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, min(length, 2**32 - 1), 0, 0)


HOSTILE = {
    "above": (lambda: {"../a.png": b""}, r"'../a.png', which leads out of a folder"),
    "windows": (lambda: {"x\\..\\..\\a.png": b""}, "which leads out of a folder"),
    "absolute": (lambda: {"/etc/a.png": b""}, r"'/etc/a.png', which leads out of a folder"),
    "drive": (lambda: {"C:/a.png": b""}, r"'C:/a.png', which leads out of a folder"),
    "link": (lambda: {link(): b"/etc/passwd"}, "'masks/a.png', a link"),
    "encrypted": (encrypted, "'a.png', encrypted"),
    "other method": (lambda: packed(io.BytesIO(), {"a.png": b"x"}, compress_type=zipfile.ZIP_BZIP2), "by method 12"),
    "declares much": (lambda: lying("a.png", 4_000_000_000), r"'a.png', of 4.0 GB"),
    "declares little": (lambda: lying("a.png", 10), "found '.*a.png': "),
    "damaged": (damaged, "found '.*a.png': "),
    "cut off": (lambda: packed(io.BytesIO(), MEMBERS).getvalue()[:-30], "File is not a zip file"),
    "no zip": (lambda: b"GIF89a" * 40, "File is not a zip file"),
    "empty": (lambda: packed(io.BytesIO(), {}), "none of them in"),
    "long list": (lambda: end_record(2**27), "a list of 134217728 bytes in"),
    "longer list": (lambda: end_record(2**40), "a list of 1099511627776 bytes in"),
    "no pictures": (lambda: {"annotations/instances.json": b"{}"}, "Unpack it: of zip files only pictures"),
    "TIFF": (lambda: {"a.tif": b"II*\0" + bytes(200)}, "Unpack the zip file"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_zip_files(kind, images, tmp_path):
    make, message = HOSTILE[kind]
    content = make()
    if isinstance(content, dict):
        content = packed(io.BytesIO(), content)
    (tmp_path / "x.zip").write_bytes(content if isinstance(content, bytes) else content.getvalue())
    (images / "sub/b.png").unlink()
    with pytest.raises(UserError, match=message) as error:
        data.ImageFolder(images, tmp_path / "x.zip")
    assert "x.zip" in str(error.value) and "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "x.zip"]  # nothing was unpacked


def test_a_bomb_is_not_inflated_beyond_what_it_declares(images, tmp_path):
    """10 MB of zeros that declare 10 bytes, and twice the same name."""
    (images / "sub/b.png").unlink()
    file = packed(io.BytesIO(), {"a.png": bytes(10_000_000)})
    content = bytearray(file.getvalue())
    for signature, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", content, content.index(signature) + at, 10)
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(UserError, match="x.zip/a.png"):
        data.ImageFolder(images, tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("a.png", b"")
        file.writestr("a.png", b"")
    with pytest.raises(UserError, match="'a.png' twice in '.*y.zip'"):
        data.ImageFolder(images, tmp_path / "y.zip")
