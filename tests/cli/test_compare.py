"""Comparing and drawing as a user does: two methods on a few of the sample scenes, and mistakes as one line."""

import csv
import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from rankmatch_keras.training import run_folder

pytestmark = pytest.mark.once

METHODS = "supervised,rankmatch[num_agents=8]"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Eight training and two validation scenes."""
    from rankmatch_keras.data.sets import sample_scenes as synthetic

    folder = tmp_path_factory.mktemp("scenes")
    synthetic.write_scenes(folder, {"train": 8, "val": 2})
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Folder of the comparison that the first test makes, for the tests after it."""
    return tmp_path_factory.mktemp("comparison") / "out"


def command(scenes, out, *more):
    flags = ["--dataset", "SampleScenes", "--data", scenes, "--smoke", "--crop", 33, "--aspp-filters", 8]
    words = [
        "compare",
        *flags,
        "--decoder-filters",
        8,
        "--methods",
        METHODS,
        "--labels",
        "3,all",
        "--seeds",
        "0,",
        *more,
    ]
    return [*words, "--no-report", "--out", out]


def test_two_methods_are_compared_and_a_cut_off_run_goes_on(scenes, compared, rankmatch):
    code, out, err = rankmatch(*command(scenes, compared, "--jobs", 2))
    assert code == 0, out + err
    assert "All labels: no runs of rankmatch[num_agents=8], for want of unlabeled images.\n" in out
    assert "3 runs: 0 finished, 0 to resume, 3 to start" in out
    assert "| method | 3 | all (8) | gap closed, % |" in out and "\nThe gap between 3 and all labels is " in out
    assert "| rankmatch[num_agents=8] |" in out and "Δ best other − supervised" in out
    names = {path.name for path in compared.iterdir()}
    assert {"table.md", "table.tex", "table.csv", "pairs.csv", "runs.csv", "curves.png", "classes.svg"} <= names
    assert not [*compared.rglob("report.html")]  # neither of the comparison nor of its runs
    run = compared / "runs/rankmatch_num_agents=8-l3-s0"
    options = json.loads((run / "config.json").read_text())["options"]
    assert options["num_agents"] == 8 and options["set"] == [] and options["labels"] == 3
    ceiling = json.loads((compared / "runs/supervised-lall-s0/config.json").read_text())
    assert ceiling["options"]["labels"] is None and len(ceiling["split"]["labeled"]) == 8
    assert ceiling["split"]["unlabeled"] == 0 and ceiling["options"]["steps"] == options["steps"]
    assert json.loads((run / "cost.json").read_text())["peak_memory_gb"] > 0.1
    assert (run / "pseudo_labels.csv").is_file()
    scores = (run / "scores.json").read_text()

    (run / "scores.json").unlink()
    (compared / "runs/supervised-lall-s0/scores.json").unlink()
    code, out, err = rankmatch(*command(scenes, compared, "--jobs", 2))
    assert code == 0, out + err
    assert "3 runs: 1 finished, 2 to resume, 0 to start" in out
    again = json.loads((run / "scores.json").read_text())
    assert again["IoU %"]["iou"] == json.loads(scores)["IoU %"]["iou"]
    with (compared / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["error"] for row in rows] == ["", "", ""] and [row["labels"] for row in rows] == ["3", "3", "all"]
    assert float(rows[1]["step_seconds"]) > 0

    code, _, err = rankmatch(*command(scenes, compared, "--steps", 4))
    assert code == 2 and "--steps 4" in err and "compare.json" in err


def test_two_comparisons_in_one_folder_are_refused(scenes, compared, rankmatch, checkout):
    script = (
        "import pathlib, sys, time; from rankmatch_keras.training.run_folder import lock; "
        "lock(pathlib.Path(sys.argv[1])); print('there', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    os.close(run_folder._locks.pop(compared.resolve()))  # the test before had it in this process
    table = (compared / "table.md").read_text()
    command_line = [sys.executable, "-c", script, str(compared)]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, text=True, env=environment) as other:
        assert "there" in other.stdout.readline()
        code, _, err = rankmatch(*command(scenes, compared))
        other.kill()
    assert code == 2 and "which another process is using" in err
    assert (compared / "table.md").read_text() == table


@pytest.mark.parametrize("content", ["", "[]", '{"words": 3}', "\0"])
def test_a_damaged_plan_is_named(content, scenes, compared, rankmatch):
    plan = (compared / "compare.json").read_text()
    (compared / "compare.json").write_text(content)
    code, _, err = rankmatch(*command(scenes, compared))
    (compared / "compare.json").write_text(plan)
    assert code == 2 and "compare.json" in err and "Traceback" not in err


def test_a_damaged_run_does_not_stop_the_table_of_the_others(scenes, compared, rankmatch):
    scores = compared / "runs/rankmatch_num_agents=8-l3-s0/scores.json"
    content = scores.read_text()
    scores.write_text("[]")
    code, out, err = rankmatch(*command(scenes, compared))
    scores.write_text(content)
    assert code == 1 and "1 of 3 runs have no score" in err
    assert "scores.json" in out and "| supervised |" in out


