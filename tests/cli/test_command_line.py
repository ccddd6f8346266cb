"""The command line as a user meets it: one way through, and every mistake as one line with exit code 2."""

import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import models
from rankmatch_keras.training.options import CATALOG

SIZE = (48, 56)


@pytest.fixture(scope="module")
def clean_tree(tmp_path_factory, write_lucchi):
    return write_lucchi(tmp_path_factory.mktemp("data") / "tree", train=6, size=SIZE)


@pytest.fixture
def tree(clean_tree, tmp_path):
    """A copy of the tree that a test may break."""
    return shutil.copytree(clean_tree, tmp_path / "tree")


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def smoke(tree, out, *more):
    return ["train", "recipes/lucchi.py", "--data", tree, "--labels", 3, "--smoke", "--crop", 33, "--out", out, *more]


@pytest.fixture(scope="module")
def finished():
    """Folder of the run that the first test makes, for the tests after it."""
    return {}


@pytest.fixture
def run_folder(finished, clean_tree, tmp_path_factory, rankmatch):
    if "folder" not in finished:
        folder = tmp_path_factory.mktemp("runs") / "first"
        code, out, err = rankmatch(*smoke(clean_tree, folder, "--method", "unimatch", "--report"))
        assert code == 0, err
        assert f"The report is {folder / 'report.html'}" in out.splitlines()[-1]
        finished.update(folder=folder, out=out)
    return finished["folder"]


def test_training_leaves_a_complete_run(run_folder, finished):
    # Where the last epoch was the best one, there is a best one before it.
    assert {path.name for path in run_folder.iterdir()} - {"previous-best.keras"} == {
        ".lock",
        "best.keras",
        "config.json",
        "cost.json",
        "curves.png",
        "history.csv",
        "images.csv",
        "last.keras",
        "predictions.png",
        "previous.npz",
        "pseudo_labels.csv",
        "report.html",
        "run.yaml",
        "scores.csv",
        "scores.json",
        "state.npz",
        "tensorboard",
    }
    config = json.loads((run_folder / "config.json").read_text())
    assert config["options"]["seed"] == 0 and config["options"]["method"] == "unimatch"
    assert config["backend"] == keras.backend.backend()
    assert len(config["split"]["labeled"]) == 3 and config["split"]["id"] in finished["out"]
    assert "mean IoU" in finished["out"] and "mitochondrion" in finished["out"]


def test_evaluate_prints_the_scores_again(run_folder, rankmatch):
    code, out, _ = rankmatch("evaluate", run_folder)
    scores = json.loads((run_folder / "scores.json").read_text())["IoU %"]
    assert code == 0
    assert f"{100 * scores['mean_iou']:.2f}" in out
    again = json.loads((run_folder / "evaluation-val-last.json").read_text())
    assert again["iou"] == pytest.approx(scores["iou"], abs=1e-9)


def test_scores_of_some_images_leave_those_of_all(run_folder, rankmatch):
    before = (run_folder / "evaluation-val-last.json").read_text()
    code, out, _ = rankmatch("evaluate", run_folder, "--limit", 1)
    assert code == 0 and "evaluation-val-last-1-images.json" in out
    assert (run_folder / "evaluation-val-last.json").read_text() == before
    assert json.loads((run_folder / "evaluation-val-last-1-images.json").read_text())["images"] == 1


def test_a_run_whose_images_changed_does_not_resume(run_folder, clean_tree, rankmatch):
    image = clean_tree / "images/train/02.png"
    content = image.read_bytes()
    Image.fromarray(np.zeros(SIZE, "uint8")).save(image)
    code, _, err = rankmatch(*smoke(clean_tree, run_folder, "--method", "unimatch", "--resume"))
    image.write_bytes(content)
    assert code == 2 and "1 changed: " in err and "labeled 02 (by " in err and "Resume with the same files" in err


