"""Cost of a run: seconds per step, and peak memory of its processes."""

import math
import os
import statistics
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

PROC = Path("/proc")


class Cost(keras.callbacks.Callback):
    """Cost of each epoch: adds `train_seconds`, `step_seconds` and `peak_memory_gb` to the logs.

    A step lasts from the end of the step before it to its own, waiting for the batch included; an epoch reports the
    median, which the compilation in a first step does not move. Put this callback before those that evaluate.
    """

    def __init__(self):
        super().__init__()
        self._start = self._end_of_step = 0.0
        self._seconds: list[float] = []

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self._start = self._end_of_step = time.perf_counter()
        self._seconds = []

    def on_train_batch_end(self, batch, logs=None):
        """Record the time of one batch."""
        now = time.perf_counter()
        self._seconds.append(now - self._end_of_step)
        self._end_of_step = now

    def on_epoch_end(self, epoch, logs=None):
        """Fill the logs."""
        if logs is None:
            return
        batches_per_step = getattr(self.model, "batches_per_step", 1)
        logs["train_seconds"] = round(time.perf_counter() - self._start, 3)
        median = statistics.median(self._seconds) if self._seconds else math.nan
        logs["step_seconds"] = round(batches_per_step * median, 4)
        logs["peak_memory_gb"] = round(peak_memory(), 3)


def summary(history: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Sum up the cost of a whole run, resumed or not.

    Args:
        history: one row per epoch, with what `Cost` and `Checkpoint` add; rows of older runs lack some of it.

    Returns:
        `train_seconds`, `seconds` (evaluation included), `step_seconds` (median) and `peak_memory_gb`; `None` where
        the history lacks them.
    """
    rows = list(history)

    def column(name):
        return [float(row[name]) for row in rows if math.isfinite(float(row.get(name) or math.nan))]

    def whole(name, combine):
        values = column(name)
        return round(combine(values), 4) if values and len(values) == len(rows) else None

    return {
        "train_seconds": whole("train_seconds", sum),
        "seconds": whole("seconds", sum),
        "step_seconds": whole("step_seconds", statistics.median),
        "peak_memory_gb": whole("peak_memory_gb", max),
    }


def peak_memory() -> float:
    """Return the peak resident memory in GB: of this process and, on Linux, of its running descendants.

    It is the sum of the peaks: shared pages count for each process.

    Returns:
        GB of 1e9 bytes; NaN where the system does not tell.
    """
    own = _peak_of(os.getpid())
    if own is not None:
        return (own + sum(_peak_of(pid) or 0 for pid in _descendants(os.getpid()))) / 1e9
    if resource is None:
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _peak_of(pid):
    """Return bytes; `None` where there is no such process or no such file system."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        return None


def _descendants(pid):
    """Yield the processes that a process started, directly or not."""
    for file in (PROC / str(pid) / "task").glob("*/children"):
        try:
            children = file.read_text().split()
        except OSError:
            continue
        for child in map(int, children):
            yield child
            yield from _descendants(child)