def test_figures_of_the_runs(compared, tmp_path, rankmatch):
    runs = sorted((compared / "runs").glob("*-l3-s0"))
    code, out, err = rankmatch("figures", *runs, "--out", tmp_path / "figures", "--images", 1, "--agents", 6)
    assert code == 0, err
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"predictions.png", "agents-supervised.png", "pseudo_labels.png", "pseudo_labels.svg"} <= names
    assert len(names) == 5 and "contours.png" not in names
    with Image.open(tmp_path / "figures/predictions.png") as picture:
        assert picture.size[0] > 1000
    assert "rankmatch[num_agents=8]: " in out

    code, _, err = rankmatch("figures", *runs, "--out", tmp_path / "other", "--images", "scene_01")
    assert code == 2 and "Did you mean" in err and "Traceback" not in err
    code, out, err = rankmatch("compare", *(compared / "runs").iterdir(), "--out", tmp_path / "tables")
    assert code == 0 and "| supervised |" in out and "| method | 3 | all (8) | gap closed, % |" in out, err
    page = (tmp_path / "tables/report.html").read_text(encoding="utf-8")
    assert "gap closed, %" in page and out.splitlines()[-1] == f"The report is {tmp_path / 'tables/report.html'}"
    code, _, err = rankmatch("report", compared, "--shown", 1, "--limit", 1)
    page = (compared / "report.html").read_text(encoding="utf-8")
    (compared / "report.html").unlink()
    assert code == 0 and "rankmatch compare --dataset SampleScenes --data " in page, err
    assert "--methods &#39;supervised,rankmatch[num_agents=8]&#39; --labels 3,all --seeds 0, --out NEW" in page


MISTAKES = [
    (["compare", "nowhere", "--out", "{}"], "config.json"),
    (["compare", "--out", "{}"], "--methods"),
    (["compare", "recipes/lucchi.py", "--data", "x", "--out", "{}"], "--methods"),
    (["compare", "recipes/nowhere.py", "--methods", "supervised", "--out", "{}"], "recipes/nowhere.py"),
    (["compare", "recipes/lucchi.py", "--methods", "a[b]", "--out", "{}"], "OPTION=VALUE"),
    (["compare", "recipes/lucchi.py", "--methods", "a", "--seeds", "x", "--out", "{}"], "--seeds x"),
    (["compare", "recipes/lucchi.py", "--methods", "a", "--seed", "1", "--out", "{}"], "--seeds"),
    (["compare", "recipes/lucchi.py", "--methods", "supervised", "--out", "rankmatch_keras"], "--out"),
    (["compare", "recipes/lucchi.py", "--methods", "supervised,unimach", "--out", "{}"], "Did you mean unimatch?"),
    (["compare", "recipes/lucchi.py", "--methods", "rankmatch[top=6]", "--out", "{}"], "Did you mean top_k?"),
    (
        ["compare", "recipes/lucchi.py", "--methods", "supervised", "--labels", "5,al", "--out", "{}"],
        "Did you mean all?",
    ),
    (["compare", "recipes/lucchi.py", "--methods", "rankmatch", "--labels", "all", "--out", "{}"], "--labels 20,all"),
    (["compare", "recipes/pascal_voc.py", "--methods", "supervised", "--labels", "all", "--out", "{}"], "80 epochs"),
    (
        [
            "compare",
            "recipes/lucchi.py",
            "--methods",
            "supervised",
            "--labels",
            "all",
            "--labeled-list",
            "x",
            "--out",
            "{}",
        ],
        "--labeled-list",
    ),
    (["compare", "recipes/lucchi.py", "--methods", "supervised", "--stepz", "4", "--out", "{}"], "'--steps'"),
    (["compare", "recipes/lucchi.py", "--methods", "supervised", "--crop", "7", "--out", "{}"], "'--crop'"),
    (["compare", "recipes/lucchi.py", "--methods", "supervised", "--interval", "7", "--out", "{}"], "300 steps and 7"),
    (
        ["compare", "recipes/lucchi.py", "--methods", "rankmatch,supervised", "--threshold", "0.9", "--out", "{}"],
        "--method supervised; found --threshold",
    ),
    (["compare", "--images", "x", "--masks", "y", "--methods", "supervised", "--out", "{}"], "--steps 1000 --crop 193"),
    (["figures", "nowhere", "--out", "{}"], "config.json"),
    (["figures", "nowhere", "--out", "rankmatch_keras"], "new or empty"),
]


@pytest.mark.parametrize(("arguments", "phrase"), MISTAKES)
def test_a_mistake_is_one_line(arguments, phrase, tmp_path, rankmatch):
    code, _, err = rankmatch(*(word.format(tmp_path / "out") for word in arguments))
    assert code == 2 and phrase in err and "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("Error: ")]) == 1
    assert not (tmp_path / "out").exists()


def test_unfinished_runs_and_other_data_are_refused(tmp_path, rankmatch):
    for name, classes in (("a", ["x"]), ("b", ["y"])):
        (tmp_path / name).mkdir()
        config = {"options": {"method": "rankmatch", "seed": 0}, "data": {"loader": "Lucchi", "classes": classes}}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    code, _, err = rankmatch("figures", tmp_path / "a", "--out", tmp_path / "out")
    assert code == 2 and "was interrupted" in err
    for name in "ab":
        (tmp_path / name / "scores.json").write_text("{}")
    code, _, err = rankmatch("figures", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")
    assert code == 2 and "classes" in err and "Traceback" not in err


@pytest.mark.parametrize("name", ["compare", "figures"])
def test_help_has_examples(name, rankmatch):
    code, out, _ = rankmatch(name, "--help")
    assert code == 0 and out.count(f"rankmatch {name} ") >= 3
