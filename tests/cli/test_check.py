"""`rankmatch check` as a person meets it: text, pictures, JSON and exit codes."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import cli
from rankmatch_keras.cli.check import check

pytestmark = pytest.mark.once


def picture(seed):
    """48 x 64 with coarse structure of its own."""
    coarse = np.random.default_rng(seed).integers(0, 230, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)


def write(folder, name, seed, mask=True, **options):
    for kind in ("images", "masks") if mask else ("images",):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    picture(seed).save(folder / "images" / f"{name}.png", **options)
    if mask:
        ids = np.zeros((48, 64), np.uint8)
        ids[10:30, 5 + seed % 10 : 40] = 1
        Image.fromarray(ids).save(folder / "masks" / f"{name}.png")


@pytest.fixture(scope="module")
def clean_tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("check") / "tree"
    for number in range(6):
        write(root / "train", f"größe {number}", number)
    for number in range(3):
        write(root / "val", f"v{number}", 100 + number)
        write(root / "more", f"u{number}", 200 + number, mask=False)
    return root


@pytest.fixture
def tree(clean_tree, tmp_path, monkeypatch):
    """A copy that a test may damage; commands run beside it."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(clean_tree, tmp_path / "tree")


@pytest.fixture
def run(capsys):
    """Runs the command; returns the exit code and what it printed."""

    def run(*arguments):
        try:
            cli.run(check, [str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        else:
            code = 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def flags(tree, *more):
    train, val = tree / "train", tree / "val"
    return [
        *("--images", train / "images", "--masks", train / "masks", "--unlabeled", tree / "more" / "images"),
        *("--val-images", val / "images", "--val-masks", val / "masks", "--classes", "ground,cell", *more),
    ]


def test_a_clean_set(tree, run, tmp_path):
    code, out, err = run(*flags(tree))
    assert (code, err) == (0, "") and "No findings." in out
    assert "6 labeled, 3 unlabeled, 3 validation; 2 classes" in out
    (folder,) = tmp_path.glob("check-*")
    assert sorted(path.name for path in folder.iterdir()) == ["classes.png", "report.txt", "samples.png"]
    assert (folder / "report.txt").read_text(encoding="utf-8").strip() in out
    for name in ("classes.png", "samples.png"):
        with Image.open(folder / name) as chart:
            assert chart.width > 1000 and np.asarray(chart.convert("RGB")).std() > 10
    assert str(folder.name) in out


def test_nothing_is_overwritten(tree, run, tmp_path):
    run(*flags(tree))
    (before,) = tmp_path.glob("check-*")
    (before / "report.txt").write_text("mine")
    assert run(*flags(tree))[0] == 0
    assert (before / "report.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.glob("check-*")} == {before.name, f"{before.name}-2"}
    code, _, err = run(*flags(tree, "--out", before))
    assert code == 2 and "new or empty" in err and "Traceback" not in err


def damage(tree):
    """A set with many faults at once."""
    train, val = tree / "train", tree / "val"
    (train / "images" / "größe 0.png").write_bytes(b"hello")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(train / "masks" / "größe 1.png")
    Image.fromarray(np.full((48, 64), 7, np.uint8)).save(train / "masks" / "größe 2.png")
    Image.fromarray(np.full((48, 64), 255, np.uint8)).save(train / "masks" / "größe 3.png")
    shutil.copy(val / "images" / "v1.png", tree / "more" / "images" / "u0.png")
    picture(100).save(tree / "more" / "images" / "u9.jpg", quality=50)
    (train / "masks" / "größe 4.png").unlink()
    shutil.copy(val / "masks" / "v1.png", val / "masks" / "v9.png")


def test_all_findings_are_collected(tree, run, tmp_path):
    damage(tree)
    code, out, err = run(*flags(tree, "--json", tmp_path / "report.json", "--out", tmp_path / "out"))
    assert (code, err) == (1, "")
    findings = {f["kind"]: f for f in json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["findings"]}
    found = {kind: [name.split("/")[-1] for name in finding["names"]] for kind, finding in findings.items()}
    assert found == {
        "image-unreadable": ["größe 0.png"],
        "mask-missing": ["größe 4.png"],
        "mask-unused": ["v9.png"],
        "mask-size": ["größe 1.png"],
        "mask-values": ["größe 2.png"],
        "shared-images": ["v1.png"],
        "near-duplicates": ["v0.png"],
        "ignored-mask": ["größe 3.png"],
    }
    assert "Findings: 8" in out and "größe 2.png" in out and "7 at 3072 pixels" in out
    assert (tmp_path / "out" / "samples.png").exists()


def test_what_is_not_read_is_found(tree, run):
    (tree / "more" / "images" / "photo.heic").touch()
    frames = [picture(n) for n in (60, 61)]
    frames[0].save(tree / "more" / "images" / "moving.gif", save_all=True, append_images=frames[1:])
    code, out, _ = run(*flags(tree))
    assert code == 1 and "photo.heic" in out and "moving.gif" in out and "first frame" in out


def test_findings_may_be_allowed(tree, run, tmp_path):
    shutil.copy(tree / "val" / "images" / "v1.png", tree / "more" / "images" / "u0.png")
    assert run(*flags(tree))[0] == 1
    code, out, _ = run(*flags(tree, "--allow", "shared-images"))
    assert code == 0 and "Notes" in out and "v1.png" in out
    code, _, err = run(*flags(tree, "--allow", "everything"))
    assert code == 2 and "near-duplicates" in err


def test_nothing_to_train(tree, run, tmp_path):
    for path in (tree / "train" / "images").iterdir():
        path.write_bytes(b"hello")
    code, out, err = run(*flags(tree))
    assert code == 2 and err.count("\n") == 1 and "at least one labeled image" in err
    assert "Images that cannot be read: 6" in out
    for path in (tree / "train" / "masks").iterdir():
        path.write_bytes(b"hello")
    code, _, err = run(*flags(tree))
    assert code == 2 and err.count("\n") == 1 and "größe 0.png" in err


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ([], "--dataset"),
        (["--images", "nowhere", "--masks", "nowhere", "--classes", "2"], "nowhere"),
        (["--dataset", "CamVit", "--data", "."], "CamVid"),
        (["--unlabeled-list", "a.txt", "--dataset", "CamVid", "--data", "."], "--labeled-list"),
    ],
)
def test_what_cannot_be_looked_at_is_one_line(arguments, phrase, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments)
    assert code == 2 and phrase in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_lists_say_what_is_labeled(tree, run, tmp_path):
    listed = [f"train/images/größe {n}.png\ttrain/masks/größe {n}.png\n" for n in range(2)]
    (tmp_path / "labeled.txt").write_text("".join(listed), encoding="utf-8")
    (tmp_path / "unlabeled.txt").write_text("more/images/u1.png\n")
    lists = ["--data", tree, "--labeled-list", tmp_path / "labeled.txt", "--unlabeled-list", tmp_path / "unlabeled.txt"]
    code, out, err = run(*flags(tree, *lists))
    assert code == 0, err
    assert "2 labeled, 1 unlabeled, 3 validation; 2 classes" in out


def test_a_place_that_cannot_be_written(tree, run, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run(*flags(tree, "--json", tmp_path / "file" / "report.json"))
    assert code == 2 and "place to write" in err and "Traceback" not in err
