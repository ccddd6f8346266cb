"""Run folders: complete records, and nothing overwritten."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from rankmatch_keras.errors import UserError
from rankmatch_keras.training.records import read_config
from rankmatch_keras.training.run_folder import Run

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def test_the_record_is_complete(tmp_path):
    run = Run.create(tmp_path / "a" / "run", {"seed": 3, "out": "x"}, {"split": {"id": "abc"}, "backend": "torch"})
    content = json.loads(run.config.read_text())
    assert content["options"]["seed"] == 3
    assert content["split"]["id"] == "abc" and content["backend"] == "torch"
    assert {"python", "keras", "numpy"} <= set(content["versions"])
    assert read_config(run.folder) == content


def test_another_run_is_not_overwritten(tmp_path):
    Run.create(tmp_path / "run", {"seed": 1})
    with pytest.raises(UserError, match="another run in .*--resume"):
        Run.create(tmp_path / "run", {"seed": 1})


def test_other_files_are_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="empty output folder"):
        Run.create(tmp_path, {})
    with pytest.raises(UserError, match="empty output folder"):
        Run.create(tmp_path / "notes.txt", {})
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_resume_wants_the_same_options(tmp_path):
    Run.create(tmp_path / "run", {"seed": 1, "out": "a", "resume": False})
    assert Run.create(tmp_path / "run", {"seed": 1, "out": "b", "resume": True}, resume=True).config.exists()
    with pytest.raises(UserError, match="seed was 1, is 2"):
        Run.create(tmp_path / "run", {"seed": 2, "out": "a"}, resume=True)


def test_resume_of_nothing_starts_a_new_run(tmp_path):
    assert Run.create(tmp_path / "run", {"seed": 1}, resume=True).config.exists()


@pytest.mark.parametrize("content", [None, "{}", "[]", "null", '{"options": null}', "["])
def test_a_folder_without_a_run_is_named(content, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match="config.json"):
        read_config(tmp_path)


@pytest.mark.parametrize("folder", ["x" * 300, "/proc/run", "a\0b"])
def test_a_folder_that_cannot_be_written_is_named(folder, tmp_path):
    with pytest.raises(UserError, match="an output folder that can be written"):
        Run.create(tmp_path / folder, {})


def test_a_folder_in_use_by_another_process_is_left_alone(tmp_path):
    script = (
        "import sys, time; from rankmatch_keras.training.run_folder import Run; "
        "Run.create(sys.argv[1], {'seed': 1}); print('there', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-c", script, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as other:
        while "there" not in other.stdout.readline():
            assert other.poll() is None
        before = (tmp_path / "run/config.json").read_text()
        with pytest.raises(UserError, match="no other process writes to; found .*run, which another process is using"):
            Run.create(tmp_path / "run", {"seed": 1}, resume=True)
        assert (tmp_path / "run/config.json").read_text() == before
        other.kill()
    Run.create(tmp_path / "run", {"seed": 1}, resume=True)


def test_a_resumption_is_recorded(tmp_path):
    options = {"seed": 1, "distribute": "none"}
    Run.create(tmp_path / "run", options, {"backend": "torch"})
    Run.create(tmp_path / "run", {**options, "distribute": "ddp"}, {"backend": "jax"}, resume=True)
    content = read_config(tmp_path / "run")
    assert content["options"] == options and content["backend"] == "torch"
    (resumed,) = content["resumed"]
    assert (
        resumed["backend"] == "jax" and resumed["options"] == {"distribute": "ddp"} and "keras" in resumed["versions"]
    )


def test_options_younger_than_the_run_do_not_stop_it(tmp_path):
    Run.create(tmp_path / "run", {"seed": 1})
    Run.create(tmp_path / "run", {"seed": 1, "precision": "float32"}, resume=True)


def test_resume_wants_the_same_data_set(tmp_path):
    options = {"seed": 1, "dataset": None}  # as in records from before recipes named their data set
    Run.create(tmp_path / "run", options, {"data": {"loader": "CamVid"}})
    now = {"seed": 1, "dataset": "CamVid"}
    Run.create(tmp_path / "run", now, {"data": {"loader": "CamVid"}}, resume=True)
    with pytest.raises(UserError, match="data set was CamVid, is Lucchi"):
        Run.create(tmp_path / "run", now, {"data": {"loader": "Lucchi"}}, resume=True)


def test_a_run_that_was_killed_before_it_had_a_record_starts_again(tmp_path):
    for resume in (False, True):
        folder = tmp_path / str(resume)
        (folder / "stages").mkdir(parents=True)
        for name in (".lock", ".writing-123-config.json", ".writing-9-0a1b2c3d.json", "stages/.writing-1-00.png"):
            (folder / name).write_text('{"opt')
        assert Run.create(folder, {"seed": 1}, resume=resume).config.exists()
        assert not [*folder.rglob(".writing-*")]


def test_what_a_killed_run_left_is_removed_when_it_goes_on(tmp_path):
    Run.create(tmp_path / "run", {"seed": 1})
    (tmp_path / "run/.writing-123-state.npz").write_text("half")
    Run.create(tmp_path / "run", {"seed": 1}, resume=True)
    assert not [*(tmp_path / "run").glob(".writing-*")]


def test_a_folder_without_unicode_name_is_recorded(tmp_path):
    folder = tmp_path / os.fsdecode(b"im\xffages")
    Run.create(tmp_path / "run", {"seed": 1, "data": str(folder)})
    assert read_config(tmp_path / "run")["options"]["data"] == str(folder)
