import math
import os
import subprocess
import sys
import time

import pytest

from rankmatch_keras.training import cost


class Model:
    """Two batches make up one of its steps."""

    batches_per_step = 2


@pytest.fixture
def clock(monkeypatch):
    """Sets the time."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return lambda value: now.__setitem__(0, value)


def test_step_seconds_are_the_median_and_include_the_wait_for_the_batch(clock):
    callback = cost.Cost()
    callback._model = Model()  # what `set_model` sets
    callback.on_epoch_begin(0)
    for batch, end in enumerate((9.0, 10.0, 12.0)):  # the first with compilation
        clock(end)
        callback.on_train_batch_end(batch)
    clock(12.5)
    logs = {}
    callback.on_epoch_end(0, logs)
    assert logs["train_seconds"] == 12.5 and logs["step_seconds"] == 2 * 2.0
    assert logs["peak_memory_gb"] > 0.01


def test_the_summary_adds_up_all_epochs():
    rows = [
        {"seconds": 3.0, "train_seconds": 2.0, "step_seconds": 0.5, "peak_memory_gb": 1.0},
        {"seconds": 5.0, "train_seconds": 4.0, "step_seconds": 0.1, "peak_memory_gb": 3.0},
        {"seconds": 4.0, "train_seconds": 3.0, "step_seconds": 0.2, "peak_memory_gb": 2.0},
    ]
    assert cost.summary(rows) == {"train_seconds": 9.0, "seconds": 12.0, "step_seconds": 0.2, "peak_memory_gb": 3.0}
    older = [{"seconds": 3.0}, {"seconds": 1.0, "train_seconds": math.nan}]
    assert cost.summary(older) == dict.fromkeys(("train_seconds", "step_seconds", "peak_memory_gb")) | {"seconds": 4.0}
    assert cost.summary([])["seconds"] is None


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs Linux")
def test_memory_counts_the_processes_that_were_started():
    before = cost.peak_memory()
    script = "block = bytearray(200_000_000); print(len(block), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        with_child = cost.peak_memory()
        child.communicate(b"\n")
    assert 0.19 < with_child - before < 0.3
