"""Kills at random moments, full disks and long runs: nothing is lost, and a resumed run ends like one never stopped."""

import contextlib
import csv
import io
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
from report import Row

CHECKOUT = Path(__file__).resolve().parents[2]
FLAGS = (
    "--dataset SampleScenes --labels 12 --backbone tiny --weights random --aspp-filters 16 "
    "--decoder-filters 16 --crop 33 --batch 2 --steps 12 --interval 3 --val-limit 2 --pseudo-label-images 2 "
    "--pipeline workers --deterministic --keep last"
)
# What is killed: the command, and its flags beside the common ones.
PROGRAMS = {
    "train": ("train", "--method", "rankmatch"),
    "self-training": ("train", "--method", "selftraining", "--set", "label_flip=false", "--set", "label_scales=[1.0]"),
    "comparison": ("compare", "--methods", "supervised,rankmatch", "--seeds", "1"),
}
TIMES = ("seconds", "train_seconds", "step_seconds", "peak_memory_gb")  # columns that differ between equal runs
PATIENCE = 900.0  # seconds for a whole run


def kills(count: int, seed: int, folder: Path, backends, programs) -> list[Row]:
    """Kill runs, half of them while a file is being written, resume them, and compare with one never killed.

    Training is killed on all of `backends`, the other `programs` on the first of them.
    """
    rng = np.random.default_rng(seed)
    kinds = [(name, backend) for name in programs for backend in (backends if name == "train" else backends[:1])]
    return [_killed(program, backend, count, rng, folder / f"{program}-{backend}") for program, backend in kinds]


def _killed(program: str, backend: str, count: int, rng, folder: Path) -> Row:
    row = Row(f"killed and resumed, {program}, {backend}")
    folder.mkdir()
    whole = folder / "whole"
    begin = time.monotonic()
    code, text = finished(_start(whole, backend, program), fail=False)
    if code:  # the other rows are still worth having
        row.add("trace", f"{whole}, never killed, ends with {code}: {text.strip().splitlines()[-1][:200]}")
        return row
    duration = time.monotonic() - begin
    for number in range(count):
        out = folder / str(number)
        _kill(_start(out, backend, program), out, rng, duration)
        if rng.random() < 0.3:
            _kill(_start(out, backend, program), out, rng, duration)
        code, text = finished(_start(out, backend, program), fail=False)
        if code:
            row.add("trace", f"{out} ends with {code}: {text.strip().splitlines()[-1][:200]}")
            continue
        difference = first_difference(whole, out)
        row.add("wrong" if difference else "right", difference and f"{out}: {difference}")
    return row


def full_disk(seed: int, folder: Path, backend="torch") -> list[Row]:
    """Train on a disk that fills up, then make room and resume."""
    row = Row(f"full disk, {backend}")
    place = folder / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True).returncode:
        row.note = "left out: no disk can be mounted here"
        return [row]
    rng = np.random.default_rng(seed)
    try:
        whole = folder / "disk-whole"
        finished(_start(whole, backend))
        size = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
        for number in range(4):
            kilobytes = int(size / 1024 * rng.uniform(0.05, 0.9))
            subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(place)], check=True)
            out = place / f"run-{number}"
            code, text = finished(_start(out, backend), fail=False)
            clean = code == 2 and "Traceback" not in text
            if not clean:
                row.add("trace", f"{kilobytes} kB: exit code {code}, {text.strip()[-200:]!r}")
            subprocess.run(["mount", "-o", f"remount,size={4 * size // 1024}k", str(place)], check=True)
            if clean:
                code, text = finished(_start(out, backend), fail=False)
                difference = f"exit code {code}: {text[-200:]!r}" if code else first_difference(whole, out)
                row.add("wrong" if difference else "right", difference and f"{kilobytes} kB: {difference}")
            subprocess.run(["rm", "-rf", str(out)], check=True)
    finally:
        subprocess.run(["umount", str(place)], check=False)
    return [row]


