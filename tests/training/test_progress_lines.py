import time

import keras
import numpy as np
import pytest

from rankmatch_keras.callbacks import ProgressLines


@pytest.fixture
def clock(monkeypatch):
    """Sets the time."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return lambda value: now.__setitem__(0, value)


def lines_of(callback, clock, ends):
    callback.on_epoch_begin(0)
    for batch, end in enumerate(ends):
        clock(end)
        callback.on_train_batch_end(batch, {"loss": 1.23456, "rank_1": 2e-5})


def test_a_line_comes_when_the_time_is_up_and_not_before(clock, capsys):
    callback = ProgressLines(seconds=30)
    callback.set_params({"steps": 8})
    lines_of(callback, clock, (12.0, 24.0, 36.0, 48.0, 60.0, 72.0))
    assert capsys.readouterr().out.splitlines() == [
        "step 3 of 8, 1.0 minutes to go, 12.00 s a step - loss 1.235 - rank_1 2e-05",
        "step 6 of 8, 0.4 minutes to go, 12.00 s a step - loss 1.235 - rank_1 2e-05",
    ]


def test_without_a_known_end_it_does_not_say_when(clock, capsys):
    callback = ProgressLines(seconds=30)
    callback.set_params({"steps": None})
    lines_of(callback, clock, (31.0,))
    assert capsys.readouterr().out == "step 1, 31.00 s a step - loss 1.235 - rank_1 2e-05\n"


def test_it_reads_the_logs_of_fit(capsys):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 1)), np.ones((4, 1)), batch_size=2, verbose=2, callbacks=[ProgressLines(seconds=0)])
    *between, end = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in between] == ["step 1 of 2", "step 2 of 2"]
    assert "loss" in between[0] and end.startswith("2/2 - ")
