"""Logs in experiment trackers: what is logged, and that no tracker costs a run."""

import importlib.machinery
import json
import math
import sys
import types

import pytest

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import Scores
from rankmatch_keras.training.configuration import read_options
from rankmatch_keras.training.run_folder import Run
from rankmatch_keras.training.trackers import log_scores, trackers

pytestmark = pytest.mark.once
LOGS = {"loss": 1.5, "iou_<b>": 0.25, "iou_never": math.nan}


class Calls(list):
    """What a stand-in of a library was told, as (name, arguments)."""

    def noting(self, name, result=None):
        return lambda *arguments, **named: self.append((name, *arguments, named)) or result


def stand_in(monkeypatch, name, **members):
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def calls(monkeypatch):
    calls = Calls()
    run = types.SimpleNamespace(id="w1", log=calls.noting("log"), finish=calls.noting("finish"))
    stand_in(monkeypatch, "wandb", init=calls.noting("init", run))
    opened = types.SimpleNamespace(info=types.SimpleNamespace(run_id="m1"))
    names = ("log_params", "log_metrics", "end_run")
    members = {name: calls.noting(name) for name in names} | {"start_run": calls.noting("start_run", opened)}
    stand_in(monkeypatch, "mlflow", **members)
    return calls


@pytest.fixture
def run(tmp_path):
    (tmp_path / "first").mkdir()
    return Run(tmp_path / "first")


def test_each_epoch_and_the_final_scores_are_logged(calls, run):
    scores = Scores(("sky",), (0.5,), 0.5, 0.9, images=1, images_available=1)
    with trackers(run, read_options({}, {"log": "wandb,mlflow", "crop": 65})) as logs:
        for callback in logs:
            callback.on_epoch_end(2, LOGS)
        log_scores(logs, scores, 3)
    by_name = {}
    for name, *rest in calls:
        by_name.setdefault(name, []).append(rest)
    ((settings,),) = by_name["init"]
    assert settings["config"]["crop"] == 65 and settings["dir"] == run.folder and settings["id"] is None
    final = {"final_mean_iou": 0.5, "final_sky": 0.5}
    assert [values for values, _ in by_name["log"]] == [
        {"loss": 1.5, "iou_<b>": 0.25, "epoch": 3},
        {**final, "epoch": 3},
    ]
    assert by_name["log_metrics"] == [[{"loss": 1.5, "iou__b_": 0.25}, {"step": 3}], [final, {"step": 3}]]
    assert by_name["log_params"][0][0]["crop"] == "65"
    assert by_name["finish"] == [[{"exit_code": 0}]] and by_name["end_run"] == [["FINISHED", {}]]


def test_a_run_that_is_resumed_goes_on_in_its_log(calls, run):
    options = read_options({}, {"log": "mlflow,wandb"})
    with pytest.raises(KeyboardInterrupt), trackers(run, options):
        raise KeyboardInterrupt
    assert ("finish", {"exit_code": 1}) in calls and ("end_run", "FAILED", {}) in calls
    assert json.loads((run.folder / "trackers.json").read_text()) == {"mlflow": "m1", "wandb": "w1"}
    calls.clear()
    with trackers(run, options):
        pass
    named = {name: rest[-1] for name, *rest in calls}
    assert named["init"]["id"] == "w1" and named["start_run"]["run_id"] == "m1" and "log_params" not in named


def test_a_tracker_that_breaks_costs_a_line(calls, run, monkeypatch, capsys):
    def broken(*_, **__):
        raise ConnectionError("no\nserver")

    monkeypatch.setattr(sys.modules["mlflow"], "log_metrics", broken)
    monkeypatch.setattr(sys.modules["mlflow"], "end_run", broken)
    with trackers(run, read_options({}, {"log": "mlflow"})) as logs:
        for epoch in range(3):
            logs[0].on_epoch_end(epoch, LOGS)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("(")[0] for line in lines] == [
        "Warning: no more log by mlflow ",
        "Warning: the log by mlflow may lack its end ",
    ]
    monkeypatch.setattr(sys.modules["mlflow"], "start_run", broken)
    with pytest.raises(UserError, match="--log mlflow that can start; found ConnectionError: no server. Name a server"):
        with trackers(run, read_options({}, {"log": "mlflow"})):
            pass


def test_unknown_and_missing_trackers_are_refused_with_the_options(monkeypatch):
    with pytest.raises(UserError, match="Did you mean wandb"):
        read_options({}, {"log": "wandbb"})
    with pytest.raises(UserError, match="'csv'. Leave it out: every run writes history.csv"):
        read_options({}, {"log": "csv"})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'rankmatch-keras\[mlflow\]'"):
        read_options({}, {"log": ["mlflow"]})


def test_wandb_itself_offline(run, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with trackers(run, read_options({}, {"log": "wandb"})) as logs:
        logs[0].on_epoch_end(0, LOGS)
    assert [*(run.folder / "wandb").glob("offline-run-*/*.wandb")]


def test_mlflow_itself_in_files(run, monkeypatch, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # which newer ones ask for
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    with trackers(run, read_options({}, {"log": "mlflow"})) as logs:
        logs[0].on_epoch_end(0, LOGS)
    kept = mlflow.get_run(json.loads((run.folder / "trackers.json").read_text())["mlflow"])
    assert kept.data.metrics == {"loss": 1.5, "iou__b_": 0.25} and kept.data.params["method"] == "rankmatch"
    assert kept.info.status == "FINISHED"