def soak(steps: int, folder: Path, backend="torch", limit=20.0) -> list[Row]:
    """Train for long and watch the memory of the process; more than `limit` MB in 1,000 steps is a leak."""
    row = Row(f"{steps} steps, {backend}")
    process = _start(folder / "soak", backend, more=["--steps", str(steps), "--interval", str(steps)])
    sizes = []
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/statm")
        if status.exists() and (fields := status.read_text().split()):
            sizes.append(int(fields[1]) * os.sysconf("SC_PAGESIZE") / 2**20)
        time.sleep(0.5)
    text = process.communicate()[0]
    if process.returncode:
        row.add("trace", text[-300:])
        return [row]
    # The middle of the run: start and scoring at the end have needs of their own.
    middle = np.array(sizes[len(sizes) * 3 // 10 : len(sizes) * 8 // 10])
    times = np.linspace(0, 0.5 * steps / 1000, len(middle))
    slope = float(np.polyfit(times, middle, 1)[0]) if len(middle) > 4 else 0.0
    row.note = f"{slope:+.1f} MB in 1,000 steps"
    row.add("wrong" if slope > limit else "right", f"memory grows by {slope:.1f} MB" if slope > limit else None)
    return [row]


def first_difference(whole: Path, other: Path) -> str | None:
    """Return where two folders differ in their runs' weights, scores or history; `None` if to no bit."""
    runs, others = (
        sorted(path.parent.relative_to(root) for path in root.rglob("last.keras")) for root in (whole, other)
    )
    if runs != others:
        return f"runs in {', '.join(map(str, others))}, not in {', '.join(map(str, runs))}"
    left = [path.name for path in other.rglob(".writing-*")]
    if left:
        return f"left behind {left[0]}"
    differences = ((run, _difference(whole / run, other / run)) for run in runs)
    return next((f"{run}: {difference}" for run, difference in differences if difference), None)


def _difference(whole, other):
    if _history(whole) != _history(other):
        return "another history"
    for name in ("scores.json", "scores.csv"):
        if (whole / name).read_bytes() != (other / name).read_bytes():
            return f"another {name}"
    return "other weights" if _weights(whole) != _weights(other) else None


def finished(process, fail=True):
    """Wait for a run and return its exit code and output."""
    try:
        text = process.communicate(timeout=PATIENCE)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text = process.communicate()[0] + "\nhangs"
    if fail and process.returncode:
        raise AssertionError(text[-2000:])
    return process.returncode, text


def _start(out, backend, program="train", more=()):
    """Start a program; one that has begun in the folder is resumed."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(CHECKOUT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "rankmatch_keras", *PROGRAMS[program], *FLAGS.split()]
    command += ["--data", str(CHECKOUT / "data/sample"), "--out", str(out), *more]
    if program != "comparison" and any(out.rglob("config.json")):  # a comparison resumes by itself
        command.append("--resume")
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def _kill(process, out, rng, duration):
    """Kill a run and its workers, at a random time or in the middle of a write."""
    end = time.monotonic() + float(rng.uniform(0.2, 1.0)) * duration
    wanted = int(rng.integers(1, 12)) if rng.random() < 0.5 else None
    seen: set[str] = set()
    while process.poll() is None and time.monotonic() < end:
        if wanted is not None:
            with contextlib.suppress(FileNotFoundError):  # a folder was renamed meanwhile
                seen |= {str(path) for path in out.rglob(".writing-*")}
            if len(seen) >= wanted:
                break
        time.sleep(0.001 if wanted else 0.05)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _history(folder):
    with (folder / "history.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]


def _weights(folder):
    with zipfile.ZipFile(folder / "last.keras") as archive:
        content = io.BytesIO(archive.read(next(name for name in archive.namelist() if re.search(r"\.h5$", name))))
    found = {}
    with h5py.File(content) as file:
        file.visititems(lambda name, item: found.update({name: item[()].tobytes()}) if hasattr(item, "dtype") else None)
    return found
