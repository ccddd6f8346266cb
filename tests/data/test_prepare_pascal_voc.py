"""Merging SBD into PASCAL VOC, on a small tree laid out as both are unpacked."""

import runpy

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from rankmatch_keras import data
from rankmatch_keras.cli import run
from rankmatch_keras.data.sets.photographs import VOC_PALETTE


@pytest.fixture(scope="module")
def prepare():
    from pathlib import Path

    script = Path(__file__).resolve().parents[2] / "data/pascal_voc/prepare.py"
    return runpy.run_path(str(script))["prepare"]


def save_mat(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    boundaries = np.empty((20, 1), object)
    for i in range(20):
        boundaries[i, 0] = np.zeros(ids.shape, np.uint8)
    categories = np.unique(ids[ids > 0])[:, None]
    savemat(path, {"GTcls": {"Segmentation": ids, "Boundaries": boundaries, "CategoriesPresent": categories}})


def save_mask(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.full((4, 6), value, np.uint8))
    picture.putpalette([value for color in VOC_PALETTE for value in color])
    picture.save(path)


@pytest.fixture
def tree(tmp_path):
    """Make VOC with the training image a and the validation image b, both also in SBD, as are c and d."""
    voc, sbd = tmp_path / "VOC2012", tmp_path / "benchmark_RELEASE/dataset"
    for name in "abcd":
        (voc / "JPEGImages").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4)).save(voc / f"JPEGImages/{name}.jpg")
        ids = np.zeros((4, 6), np.uint8)
        ids[1:3, 2:] = 5 + "abcd".index(name)
        save_mat(sbd / f"cls/{name}.mat", ids)
    (voc / "ImageSets/Segmentation").mkdir(parents=True)
    for part, name in (("train", "a"), ("val", "b")):
        (voc / f"ImageSets/Segmentation/{part}.txt").write_text(f"{name}\n")
        save_mask(voc / f"SegmentationClass/{name}.png", 20)
    return voc, sbd


def call(prepare, voc, sbd, *flags):
    run(prepare, ["--voc", str(voc), "--sbd", str(sbd), *flags])


def error_of(capsys, prepare, *arguments):
    """Return the one line that a failed run prints."""
    with pytest.raises(SystemExit) as stop:
        call(prepare, *arguments)
    message = capsys.readouterr().err
    assert stop.value.code == 2 and message.startswith("Error: Expected ") and message.count("\n") == 1
    return message


def test_merged_set(prepare, tree, capsys):
    voc, sbd = tree
    call(prepare, voc, sbd, "--allow-incomplete")
    assert capsys.readouterr().out == f"3 training and 1 validation masks in {voc / 'SegmentationClassAug'}\n"
    assert (voc / "ImageSets/Segmentation/trainaug.txt").read_text() == "a\nc\nd\n"
    merged = data.PascalVOC(voc)
    assert [s.name for s in merged.train] == ["JPEGImages/a", "JPEGImages/c", "JPEGImages/d"]
    assert (merged.train[0].read_mask() == 20).all() and (merged.val[0].read_mask() == 20).all()  # VOC's masks win
    assert merged.train[1].read_mask().tolist() == [[0] * 6, *[[0, 0, 7, 7, 7, 7]] * 2, [0] * 6]
    with Image.open(voc / "SegmentationClassAug/d.png") as picture:
        assert picture.mode == "P" and picture.convert("RGB").getpixel((3, 1)) == VOC_PALETTE[8]


@pytest.mark.parametrize("place", ["", "cls"])
def test_folders_of_sbd(prepare, tree, place):
    voc, sbd = tree
    if place:  # the folder `dataset` itself is given in the other tests
        sbd = sbd.parent
    call(prepare, voc, sbd, "--allow-incomplete")
    assert len(list((voc / "SegmentationClassAug").iterdir())) == 4


def test_resumes_where_it_stopped(prepare, tree, capsys):
    voc, sbd = tree
    good = (sbd / "cls/d.mat").read_bytes()
    (sbd / "cls/d.mat").write_bytes(good[:-40])
    error_of(capsys, prepare, voc, sbd, "--allow-incomplete")
    assert not (voc / "ImageSets/Segmentation/trainaug.txt").exists()
    written = sorted(p.name for p in (voc / "SegmentationClassAug").iterdir())
    assert written == ["a.png", "c.png"]
    times = [(voc / "SegmentationClassAug" / name).stat().st_mtime_ns for name in written]
    (sbd / "cls/d.mat").write_bytes(good)
    (sbd / "cls/c.mat").write_bytes(b"not read again")
    call(prepare, voc, sbd, "--allow-incomplete")
    assert times == [(voc / "SegmentationClassAug" / name).stat().st_mtime_ns for name in written]
    assert len(data.PascalVOC(voc).train) == 3
    call(prepare, voc, sbd, "--allow-incomplete")  # all is there


def test_counts_are_checked_before_anything_is_written(prepare, tree, capsys):
    voc, sbd = tree
    message = error_of(capsys, prepare, voc, sbd)
    assert "10582 training and 1449 validation images; found 3 and 1" in message and "--allow-incomplete" in message
    assert not (voc / "SegmentationClassAug").exists()


def test_missing_images_are_counted(prepare, tree, capsys):
    voc, sbd = tree
    for name in "bd":
        (voc / f"JPEGImages/{name}.jpg").unlink()
    message = error_of(capsys, prepare, voc, sbd, "--allow-incomplete")
    assert "2 missing" in message and "d.jpg" in message and "b.jpg" in message


def test_missing_folders_are_named(prepare, tree, tmp_path, capsys):
    voc, sbd = tree
    assert "cls/*.mat" in error_of(capsys, prepare, voc, tmp_path)
    assert "no folder JPEGImages" in error_of(capsys, prepare, tmp_path, sbd)


def test_another_list_is_not_overwritten(prepare, tree, capsys):
    voc, sbd = tree
    path = voc / "ImageSets/Segmentation/trainaug.txt"
    path.write_text("a\nz\n")
    assert "trainaug.txt" in error_of(capsys, prepare, voc, sbd, "--allow-incomplete")
    assert path.read_text() == "a\nz\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "EmptyFile|empty|Empty|Mat"),
        (b"MATLAB 7.3 MAT-file" + bytes(600), "c.mat"),
        (bytes(5 << 20), "5242880 bytes"),
        ({"other": 1}, "KeyError"),
        ({"GTcls": 3}, "c.mat"),
        ({"GTcls": {"Segmentation": np.full((4, 6), 21, np.uint8)}}, r"uint8 \(4, 6\), 21 to 21"),
        ({"GTcls": {"Segmentation": np.zeros((4, 6))}}, "float64"),
        ({"GTcls": {"Segmentation": np.zeros((0, 6), np.uint8)}}, r"\(0, 6\)"),
    ],
)
def test_damaged_mat_files(prepare, tree, capsys, content, message):
    voc, sbd = tree
    if isinstance(content, bytes):
        (sbd / "cls/c.mat").write_bytes(content)
    else:
        savemat(sbd / "cls/c.mat", content)
    import re

    line = error_of(capsys, prepare, voc, sbd, "--allow-incomplete")
    assert re.search(message, line) and "c.mat" in line


def test_help_and_missing_flags(prepare, capsys):
    run(prepare, ["--help"])
    text = capsys.readouterr().out
    assert "python data/pascal_voc/prepare.py --voc" in text
    with pytest.raises(SystemExit) as stop:
        run(prepare, ["--voc", "x"])
    assert stop.value.code == 2 and "--sbd" in capsys.readouterr().err
