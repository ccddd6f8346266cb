import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image

from rankmatch_keras import data
from rankmatch_keras.data.sets.loaders import LOADERS, open_data
from rankmatch_keras.errors import UserError


def test_every_loader_is_public():
    for name in LOADERS:
        assert callable(getattr(data, name)) and name in data.__all__


def test_a_record_opens_the_same_data(tmp_path, write_lucchi):
    root = write_lucchi(tmp_path / "lucchi", train=3)
    record = json.loads(json.dumps({"loader": "Lucchi", "arguments": {"root": str(root)}}))
    assert open_data(record["loader"], **record["arguments"]) == data.Lucchi(root)
    folders = {"images": str(root / "images/train"), "masks": str(root / "masks/train"), "classes": ["no", "yes"]}
    assert open_data("ImageFolder", **folders) == data.ImageFolder(**folders)
    assert open_data("Lucchi", root=Path(root)).train


def test_the_origin_opens_the_same_data_again(tmp_path, write_lucchi, monkeypatch):
    write_lucchi(tmp_path / "lucchi", train=3)
    monkeypatch.chdir(tmp_path)
    opened = open_data(
        "ImageFolder", images=Path("lucchi/images/train"), masks=Path("lucchi/masks/train"), classes=("a", "b")
    )
    origin = data.Origin(**json.loads(json.dumps(dataclasses.asdict(opened.origin))))
    assert origin == opened.origin and origin.arguments["classes"] == ["a", "b"]
    monkeypatch.chdir("/")
    again = open_data(origin.loader, **origin.arguments)
    assert [sample.name for sample in again.train] == [sample.name for sample in opened.train]
    assert data.Lucchi(tmp_path / "lucchi").origin is None


@pytest.mark.parametrize(
    "loader, nearest",
    [("camvid", "Did you mean CamVid"), ("PascalVoc2012", "PascalVOC"), ("Citiscapes", "Cityscapes"), ("os", "Choose")],
)
def test_unknown_loaders(loader, nearest):
    with pytest.raises(UserError, match=nearest):
        open_data(loader, root="x")


@pytest.mark.parametrize("loader", [None, 3, ["CamVid"], {}])
def test_loaders_that_are_not_names(loader):
    with pytest.raises(UserError, match="a data set of"):
        open_data(loader)


def test_wrong_arguments():
    with pytest.raises(UserError, match="'rot'. Did you mean root"):
        open_data("CamVid", rot="x")
    with pytest.raises(UserError, match="'root' for CamVid; found only nothing"):
        open_data("CamVid")
    with pytest.raises(UserError, match="'masks' for ImageFolder; found only images"):
        open_data("ImageFolder", images="x")
    for value in (5, None, ["x"]):
        with pytest.raises(UserError, match="a path as 'root'"):
            open_data("CamVid", root=value)
    with pytest.raises(UserError, match="a path as 'unlabeled'"):
        open_data("ImageFolder", images="x", masks="y", unlabeled=3)


def test_validation_images_of_a_list_leave_the_training_images(tmp_path):
    from rankmatch_keras.data import SegmentationData, with_val_list
    from rankmatch_keras.data.sets.samples import Sample

    samples = []
    for name in ("a", "b", "c"):
        for folder, mode in (("images", "RGB"), ("masks", "L")):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new(mode, (4, 4)).save(tmp_path / folder / f"{name}.png")
        samples.append(Sample(name, tmp_path / f"images/{name}.png", tmp_path / f"masks/{name}.png"))
    dataset = SegmentationData("own", tuple(samples), (), ("x", "y"))
    (tmp_path / "val.txt").write_text("images/b.png masks/b.png\n")
    changed = with_val_list(dataset, tmp_path / "val.txt", tmp_path)
    assert [s.name for s in changed.train] == ["a", "c"]
    assert changed.val == (samples[1],)
    (tmp_path / "val.txt").write_text("images/nowhere.png masks/b.png\n")
    with pytest.raises(UserError, match="nowhere.png"):
        with_val_list(dataset, tmp_path / "val.txt", tmp_path)
