from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmatch_keras.data.masks.mask_files import MaskFile
from rankmatch_keras.data.readers.sources import Array, ImageFile
from rankmatch_keras.data.sets.lists import list_line, picture_below, picture_name, read_list
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.data.splits.split import samples_from_list
from rankmatch_keras.errors import UserError


def write(tmp_path, text, **options):
    path = tmp_path / "list.txt"
    path.write_bytes(text.encode(**options))
    return path


def test_read_list(tmp_path):
    path = write(tmp_path, "a.jpg a.png\n\n  b.jpg   b.png  \r\nc.jpg\nmy d.jpg\tmy d.png\n   \nmy e.jpg\t\n")
    assert read_list(path) == [
        ("a.jpg", "a.png"),
        ("b.jpg", "b.png"),
        ("c.jpg", None),
        ("my d.jpg", "my d.png"),
        ("my e.jpg", None),
    ]


def test_byte_order_mark(tmp_path):
    assert read_list(write(tmp_path, "ä.jpg a.png\n", encoding="utf-8-sig")) == [("ä.jpg", "a.png")]


@pytest.mark.parametrize(
    "text, message",
    [("", "blank"), ("\n \n", "blank"), ("a b c\n", "line 1"), ("a\tb\tc", "line 1"), ("\tb", "line 1")],
)
def test_bad_lists(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_list(write(tmp_path, text))


def test_no_lists(tmp_path):
    with pytest.raises(UserError, match="nowhere.txt"):
        read_list(tmp_path / "nowhere.txt")
    with pytest.raises(UserError, match="no file"):
        read_list(tmp_path)
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        read_list(tmp_path / "list.txt")


@pytest.mark.parametrize("name", ["../a.jpg", "i/../../a.jpg", "/etc/passwd", "i\\..\\..\\a.jpg", ".", "", "i/.."])
def test_paths_outside_the_root_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="below the data root"):
        picture_below(tmp_path, name, "list.txt")


def test_pictures(tmp_path):
    for text, path, page, name in (
        ("i/a.jpg", "i/a.jpg", None, "i/a"),
        ("i\\a.jpg", "i/a.jpg", None, "i/a"),
        ("./i//a.b.jpg", "i/a.b.jpg", None, "i/a.b"),
        ("s.tif#12", "s.tif", 12, "s/0012"),
        ("s.TIFF#0", "s.TIFF", 0, "s/0000"),
        ("s.png#12", "s.png#12", None, "s"),
    ):
        picture = picture_below(tmp_path, text, "list.txt")
        assert picture == (tmp_path / path, page) and picture_name(tmp_path, picture) == name
    (tmp_path / "a\\b.jpg").touch()
    assert picture_below(tmp_path, "a\\b.jpg", "list.txt").path == tmp_path / "a\\b.jpg"
    assert picture_below(tmp_path, str(tmp_path / "i/a.jpg"), "list.txt").path == tmp_path / "i/a.jpg"


def test_lines(tmp_path):
    plain = Sample("a", tmp_path / "i/a.jpg", tmp_path / "m/a.png")
    assert list_line(plain, tmp_path) == "i/a.jpg m/a.png"
    assert list_line(plain, tmp_path / "i/..") == "i/a.jpg m/a.png"
    assert list_line(Sample("a", tmp_path / "a b.jpg"), tmp_path) == "a b.jpg\t"
    assert list_line(Sample("a", tmp_path / "a.jpg"), tmp_path) == "a.jpg"
    stack = Sample("a", ImageFile(tmp_path / "s.tif", 3), MaskFile(tmp_path / "t t.tif", 3))
    assert list_line(stack, tmp_path) == "s.tif#3\tt t.tif#3"
    with pytest.raises(UserError, match="in memory"):
        list_line(Sample("a", Array(np.zeros((2, 2, 3)), "images[0]")), tmp_path)
    with pytest.raises(UserError, match="files below '.*i'"):
        list_line(plain, tmp_path / "i")


@given(st.text(st.characters(exclude_characters="/\\\0", codec="utf-8"), min_size=1, max_size=8))
def test_every_line_is_read_as_written_or_refused(tmp_path_factory, stem):
    root = Path("/data")
    try:
        line = list_line(Sample("a", root / f"{stem}.png", root / f"masks/{stem}.png"), root)
    except UserError:
        assert any(c.isspace() or c == "\ufeff" for c in stem)
        return
    path = tmp_path_factory.getbasetemp() / "list.txt"
    path.write_text(f"{line}\n", encoding="utf-8", newline="")
    ((image, mask),) = read_list(path)
    assert picture_below(root, image, path).path == root / f"{stem}.png"
    assert picture_below(root, mask, path).path == root / f"masks/{stem}.png"


@given(st.binary(max_size=60) | st.text("ab/.\\\t \n\r#tif09\0\u2028", max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    root = tmp_path_factory.getbasetemp()
    (root / "any.txt").write_bytes(content)
    try:
        pairs = read_list(root / "any.txt")
        pictures = [picture_below(root, name, "any.txt") for pair in pairs for name in pair if name is not None]
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert pairs and all(picture.path.is_relative_to(root) and ".." not in picture.path.parts for picture in pictures)


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "x/" * 3000 + "a.jpg", "a\0b.jpg", ".", "a\\" + "b" * 300])
@pytest.mark.parametrize("line", ["{}", "{} a.png", "a.jpg {}"])
def test_entries_that_cannot_be_files_are_refused(name, line, tmp_path):
    (tmp_path / "a.jpg").touch()
    path = write(tmp_path, line.format(name) + "\n")
    with pytest.raises(UserError, match="list.txt"):
        samples_from_list(path, tmp_path)
    with pytest.raises(UserError, match="no file"):
        read_list(tmp_path / name.replace(".jpg", ".txt").strip("."))
