"""The record of a run names files of its data and its own, and shows nothing of others."""

import os

import pytest

from rankmatch_keras.errors import UserError
from rankmatch_keras.training.reopening import open_data_of

pytestmark = pytest.mark.once


@pytest.fixture
def record(image_tree, tmp_path):
    """A function from a list of validation images to the record of a run."""
    (tmp_path / "run").mkdir()

    def make(val_list, **arguments):
        options = {"val_list": str(val_list), "data": str(image_tree)}
        return {"options": options, "data": {"loader": "Lucchi", "arguments": {"root": str(image_tree), **arguments}}}

    return make


def secret(tmp_path):
    path = tmp_path / "passwd"
    path.write_text("root:x:0:0:secret of three words\n")
    return path


def listed(image_tree, place):
    place.write_text("images/train/00.png masks/train/00.png\n")
    return place


def test_lists_below_the_data_are_taken(record, image_tree, tmp_path):
    path = listed(image_tree, image_tree / "val.txt")
    assert len(open_data_of(tmp_path / "run", record(path)).val) == 1


def test_the_copy_of_the_run_is_taken_wherever_the_list_was(record, image_tree, tmp_path):
    listed(image_tree, tmp_path / "run/val_list.txt")
    assert len(open_data_of(tmp_path / "run", record("/gone/val.txt")).val) == 1


@pytest.mark.parametrize("way", ["absolute", "dots", "link below the data", "link in the run"])
def test_other_files_are_refused_and_not_quoted(way, record, image_tree, tmp_path):
    path = secret(tmp_path)
    if way == "dots":
        path = f"{image_tree}/../passwd"
    if way == "link below the data":
        os.symlink(path, image_tree / "val.txt")
        path = image_tree / "val.txt"
    if way == "link in the run":
        os.symlink(path, tmp_path / "run/val_list.txt")
    with pytest.raises(UserError, match="below the folders of the data; .*copy it to .*val_list.txt") as caught:
        open_data_of(tmp_path / "run", record(path))
    assert "secret" not in str(caught.value)


def test_nothing_of_a_list_below_the_data_is_quoted_either(record, image_tree, tmp_path):
    (image_tree / "notes.txt").write_text("secret of three words\n")
    with pytest.raises(UserError, match="a list of validation images that fits") as caught:
        open_data_of(tmp_path / "run", record(image_tree / "notes.txt"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("loader", "arguments"),
    [
        ("Lucchi", {"every": "x"}),
        ("Lucchi", {"loader": "x"}),
        ("Lucchi", {"root": "a\0b"}),
        ("PascalVOC", {"val": "../../secret"}),
        ("ImageFolder", {"images": "a", "masks": 3}),
        ("Nothing", {}),
        (None, {}),
    ],
)
def test_arguments_of_other_kinds_are_refused(loader, arguments, record, image_tree, tmp_path):
    content = record(None, **arguments)
    content["data"]["loader"], content["options"] = loader, {}
    with pytest.raises(UserError):
        open_data_of(tmp_path / "run", content)
