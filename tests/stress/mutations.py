"""Damaged files: each is read rightly or refused in one line, within time and memory."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import numpy as np
from corpus import KINDS, bombs, damage
from report import Row

SECONDS, MEGABYTES = 5.0, 1024.0  # of the processor, of memory
PATIENCE = 60.0  # seconds by the clock: a busy machine is no hang

BATCH = 250  # files between fresh child processes


class Reader:
    """A child process that reads files; it is replaced when it takes too long."""

    def __init__(self):
        self.process = None

    def read(self, kind: str, path: Path) -> dict:
        """Return the child's answer, `{"outcome": "hang"}` or `{"outcome": "crash"}`."""
        if self.process is None:
            command = [sys.executable, str(Path(__file__).with_name("reading.py"))]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            if self.process.stdout.readline() != "ready\n":
                raise AssertionError(f"{' '.join(command)} did not start.")
        self.process.stdin.write(json.dumps({"kind": kind, "path": str(path)}) + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.close()
            return {"outcome": "trace", "error": "the process died"} if ready else {"outcome": "hang"}
        return json.loads(line)

    def close(self):
        """End the child."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
        self.process = None


def run(count: int, seed: int, folder: Path) -> list[Row]:
    """Damage `count` files of all kinds in turn, and read each in a child process.

    Args:
        count: number of damaged files.
        seed: chooses the damage.
        folder: an empty folder to write into.
    """
    rng = np.random.default_rng(seed)
    rows = {name: Row(f"damaged {name}") for name in KINDS}
    reader = Reader()
    try:
        good = {name: _good(name, kind, rng, reader, folder) for name, kind in KINDS.items()}
        for number in range(count):
            name = [*KINDS][number % len(KINDS)]
            content, right = good[name]
            other = good[str(rng.choice([*KINDS]))][0]
            path = folder / f"{_stem(name)}-{number}{KINDS[name].suffix}"
            path.write_bytes(damage(content, rng, other))
            _judge(rows[name], reader.read(name, path), right if KINDS[name].checked else None, path)
            if number % BATCH == BATCH - 1:
                reader.close()
        bomb = Row("bombs")
        for path in bombs(folder):
            _judge(bomb, reader.read(path.stem.split("-")[0], path), None, path)
    finally:
        reader.close()
    return [*rows.values(), bomb]


def _stem(name):
    """Return how the file's name begins; readers of records go by it."""
    return name if name in ("config", "history", "cost", "labelme") else "x"


def _good(name, kind, rng, reader, folder):
    path = folder / f"{_stem(name)}-good-{name}{kind.suffix}"
    kind.make(path, rng)
    answer = reader.read(name, path)
    if answer["outcome"] != "read":
        raise AssertionError(f"The undamaged file {path} was not read: {answer}")
    return path.read_bytes(), answer["digest"]


def _judge(row, answer, right, path):
    kept = path.with_name(f"kept-{path.name}")
    kind = answer["outcome"]
    if kind == "read":
        kind = "right" if right in (None, answer["digest"]) else "wrong"
    if kind != "hang" and answer.get("seconds", 0.0) > SECONDS:
        kind = "hang"
    if answer.get("megabytes", 0.0) > MEGABYTES:
        kind = "hang"
        answer["error"] = f"{answer['megabytes']:.0f} MB"
    bad = kind in ("wrong", "trace", "hang")
    row.add(kind, f"{kept.name}: {answer.get('error', kind)}" if bad else None)
    os.replace(path, kept) if bad else path.unlink()
