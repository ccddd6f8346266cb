import os
import sys
import time

import pytest

from rankmatch_keras.comparison import execution
from rankmatch_keras.comparison.execution import execute, last_error, state_of
from rankmatch_keras.comparison.grid import make_grid, read_methods

# A stand-in for a recipe: the name of the method decides what it leaves in its folder.
PROGRAM = """
import os, pathlib, sys, time
flags = sys.argv[1:]
method, out = flags[flags.index("--method") + 1], pathlib.Path(flags[flags.index("--out") + 1])
if method == "broken":
    print("Error: Expected a method; found 'broken'.")
    print("(a library says goodbye)")
    sys.exit(2)
out.mkdir(parents=True, exist_ok=True)
(out / "config.json").write_text("{}")
(out / "seen.txt").write_text(" ".join(flags) + " " + os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
if method == "killed":
    os.kill(os.getpid(), 9)
if method == "slow":
    time.sleep(60)
if method == "several":
    (out / "one").mkdir()
    (out / "one/scores.json").write_text("{}")
elif method == "lost":
    print("Look at the pictures.")
else:
    (out / "scores.json").write_text("{}")
"""

pytestmark = pytest.mark.once


@pytest.fixture
def run_all(tmp_path, monkeypatch):
    """Return a function from methods, executed below `tmp_path`, to failures by folder name and the lines said."""
    monkeypatch.setattr(execution, "COMMAND", (sys.executable, "-S", "-c", PROGRAM))
    monkeypatch.setattr(execution, "POLL", 0.01)

    def run(methods, **arguments):
        said = []
        grid = make_grid(read_methods(methods), [5], [0], tmp_path / "runs")
        words = ["x.py", "--steps", "3", "--start-from=s{seed}"]
        failures = execute(grid, words, tmp_path / "logs", say=said.append, **arguments)
        return {folder.name: reason for folder, reason in failures.items()}, said

    return run


def seen(tmp_path, method):
    return (tmp_path / "runs" / f"{method}-l5-s0" / "seen.txt").read_text()


def test_failures_are_named_and_do_not_stop_the_others(run_all, tmp_path):
    failures, said = run_all("broken,killed,lost,several,good")
    assert failures == {
        "broken-l5-s0": "Expected a method; found 'broken'.",
        "killed-l5-s0": "ended by signal 9, perhaps out of memory",
        "lost-l5-s0": "it left no scores.json in its --out",
        "several-l5-s0": "it left no scores.json in its --out: its recipe trains several runs and cannot be compared",
    }
    assert seen(tmp_path, "good").startswith("x.py --steps 3 --start-from=s0 --method good --labels 5 --seed 0 --out")
    assert "goodbye" in (tmp_path / "logs/broken-l5-s0.log").read_text()
    assert said[0] == "5 runs: 0 finished, 0 to resume, 5 to start"
    assert said[-1].startswith("good, 5 labels, seed 0: finished after") and said[-1].endswith("5 of 5 done")


def test_finished_runs_are_kept_and_others_resumed(run_all, tmp_path):
    run_all("one,two,three")
    (tmp_path / "runs/two-l5-s0/scores.json").unlink()
    for path in (tmp_path / "runs/three-l5-s0").iterdir():
        path.unlink()
    (tmp_path / "runs/one-l5-s0/seen.txt").write_text("untouched")
    failures, said = run_all("one,two,three")
    assert not failures
    assert said[0] == "3 runs: 1 finished, 1 to resume, 1 to start"
    assert seen(tmp_path, "one") == "untouched"
    assert "--resume" in seen(tmp_path, "two") and "--resume" not in seen(tmp_path, "three")
    (tmp_path / "runs/four-l5-s0/stages").mkdir(parents=True)
    assert state_of(tmp_path / "runs/four-l5-s0") == "cut off"


def test_each_device_gets_a_run(run_all, tmp_path):
    failures, said = run_all("one,two,three", devices=["4", "6"])
    assert not failures
    devices = [seen(tmp_path, method)[-1] for method in ("one", "two")]
    assert sorted(devices) == ["4", "6"] and seen(tmp_path, "three")[-1] in "46"
    assert "on device 4" in said[1]


def test_an_interrupt_ends_the_runs(run_all, tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "GRACE", 0.0)
    started = []
    begin = execution._start
    monkeypatch.setattr(execution, "_start", lambda *args: started.append(begin(*args)) or started[-1])

    def interrupt(seconds):
        if (tmp_path / "runs/slow-l5-s0/seen.txt").exists():
            monkeypatch.setattr(time, "sleep", sleep)
            raise KeyboardInterrupt
        sleep(seconds)

    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_all("slow,never")
    assert started[0].process.poll() is not None
    with pytest.raises(ProcessLookupError):
        os.kill(started[0].process.pid, 0)
    assert not (tmp_path / "runs/never-l5-s0").exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nError: Expected this; found that.\nbye", "Expected this; found that."),
        ("Traceback\n  File\nValueError: no\n\n", "ValueError: no"),
        ("1/3 loss\b\b\b2/3\r3/3 loss 0.1\nsome.module.InvalidArgumentError: shape\n", "InvalidArgumentError: shape"),
        ("only this\n\n", "only this"),
        ("", ""),
    ],
)
def test_the_line_that_explains_a_failure(text, line):
    assert last_error(text).endswith(line)
    assert len(last_error("Error: " + 1000 * "x")) == 300
