import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from PIL import Image

from rankmatch_keras import data
from rankmatch_keras.cli.split import split
from rankmatch_keras.data.splits import read_list, split_from_lists
from rankmatch_keras.errors import UserError

pytestmark = pytest.mark.once

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def run(*arguments):
    """The output of a successful run; errors of the person come as exceptions."""
    return CliRunner().invoke(split, [str(a) for a in arguments], catch_exceptions=False, standalone_mode=False).output


@pytest.fixture
def frames(tmp_path):
    """Four videos of six frames with spaces in their names; class 2 is in one frame only, class 3 in none."""
    for video in "abcd":
        for number in range(6):
            ids = np.zeros((4, 6), np.uint8)
            ids[0, : 1 + (number == 3)] = 1
            if (video, number) == ("c", 4):
                ids[1] = 2
            for kind, values in (("images", ids * 60), ("masks", ids)):
                (tmp_path / kind).mkdir(exist_ok=True)
                Image.fromarray(values).save(tmp_path / f"{kind}/video {video}_{number}.png")
    return tmp_path


def flags(root, *more):
    return ["--images", root / "images", "--masks", root / "masks", "--classes", "none,thing,rare,dragon", *more]


def names(file):
    return [Path(image).stem.removeprefix("video ") for image, _ in read_list(file)]


def test_lists_cover_the_classes_and_are_read_back(frames):
    out = run(*flags(frames), "--labels", 5, "--out", frames / "lists")
    assert names(frames / "lists/labeled.txt")[0] == "c_4"  # shows all three classes
    assert (frames / "lists/labeled.txt").read_text().startswith("images/video c_4.png\tmasks/video c_4.png\n")
    dataset = data.ImageFolder(frames / "images", frames / "masks", classes=4)
    read = split_from_lists(frames / "lists/labeled.txt", frames / "lists/unlabeled.txt", frames, like=dataset)
    assert len(read.labeled) == 5 and len(read.unlabeled) == 19
    assert {s.name for s in (*read.labeled, *read.unlabeled)} == {s.name for s in dataset.train}
    assert f"split {read.id}" in out and "5 labeled, 19 unlabeled, 0 for validation" in out
    assert "In no mask at all: dragon." in out and "In no labeled image" not in out
    assert not (frames / "lists/val.txt").exists()


def test_preview(frames):
    out = run(*flags(frames), "--labels", 1, "--out", frames / "lists")
    # c_4 alone: 17 pixels of "none", one "thing", 6 "rare" of 24; of all 24 * 24: 28 "thing" (24, four twice).
    assert re.search(r"^thing +4\.17 +1 +4\.86 +24$", out, re.MULTILINE)
    assert re.search(r"^rare +25\.00 +1 +1\.04 +1$", out, re.MULTILINE)
    assert re.search(r"^dragon +0\.00 +0 +0\.00 +0$", out, re.MULTILINE)


def test_smaller_sets_lie_in_larger_ones(frames):
    for count in (3, 9):
        run(*flags(frames), "--labels", count, "--val", 4, "--seed", 7, "--out", frames / f"l{count}")
    small, large = names(frames / "l3/labeled.txt"), names(frames / "l9/labeled.txt")
    assert large[:3] == small
    assert names(frames / "l3/val.txt") == names(frames / "l9/val.txt")
    parts = [names(frames / f"l9/{part}.txt") for part in ("labeled", "unlabeled", "val")]
    assert [len(part) for part in parts] == [9, 11, 4] and len(set().union(*parts)) == 24


@pytest.mark.parametrize("part, count", [("1/16", 2), ("0.0625", 2), (".25", 6), ("1/2", 12)])
def test_fractions_round_up(frames, part, count):
    run(*flags(frames), "--fraction", part, "--out", frames / "lists")
    assert len(names(frames / "lists/labeled.txt")) == count


def test_fraction_is_of_what_is_not_validation(frames):
    run(*flags(frames), "--fraction", "1/2", "--val", "1/3", "--out", frames / "lists")
    assert len(names(frames / "lists/val.txt")) == 8 and len(names(frames / "lists/labeled.txt")) == 8


def test_every(frames):
    out = run(*flags(frames), "--labels", 4, "--every", 3, "--out", frames / "lists")
    assert {name[-1] for name in names(frames / "lists/labeled.txt")} <= {"0", "3"}
    assert "In no labeled image: rare" in out


def test_groups(frames):
    out = run(*flags(frames), "--labels", 4, "--val", 5, "--groups", "^[^_]+", "--out", frames / "lists")
    videos = [{name[0] for name in names(frames / f"lists/{part}.txt")} for part in ("labeled", "unlabeled", "val")]
    assert [len(part) for part in videos] == [1, 2, 1] and len(set().union(*videos)) == 4
    assert videos[0] == {"c"}
    assert "Whole groups give 6 labeled images instead of 4." in out
    assert "Whole groups give 6 validation images instead of 5." in out


def test_unlabeled_images_of_validation_groups_are_left_out(frames):
    arguments = [*flags(frames), "--labels", 6, "--val", 6, "--groups", "^[^_]+", "--unlabeled", frames / "more"]
    (frames / "more").mkdir()
    for video in "abcd":
        Image.new("L", (6, 4)).save(frames / f"more/video {video}_99.png")
    Image.new("L", (6, 4)).save(frames / "more/other.png")
    out = run(*arguments, "--out", frames / "lists")
    (video,) = {name[0] for name in names(frames / "lists/val.txt")}
    unlabeled = names(frames / "lists/unlabeled.txt")
    assert {f"{v}_99" for v in "abcd"} - set(unlabeled) == {f"{video}_99"} and "other" in unlabeled
    assert "Left out: 1 image without" in out


