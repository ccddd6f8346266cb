"""Every recipe runs in its smoke form, and the demonstration compares the two methods."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image


def camvid_tree(root):
    for part, count in (("train", 4), ("val", 2), ("test", 2)):
        write_pairs(root / "images" / part, root / "masks" / part, count, classes=11)
    return root


def voc_tree(root):
    names = write_pairs(root / "JPEGImages", root / "SegmentationClass", 6, classes=21, ending="jpg")
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(names[:4]))
    (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(names[4:]))
    return root


def write_pairs(images, masks, count, classes, ending="png"):
    rng = np.random.default_rng(0)
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for number in range(count):
        mask = np.full((40, 52), number % classes, dtype="uint8")
        mask[:, 26:] = classes - 1
        Image.fromarray(rng.integers(0, 255, (40, 52, 3)).astype("uint8")).save(images / f"{number}.{ending}")
        Image.fromarray(mask).save(masks / f"{number}.png")
    return [str(number) for number in range(count)]


def run(checkout, script, *arguments):
    """As a user does: the script itself, in a process of its own."""
    command = [sys.executable, script, *map(str, arguments), "--crop", "33"]
    result = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.once  # Lucchi's runs on every backend, in test_cli.py
@pytest.mark.parametrize(("recipe", "tree"), [("camvid", camvid_tree), ("pascal_voc", voc_tree)])
def test_a_recipe_runs(recipe, tree, rankmatch, tmp_path):
    places = ["--data", tree(tmp_path / "data"), "--out", tmp_path / "run"]
    code, out, err = rankmatch("train", f"recipes/{recipe}.py", *places, "--labels", 2, "--smoke", "--crop", 33)
    assert code == 0, err
    assert "mean IoU" in out
    assert "\nNo labeled mask shows " in out and ": not learnable until an image of each is labeled.\n" in out
    assert {"best.keras", "last.keras", "predictions.png"} <= {path.name for path in (tmp_path / "run").iterdir()}


@pytest.mark.once
def test_the_demonstration_compares(checkout, tmp_path):
    out = run(checkout, "recipes/demo.py", "--smoke", "--out", tmp_path / "run")
    assert "rankmatch with 12 labels: " in out and "points of mean IoU over the labels alone" in out
    for method in ("supervised", "rankmatch", "all-labels"):
        scores = json.loads((tmp_path / "run" / method / "scores.json").read_text())
        assert set(scores) == {"before", "after"}
    assert (tmp_path / "run/curves.png").stat().st_size > 1000


@pytest.mark.once
def test_a_finished_network_teaches(checkout, rankmatch, tmp_path):
    data = ["--data", camvid_tree(tmp_path / "data"), "--labels", 2, "--smoke", "--crop", 33]
    first, second = tmp_path / "first", tmp_path / "second"
    code, _, err = rankmatch("train", "recipes/camvid.py", *data, "--method", "supervised", "--out", first)
    assert code == 0, err
    flags = ["--method", "frozenteacher", "--set", f"teacher={first / 'last.keras'}", "--set", "student_sees=weak"]
    command = ["benchmarks/frozen_teacher.py", "train", "recipes/camvid.py", *data, *flags, "--out", second]
    run(checkout, *command)
    recorded = json.loads((second / "config.json").read_text())["options"]
    assert recorded["set"] == [f"teacher={first / 'last.keras'}", "student_sees=weak"]
    saved = [keras.saving.load_model(folder / "last.keras", compile=False) for folder in (first, second)]
    kernel, now = (network.get_layer("decoder").get_layer("classifier").kernel for network in saved)
    with np.load(second / "state.npz") as state:
        kernels = [state[name] for name in state.files if state[name].shape == tuple(kernel.shape)]
    holds = [sum(np.array_equal(value, keras.ops.convert_to_numpy(one)) for value in kernels) for one in (kernel, now)]
    assert holds == [1, 1]  # the teacher's, as it was, and the student's


@pytest.mark.once
def test_the_step_benchmark_prints_a_table(checkout):
    flags = [
        "--backend",
        keras.backend.backend(),
        "--backbone",
        "tiny",
        "--batch",
        1,
        "--steps",
        2,
        "--no-plain",
        "--no-shares",
    ]
    out = run(checkout, "benchmarks", "step", *flags)
    rows = {
        cells[6]: cells
        for cells in ([c.strip() for c in line.split("|")] for line in out.splitlines())
        if len(cells) > 9
    }
    assert float(rows["UniMatch"][7]) > 0 and float(rows["RankMatch"][7]) > 0
    assert rows["UniMatch"][9] == "1.000" and float(rows["RankMatch"][14]) > 0.1


def test_an_occupied_folder_in_a_configuration_file_is_found_before_keras_is_imported(checkout, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    (tmp_path / "options.yaml").write_text(f"out: {tmp_path / 'run'}\n")
    code = (
        "import sys; from rankmatch_keras.cli import main; sys.argv[1:] = ['train', '--config', sys.argv[1]]\n"
        "try: main()\nfinally: assert 'keras' not in sys.modules"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "options.yaml"], capture_output=True, text=True, cwd=checkout
    )
    assert ended.returncode == 2 and "another run in" in ended.stderr, ended.stderr
