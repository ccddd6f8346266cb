"""Files that are whole or not there, whatever their names and whatever breaks in between."""

import errno
import os

import pytest

from rankmatch_keras.errors import UserError
from rankmatch_keras.files import remove_temporaries, replacing, require_file_place, require_new_folder

pytestmark = pytest.mark.once


@pytest.mark.parametrize("name", ["a.png", "x" * 251 + ".png", "ü" * 125 + ".png", "a." + "b" * 250, "." * 3 + "a"])
def test_any_name_that_the_system_takes_can_be_written(name, tmp_path):
    path = tmp_path / "new" / name
    with replacing(path) as temporary:
        temporary.write_text("whole")
        assert temporary.suffix in (path.suffix, "") and not path.exists()
    assert [(file.name, file.read_text()) for file in path.parent.iterdir()] == [(name, "whole")]


def test_a_folder_to_fill_is_new_or_empty(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "a" / "b", tmp_path / "empty"):
        assert require_new_folder(path) == path
    assert not (tmp_path / "a").exists()
    wrong = {tmp_path: "with files", tmp_path / "file": "the file", tmp_path / ("x" * 300): "too long"}
    wrong |= {tmp_path / "file" / "below": "the file", tmp_path / "a\0": "null"}
    for path, found in wrong.items():
        with pytest.raises(UserError, match=f"a new or empty output folder; found .*{found}"):
            require_new_folder(path)


def test_a_folder_to_fill_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(UserError, match=f"{tmp_path}, where nothing may be written"):
        require_new_folder(tmp_path / "a" / "b")
    with pytest.raises(UserError, match=f"a file that can be written; found {tmp_path}, where nothing may be written"):
        require_file_place(tmp_path / "a.html")


def test_a_file_to_write_has_a_place(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "a" / "b.html", tmp_path / "file"):  # which is replaced
        assert require_file_place(path) == path
    assert not (tmp_path / "a").exists()
    for path, found in ((tmp_path, "the folder"), (tmp_path / "file" / "b.html", "the file")):
        with pytest.raises(UserError, match=f"a file that can be written; found {found} {tmp_path}"):
            require_file_place(path)


def test_the_file_before_is_kept_if_asked(tmp_path):
    for text in ("one", "two", "three"):
        with replacing(tmp_path / "a.txt", keep=tmp_path / "b.txt") as temporary:
            temporary.write_text(text)
    assert (tmp_path / "a.txt").read_text() == "three" and (tmp_path / "b.txt").read_text() == "two"


def test_a_failure_leaves_the_old_file_and_says_which(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    for wrong in (OSError(errno.ENOSPC, "No space left on device"), OSError("a library's own words")):
        with pytest.raises(OSError) as caught, replacing(path) as temporary:
            temporary.write_text("half")
            raise wrong
        assert caught.value.filename == str(path) and caught.value.errno == wrong.errno
        assert caught.value.strerror == (wrong.strerror or "a library's own words")
    with pytest.raises(FileNotFoundError, match="other"), replacing(path):
        (tmp_path / "other").read_text()
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_content_and_name_are_on_the_disk_before_anything_goes_on(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert calls == [str(temporary), str(tmp_path)]


def test_what_killed_processes_left_can_be_removed(tmp_path):
    (tmp_path / "below").mkdir()
    left = [tmp_path / ".writing-7-a.npz", tmp_path / "below/.writing-1-0.png"]
    for path in (*left, tmp_path / "kept.npz"):
        path.touch()
    remove_temporaries(tmp_path)
    assert [path.exists() for path in left] == [False, True]
    remove_temporaries(tmp_path, below=True)
    assert not left[1].exists() and (tmp_path / "kept.npz").exists()
