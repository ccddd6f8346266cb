"""From the 32 colors of CamVid to the usual 11 classes, on small trees."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import data
from rankmatch_keras.cli import run

SCRIPT = Path(__file__).resolve().parents[2] / "data/camvid/prepare.py"
# The 32 colors of the original set and the class of the 11 that SegNet groups each into; 255: void.
LEGEND = {
    (64, 128, 64): 9, (192, 0, 128): 1, (0, 128, 192): 10, (0, 128, 64): 1, (128, 0, 0): 1, (64, 0, 128): 8,
    (64, 0, 192): 9, (192, 128, 64): 9, (192, 192, 128): 2, (64, 64, 128): 7, (128, 0, 192): 3, (192, 0, 64): 3,
    (128, 128, 64): 6, (192, 0, 192): 10, (128, 64, 64): 8, (64, 192, 128): 4, (64, 64, 0): 9, (128, 64, 128): 3,
    (128, 128, 192): 4, (0, 0, 192): 4, (192, 128, 128): 6, (128, 128, 128): 0, (64, 128, 192): 8, (0, 0, 64): 2,
    (0, 64, 64): 6, (192, 64, 128): 8, (128, 128, 0): 5, (192, 128, 192): 8, (64, 0, 64): 1, (192, 192, 0): 5,
    (0, 0, 0): 255, (64, 192, 0): 1,
}  # fmt: skip
PARTS = {"train": ["a", "b"], "val": ["c"], "test": ["d"]}


@pytest.fixture(scope="module")
def prepare():
    return runpy.run_path(str(SCRIPT))["prepare"]


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def colors():
    """Draw every color in a block of 2 x 2 pixels: (8, 16, 3)."""
    blocks = np.array(list(LEGEND)).reshape(4, 8, 3)
    return blocks.repeat(2, axis=0).repeat(2, axis=1)


def ids():
    return np.array(list(LEGEND.values())).reshape(4, 8)


@pytest.fixture
def tree(tmp_path):
    for part, names in PARTS.items():
        for name in names:
            save(tmp_path / f"stills/{name}.png", np.arange(8 * 16 * 3).reshape(8, 16, 3) % 256)
            save(tmp_path / f"labels/{name}_L.png", colors())
        lines = [f"/SegNet/CamVid/{part}/{name}.png /SegNet/CamVid/{part}annot/{name}.png\n" for name in names]
        (tmp_path / f"lists/{part}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / f"lists/{part}.txt").write_text("".join(lines))
    return tmp_path


def call(prepare, tree, *flags):
    folders = {"images": "stills", "masks": "labels", "lists": "lists", "out": "out"}
    run(prepare, [text for flag, folder in folders.items() for text in (f"--{flag}", str(tree / folder))] + [*flags])


def error_of(capsys, prepare, tree, *flags):
    with pytest.raises(SystemExit) as stop:
        call(prepare, tree, *flags)
    message = capsys.readouterr().err
    assert stop.value.code == 2 and message.startswith("Error: Expected ") and message.count("\n") == 1
    return message


def test_the_32_colors(prepare, tree, capsys):
    call(prepare, tree, "--allow-incomplete")
    assert capsys.readouterr().out == f"2 train, 1 val, 1 test images and masks in {tree / 'out'}\n"
    camvid = data.CamVid(tree / "out")
    assert [[s.name for s in part] for part in (camvid.train, camvid.val, camvid.test)] == list(PARTS.values())
    assert camvid.train[0].read_mask().tolist() == ids().repeat(2, axis=0).repeat(2, axis=1).tolist()
    assert (tree / "out/images/train/a.png").read_bytes() == (tree / "stills/a.png").read_bytes()


def test_half(prepare, tree):
    call(prepare, tree, "--allow-incomplete", "--half")
    sample = data.CamVid(tree / "out").val[0]
    assert sample.read_mask().tolist() == ids().tolist()
    image = np.asarray(Image.open(tree / "stills/c.png"), np.float64)
    expected = image.reshape(4, 2, 8, 2, 3).mean((1, 3))
    np.testing.assert_allclose(sample.read_image(), expected, atol=0.51)


def test_ids_of_segnet(prepare, tree):
    for name in "abcd":
        (tree / f"labels/{name}_L.png").unlink()
        save(tree / f"labels/{name}.png", np.arange(128).reshape(8, 16) % 12)
    call(prepare, tree, "--allow-incomplete")
    mask = data.CamVid(tree / "out").train[1].read_mask()
    assert mask.ravel()[:13].tolist() == [*range(11), 255, 0]


def test_blended_pixels_are_reported_and_ignored(prepare, tree, capsys):
    mask = colors()
    mask[3, 5] = (128, 128, 26)
    save(tree / "labels/b_L.png", mask)
    call(prepare, tree, "--allow-incomplete")
    assert "1 pixels with colors of no class became 255" in capsys.readouterr().out
    assert data.CamVid(tree / "out").train[1].read_mask()[3, 5] == 255


def test_other_colors_are_refused(prepare, tree, capsys):
    mask = colors()
    mask[2:4, 4:6] = (1, 2, 3)
    save(tree / "labels/b_L.png", mask)
    message = error_of(capsys, prepare, tree, "--allow-incomplete")
    assert "(1, 2, 3) and others at 4 pixels" in message and "b_L.png" in message


def test_resumes_where_it_stopped(prepare, tree, capsys):
    save(tree / "labels/d_L.png", np.zeros((3, 3, 3)))
    message = error_of(capsys, prepare, tree, "--allow-incomplete")
    assert "(3, 3)" in message and "(8, 16)" in message
    files = sorted((tree / "out").rglob("*.png"))
    assert len(files) == 6
    times = [file.stat().st_mtime_ns for file in files]
    save(tree / "labels/d_L.png", colors())
    call(prepare, tree, "--allow-incomplete")
    assert times == [file.stat().st_mtime_ns for file in files]
    assert len(data.CamVid(tree / "out").test) == 1


def test_counts_are_checked(prepare, tree, capsys):
    message = error_of(capsys, prepare, tree)
    assert "367 train, 101 val, 233 test images; found 2 train, 1 val, 1 test" in message
    assert not (tree / "out").exists()


def test_missing_files_are_counted(prepare, tree, capsys):
    (tree / "stills/a.png").unlink()
    (tree / "labels/c_L.png").unlink()
    message = error_of(capsys, prepare, tree, "--allow-incomplete")
    assert "2 missing" in message and "a.png" in message and "c_L.png" in message


def test_an_image_in_two_lists(prepare, tree, capsys):
    (tree / "lists/val.txt").write_text("a\n")
    assert "'a' in train.txt and val.txt" in error_of(capsys, prepare, tree, "--allow-incomplete")


def test_other_files_in_the_output_are_noticed(prepare, tree, capsys):
    for kind in ("images", "masks"):
        save(tree / f"out/{kind}/train/old.png", np.zeros((2, 2)))
    assert "{'train': 3, 'val': 1, 'test': 1}" in error_of(capsys, prepare, tree, "--allow-incomplete")


def test_help(prepare, capsys):
    run(prepare, ["--help"])
    assert "python data/camvid/prepare.py --images" in capsys.readouterr().out
