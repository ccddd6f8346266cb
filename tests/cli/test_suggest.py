"""`rankmatch suggest` from a run to a folder, and back into training."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from small_network import small_segmenter

from rankmatch_keras import data
from rankmatch_keras.data.masks.class_names import read_names
from rankmatch_keras.layers import ChannelNormalization
from rankmatch_keras.models import predictor
from rankmatch_keras.models.backbones import IMAGENET

pytestmark = pytest.mark.once

NAMES = ["background", "cell", "=dust"]
SIDE = 33


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run on six images, of which two are labeled, and five more images."""
    place, rng = tmp_path_factory.mktemp("suggest"), np.random.default_rng(0)
    for folder, names in (("images", "abcdef"), ("masks", "abcdef"), ("more/day", "vwxyz")):
        (place / folder).mkdir(parents=True)
        for name in names:
            low, high = (0, 3) if folder == "masks" else sorted(rng.integers(0, 128, 2) * (1, 2))
            values = rng.integers(low, high + (folder != "masks"), (11, 11) if folder == "masks" else (11, 11, 3))
            picture = Image.fromarray(values.repeat(3, 0).repeat(3, 1).astype(np.uint8))
            picture.save(place / folder / f"{name}.png")
    (place / "runs").mkdir()
    model = predictor(small_segmenter(len(NAMES)), ChannelNormalization(**IMAGENET))
    model.save(place / "runs/last.keras")
    arguments = {"images": str(place / "images"), "masks": str(place / "masks"), "classes": NAMES}
    record = {
        "options": {"keep": "last"},
        "data": {"loader": "ImageFolder", "arguments": arguments, "classes": NAMES},
        "split": {"id": "abc", "labeled": ["a", "b"]},
    }
    (place / "runs/config.json").write_text(json.dumps(record))
    return place


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_suggestion_goes_back_into_training(place, tmp_path, rankmatch):
    out = tmp_path / "next"
    code, said, err = rankmatch("suggest", place / "runs", "--images", place / "more", "--count", 3, "--out", out)
    assert code == 0, err
    assert "3 images of 5 to label next" in said
    table = rows(out / "suggestions.csv")
    names = [row["image"] for row in table]
    assert len({*names}) == 3 and all(name.startswith("day/") for name in names)
    assert [row["rank"] for row in table] == ["1", "2", "3"]
    assert all(0 <= float(row[key]) <= 1 for row in table for key in ("entropy", "margin", "disagreement"))
    assert not any(cell.startswith("=") for row in table for cell in row.values())

    code, _, err = rankmatch("predict", place / "runs", "--images", place / "more", "--flip", "--out", tmp_path / "all")
    assert code == 0, err
    classes = {"labelme": NAMES, "masks": read_names(out / "classes.txt")}
    opened = [
        data.ImageFolder(out / "images", out / kind, classes=classes.get(kind))
        for kind in ("masks", "cvat.zip", "coco.json", "labelme")
    ]
    assert opened[0].class_names == tuple(NAMES)
    for kinds in zip(*(each.train for each in opened), strict=True):
        name = kinds[0].name
        expected = np.asarray(Image.open(tmp_path / f"all/masks/{name}.png"))
        for sample in kinds[:2]:
            np.testing.assert_array_equal(sample.read_mask(), expected)
        assert (out / f"images/{name}.png").read_bytes() == (place / f"more/{name}.png").read_bytes()
        for sample in kinds[2:]:
            assert (sample.read_mask() == expected).mean() > 0.8
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width > 1000
    assert not (out / "labeled.txt").exists()  # nobody knows the masks


def test_a_study_gets_lists_for_the_next_run(place, tmp_path, rankmatch):
    out = tmp_path / "next"
    flags = ("--count", 4, "--by", "diversity", "--out", out)
    code, said, err = rankmatch("suggest", place / "runs", "--images", place / "images", *flags)
    assert code == 0, err
    assert "2 images of the run's labels" in said
    dataset = data.ImageFolder(place / "images", place / "masks", classes=NAMES)
    split = data.split_from_lists(out / "labeled.txt", None, None, like=dataset)
    assert [sample.name for sample in split.labeled[:2]] == ["a", "b"]
    assert {sample.name for sample in split.labeled} == {*"abcdef"}
    assert (out / "unlabeled.txt").read_text() == ""


def test_mistakes_are_one_line_and_leave_nothing(place, tmp_path, rankmatch):
    more = place / "more"
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a.txt").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.png").write_bytes((more / "day/v.png").read_bytes()[:60])
    (tmp_path / "broken/b.png").write_bytes((more / "day/v.png").read_bytes())
    for run, images, out, found in (
        (tmp_path / "nowhere", more, "next", "config.json"),
        (place / "images", more, "next", "config.json"),
        (place / "runs", tmp_path / "empty", "next", "a folder of images"),
        (place / "runs", tmp_path / "nowhere", "next", "nothing at"),
        (place / "runs", more, "full", "with files"),
        (place / "runs", tmp_path / "broken", "next", "a.png"),
    ):
        code, _, err = rankmatch("suggest", run, "--images", images, "--count", 2, "--out", tmp_path / out)
        assert code == 2 and found in err and "Traceback" not in err and len(err.splitlines()) == 1, err
    code, _, err = rankmatch("suggest", place / "runs", "--images", more, "--out", tmp_path / "next")
    assert code == 2 and "at least 20 images to choose from; found 5" in err
    flags = ("--weights", "best", "--count", 1, "--out", tmp_path / "next")
    code, _, err = rankmatch("suggest", place / "runs", "--images", more, *flags)
    assert code == 2 and "best.keras" in err
    assert not (tmp_path / "next").exists() and not list(tmp_path.glob(".writing*"))
    flags = ("--skip-bad", "--count", 1, "--out", tmp_path / "next")
    code, said, err = rankmatch("suggest", place / "runs", "--images", tmp_path / "broken", *flags)
    assert code == 0 and "Left out 1 image" in said, err