def test_predict_writes_masks_and_overlays(run_folder, clean_tree, tmp_path, rankmatch):
    images = clean_tree / "images" / "test"
    code, out, err = rankmatch("predict", run_folder, "--images", images, "--out", tmp_path / "seen")
    assert code == 0, err
    mask = pixels(tmp_path / "seen/masks/00.png")
    predictor = models.load_predictor(run_folder / "last.keras")
    raw = pixels(images / "00.png")[None, ..., None]  # gray slices, one channel
    np.testing.assert_array_equal(mask, np.asarray(predictor.predict_on_batch(raw))[0].argmax(-1))
    code, out, err = rankmatch("predict", run_folder, "--images", images / "00.png", "--out", tmp_path / "one")
    assert code == 0 and "1 image, " in out, err
    np.testing.assert_array_equal(pixels(tmp_path / "one/masks/00.png"), mask)
    Image.fromarray(257 * pixels(images / "00.png").astype("uint16")).save(tmp_path / "deep.png")
    code, _, err = rankmatch("predict", run_folder, "--images", tmp_path / "deep.png", "--out", tmp_path / "deep")
    assert code == 2 and "about 118; found " in err and "deep.png" in err
    assert pixels(tmp_path / "seen/overlays/01.png").shape == (*SIZE, 3)


def test_an_image_with_the_longest_name_is_predicted(run_folder, clean_tree, tmp_path, rankmatch):
    (tmp_path / "images").mkdir()
    shutil.copy(clean_tree / "images/test/00.png", tmp_path / f"images/{'x' * 251}.png")
    code, _, err = rankmatch("predict", run_folder, "--images", tmp_path / "images", "--out", tmp_path / "seen")
    assert code == 0, err
    assert len([*(tmp_path / "seen").rglob("x*.png")]) == 2


def test_a_finished_run_resumes_to_itself(run_folder, clean_tree, rankmatch):
    before = (run_folder / "history.csv").read_text()
    code, _, err = rankmatch(*smoke(clean_tree, run_folder, "--method", "unimatch", "--resume"))
    assert code == 0, err
    assert (run_folder / "history.csv").read_text() == before


def test_another_run_is_not_overwritten(run_folder, clean_tree, rankmatch):
    before = (run_folder / "state.npz").read_bytes()
    code, _, err = rankmatch(*smoke(clean_tree, run_folder))
    assert code == 2 and "another run" in err and "--resume" in err
    assert (run_folder / "state.npz").read_bytes() == before


def remove_mask(tree):
    (tree / "masks/train/02.png").unlink()


def other_size(tree):
    Image.fromarray(np.zeros((9, 9), "uint8")).save(tree / "masks/train/01.png")


def other_values(tree):
    for path in (tree / "masks/train").iterdir():
        Image.fromarray(np.full(SIZE, 7, "uint8")).save(path)


def truncate(tree):
    for path in (tree / "images/train").iterdir():
        path.write_bytes(path.read_bytes()[:90])


def not_an_image(tree):
    (tree / "images/test/00.png").write_text("hello")


def empty(tree):
    for path in (tree / "images/train").iterdir():
        path.unlink()