def test_existing_lists_are_kept(frames):
    run(*flags(frames), "--labels", 2, "--out", frames / "lists")
    before = (frames / "lists/labeled.txt").read_text()
    with pytest.raises(UserError, match="labeled.txt"):
        run(*flags(frames), "--labels", 3, "--out", frames / "lists")
    assert (frames / "lists/labeled.txt").read_text() == before


BAD = {
    "neither": ([], "neither"),
    "both": (["--labels", 2, "--fraction", "1/2"], "both"),
    "too many": (["--labels", 25], "1 to 24"),
    "too many with val": (["--labels", 20, "--val", 5], "20 and 5"),
    "bad regex": (["--labels", 2, "--groups", "("], "regular expression"),
    "no match": (["--labels", 2, "--groups", "video [ab]"], "'video c_0'"),
    "no fraction": (["--fraction", "half"], "--fraction; found 'half'"),
    "whole": (["--fraction", "1/1"], "'1/1'"),
    "zero": (["--fraction", "1/0"], "'1/0'"),
    "exponent": (["--fraction", "1e-99999999"], "1e-99999999"),
    "negative val": (["--labels", 2, "--val", "-3"], "'-3'"),
}


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD.keys())
def test_mistakes(frames, arguments, message):
    with pytest.raises(UserError, match=re.escape(message)):
        run(*flags(frames), *arguments, "--out", frames / "lists")
    assert not (frames / "lists").exists()


def test_out_must_be_a_folder(frames):
    (frames / "lists").write_text("")
    with pytest.raises(UserError, match="a file '.*lists'"):
        run(*flags(frames), "--labels", 2, "--out", frames / "lists")


def test_files_outside_the_root(frames):
    with pytest.raises(UserError, match="files below '.*images'"):
        run(*flags(frames, "--data", frames / "images"), "--labels", 2, "--out", frames / "lists")
    assert not (frames / "lists").exists()


def test_stacks(tmp_path):
    stack = np.arange(8, dtype=np.uint8)[:, None, None] + np.zeros((8, 5, 24), np.uint8)
    tifffile.imwrite(tmp_path / "train.tif", stack, photometric="minisblack")
    tifffile.imwrite(tmp_path / "truth.tif", (stack % 2) * 255, photometric="minisblack")
    where = ["--images", tmp_path / "train.tif", "--masks", tmp_path / "truth.tif"]
    run(*where, "--labels", 3, "--every", 2, "--out", tmp_path / "lists")
    dataset = data.ImageFolder(tmp_path / "train.tif", tmp_path / "truth.tif")
    read = split_from_lists(tmp_path / "lists/labeled.txt", tmp_path / "lists/unlabeled.txt", tmp_path, like=dataset)
    assert {s.image.page % 2 for s in read.labeled} == {0} and len(read.labeled) == 3 and len(read.unlabeled) == 5
    for sample in read.labeled:
        assert np.unique(sample.read_image()) == sample.image.page and not sample.read_mask().any()


def test_help():
    text = CliRunner().invoke(split, ["--help"]).output
    assert "rankmatch split --dataset CamVid" in text and "--groups" in text


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not on this machine")
def test_camvid(tmp_path):
    out = run(
        "--dataset", "CamVid", "--data", SHARED / "camvid", "--fraction", "1/16", "--every", 3,
        "--groups", "^[^_]+", "--out", tmp_path,
    )  # fmt: skip
    labeled = read_list(tmp_path / "labeled.txt")
    assert labeled[0][0].startswith("images/train/") and labeled[0][1].startswith("masks/train/")
    assert len(labeled) + len(read_list(tmp_path / "unlabeled.txt")) == 367
    assert "bicyclist" in out and "In no mask" not in out


def test_the_data_of_a_run(frames):
    loaded = {"loader": "ImageFolder", "arguments": {"images": str(frames / "images"), "masks": str(frames / "masks")}}
    (frames / "run").mkdir()
    (frames / "run/config.json").write_text(json.dumps({"options": {}, "data": loaded}))
    said = run("--like", frames / "run", "--labels", 5, "--out", frames / "like")
    assert "Left out of all" not in said  # nothing is held out
    run(*flags(frames), "--labels", 5, "--out", frames / "named")
    assert (frames / "like/labeled.txt").read_text() == (frames / "named/labeled.txt").read_text()
    with pytest.raises(UserError, match="both, --masks among them"):
        run("--like", frames / "run", "--masks", frames / "masks", "--labels", 5, "--out", frames / "both")


def test_the_validation_images_of_a_run_stay_out_and_it_says_so(frames):
    where = {"images": str(frames / "images"), "masks": str(frames / "masks"), "hold_out": 0.25}
    (frames / "run").mkdir()
    record = {"options": {}, "data": {"loader": "ImageFolder", "arguments": where}}
    (frames / "run/config.json").write_text(json.dumps(record))
    said = run("--like", frames / "run", "--labels", 5, "--out", frames / "like")
    assert f"Left out of all lists: 6 validation images of {frames / 'run'}, as networks that trained" in said
    chosen = {name for part in ("labeled", "unlabeled") for name, *_ in read_list(frames / f"like/{part}.txt")}
    assert len(chosen) == 24 - 6
