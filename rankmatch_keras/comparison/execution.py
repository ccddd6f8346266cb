"""Execution of the runs of a comparison: one process each, in sequence or on several devices."""

import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rankmatch_keras.comparison.grid import PlannedRun
from rankmatch_keras.texts import counted
from rankmatch_keras.training.run_folder import STAGES, Run

FINISHED, CUT_OFF, MISSING = "finished", "cut off", "missing"
COMMAND = (sys.executable, "-m", "rankmatch_keras", "train")
DEVICE_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
POLL = 0.2  # seconds between checks of the processes
GRACE = 5.0  # seconds for an interrupted run to end by itself: Ctrl-C reaches it too
PATIENCE = 30.0  # seconds for it to end once asked to
_ERROR = re.compile(r"(\w+\.)*\w*(Error|Exception)\b|Interrupted;|Stopped from outside;")


def state_of(folder: Path) -> str:
    """Return whether a run is finished, was cut off, or is missing."""
    run = Run(folder)
    if run.scores.is_file():
        return FINISHED
    return CUT_OFF if run.config.is_file() or (folder / STAGES).is_dir() else MISSING


@dataclass
class _Started:
    """A running run."""

    run: PlannedRun
    process: subprocess.Popen
    device: str | None
    log: IO[bytes]
    begin: int  # offset of its part of the log
    time: float


def execute(
    runs: Sequence[PlannedRun],
    words: Sequence[str],
    logs: Path,
    devices: Sequence[str] = (),
    jobs: int | None = None,
    say: Callable[[str], None] = print,
) -> dict[Path, str]:
    """Start the missing runs and resume those that were cut off; a failure does not stop the others.

    The output of a run goes to `<logs>/<name of its folder>.log`. When this process is interrupted, the running runs
    are ended too; each keeps its last whole epoch.

    Args:
        runs: all runs; finished ones are left as they are.
        words: recipe and flags that all runs share, as after `rankmatch train`; `{labels}` and `{seed}` in them stand
            for those of each run.
        logs: folder of the logs.
        devices: accelerators, as CUDA_VISIBLE_DEVICES names them; each run sees one.
        jobs: number of runs at a time; None: one, or one per device.
        say: called with a line when a run starts or ends.

    Returns:
        Run folder -> why the run failed, in one line.
    """
    states = {run.folder: state_of(run.folder) for run in runs}
    waiting = deque(run for run in runs if states[run.folder] != FINISHED)
    counts = {state: list(states.values()).count(state) for state in (FINISHED, CUT_OFF, MISSING)}
    total, done = len(waiting), 0
    found = f"{counts[FINISHED]} finished, {counts[CUT_OFF]} to resume, {counts[MISSING]} to start"
    say(f"{counted(len(runs), 'run')}: {found}")
    slots: list[str | None] = list(devices) or [None]
    at_once = jobs or len(slots)
    free = deque(slots[number % len(slots)] for number in range(at_once))
    running: list[_Started] = []
    failures: dict[Path, str] = {}
    try:
        while waiting or running:
            while waiting and free:
                run = waiting.popleft()
                running.append(_start(run, words, logs, free.popleft(), states[run.folder] == CUT_OFF))
                verb = "resumes" if states[run.folder] == CUT_OFF else "starts"
                where = f" on device {running[-1].device}" if devices else ""
                say(f"{run}: {verb}{where}, {len(waiting)} waiting; log in {running[-1].log.name}")
            time.sleep(POLL)
            for started in [one for one in running if one.process.poll() is not None]:
                running.remove(started)
                free.append(started.device)
                started.log.close()
                done += 1
                reason = _failure(started)
                if reason is not None:
                    failures[started.run.folder] = reason
                seconds = time.monotonic() - started.time
                result = "finished" if reason is None else f"FAILED ({reason})"
                say(f"{started.run}: {result} after {seconds:.0f} s; {done} of {total} done")
    finally:
        _stop(running)
    return failures


def _start(run, words, logs, device, resume):
    logs.mkdir(parents=True, exist_ok=True)
    command = [*COMMAND, *map(run.fill, words), *run.flags, *(["--resume"] if resume else [])]
    log = (logs / f"{run.folder.name}.log").open("ab")
    begin = log.tell()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=_environment(device)
    )
    return _Started(run, process, device, log, begin, time.monotonic())


def _environment(device):
    """Return this process's environment, with the package importable from where this process found it."""
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    chosen = {} if device is None else dict.fromkeys(DEVICE_VARIABLES, device)
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **chosen}


def _failure(started):
    """Return why a run that ended is not finished, in one line; None if it is."""
    code, finished = started.process.returncode, state_of(started.run.folder) == FINISHED
    if code == 0 and finished:
        return None
    if code == 0:
        elsewhere = any(started.run.folder.glob("*/scores.json"))
        reason = ": its recipe trains several runs and cannot be compared" if elsewhere else ""
        return f"it left no scores.json in its --out{reason}"
    if code < 0:
        return f"ended by signal {-code}" + (", perhaps out of memory" if code == -9 else "")
    with open(started.log.name, "rb") as file:
        file.seek(started.begin)
        reason = last_error(file.read().decode("utf-8", "replace"))
    return reason or f"exit code {code}"


def last_error(text: str) -> str:
    """Find the line of a run's output that says why it failed: the last one that looks like an error, or the last.

    Args:
        text: output of the run.

    Returns:
        One line of at most 300 characters; empty if nothing was printed.
    """
    lines = [line.strip() for line in re.split(r"[\r\n\b]+", text) if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines or [""])[-1].removeprefix("Error: ")[:300]


def _stop(running):
    """End what is still running, gently first; at once where another interrupt comes meanwhile."""
    try:
        for attempt, seconds in ((None, GRACE), ("terminate", PATIENCE), ("kill", PATIENCE)):
            end = time.monotonic() + seconds
            for started in running:
                if attempt and started.process.poll() is None:
                    getattr(started.process, attempt)()
            while any(started.process.poll() is None for started in running) and time.monotonic() < end:
                time.sleep(POLL)
    finally:
        for started in running:
            started.process.kill()
            started.log.close()