MISTAKES = {
    "image without mask": (remove_mask, [], "02"),
    "mask of another size": (other_size, [], "01.png"),
    "mask values outside the classes": (other_values, [], "0..1"),
    "truncated image": (truncate, [], ".png"),
    "unreadable image": (not_an_image, [], "00.png"),
    "empty folder": (empty, [], "train"),
    "crop of zero": (None, ["--crop", 0], "--crop"),
    "negative batch": (None, ["--batch", -1], "--batch"),
    "more labels than images": (None, ["--labels", 99], "6 labeled"),
    "unknown option": (None, ["--lables", 3], "--labels"),
    "misspelt option of the method": (empty, ["--set", "treshold=0.9"], "threshold"),
    "option of the method given twice": (
        empty,
        ["--threshold", 0.9, "--set", "threshold=0.8"],
        "one value of threshold",
    ),
    "missing configuration file": (empty, ["--config", "nowhere.yaml"], "nowhere.yaml"),
    "unknown method": (None, ["--method", "rankmatsh"], "rankmatch"),
    "unknown backbone": (None, ["--backbone", "resnet51"], "resnet50"),
    "missing weights": (None, ["--backbone", "mobilenet_v2", "--weights", "nowhere.h5"], "nowhere.h5"),
    "two durations": (None, ["--steps", 2, "--epochs", 2], "one duration"),
    "steps that do not divide": (None, ["--steps", 7, "--interval", 3], "6 steps"),
    "no unlabeled images": (None, ["--labels", 6], "unlabeled"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(name, tree, tmp_path, rankmatch):
    damage, flags, phrase = MISTAKES[name]
    if damage:
        damage(tree)
    code, _, err = rankmatch(*smoke(tree, tmp_path / "run", *flags))
    assert code == 2
    message = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(message) == 1 and phrase in message[0]
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (["train", "recipes/lucchi.py", "--data", "nowhere", "--out", "x"], "nowhere"),
        (["train", "recipes/lucchi.py", "--out", "x"], "--data"),
        (["train", "recipes/nowhere.py"], "recipes/nowhere.py"),
        (["evaluate", "nowhere"], "config.json"),
        (["predict", "nowhere", "--images", "nothing", "--out", "x"], "nowhere"),
        (["trian"], "train"),
        (["train", "--images", "a", "--masks", "b"], "--out runs/first"),
        (["train", "--images", "a", "--masks", "b", "--out", "recipes"], "found recipes with other files"),
        (["train", "--images", "a", "--lr", "0.1", "--out", "x"], "--learning-rate"),
        (["train", "--images", "a", "--masks", "b", "--hold-out", "0", "--out", "x"], "--hold-out 0.2"),
        (["train", "--images", "a", "--masks", "b", "--set", "top_k=banana", "--out", "x"], "a number as top_k"),
    ],
)
def test_a_missing_file_is_named(arguments, phrase, rankmatch):
    code, _, err = rankmatch(*arguments)
    assert code == 2 and phrase in err and "Traceback" not in err


def test_weights_of_another_network_are_refused(tree, tmp_path, rankmatch):
    models.create_backbone("tiny").save_weights(tmp_path / "tiny.weights.h5")
    flags = ["--backbone", "mobilenet_v2", "--weights", tmp_path / "tiny.weights.h5"]
    code, _, err = rankmatch(*smoke(tree, tmp_path / "run", *flags))
    assert code == 2 and "tiny.weights.h5" in err and "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_damaged_model_is_refused(tree, tmp_path, rankmatch):
    (tmp_path / "model.keras").write_bytes(b"PK")
    arguments = ["--images", tree / "images/test", "--out", tmp_path / "seen"]
    code, _, err = rankmatch("predict", tmp_path / "model.keras", *arguments)
    assert code == 2 and "model.keras" in err and "Traceback" not in err


HELP = [["--help"], ["train"], ["train", "-h"], ["train", "recipes/lucchi.py", "--help"], ["predict", "-h"]]
HELP += [["train", "--images", "-h"], ["train", "recipes/lucchi.py", "--data", "--help"], ["predict", "--out", "-h"]]


@pytest.mark.parametrize("arguments", HELP)
def test_help_shows_examples(arguments, rankmatch):
    code, out, _ = rankmatch(*arguments)
    assert code == 0
    assert "KERAS_BACKEND" in out or "rankmatch " in out


@pytest.mark.once
def test_help_has_groups_and_imports_no_framework(checkout):
    script = (
        "import sys; sys.argv = ['rankmatch', 'train', '--help']\n"
        "from rankmatch_keras.cli import main\n"
        "try: main()\n"
        "finally: print('MODULES', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    out, _, modules = done.stdout.partition("MODULES")
    for heading in ("Data:", "Labeled images and validation:", "Method:", "Network:", "Training:", "Run:"):
        assert f"\n{heading}\n" in out
    for option in CATALOG.values():
        assert (option.flag in out) == (option.about.flag != "never")
    assert not {"keras", "torch", "tensorflow", "jax", "matplotlib", "scipy", "numpy"} & set(modules.split())
