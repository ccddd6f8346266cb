"""Ctrl-C during training."""

import signal

import keras
import pytest
from short_runs import assert_same_weights

from rankmatch_keras.errors import Interrupted
from rankmatch_keras.training.interruption import Interruption

VALUES = {"accumulate": 2, "steps": 4, "interval": 2, "burn_in": 0.0, "val_limit": 1, "method": "supervised"}


@pytest.fixture(autouse=True)
def handler():
    """As on a terminal, also where the tests run in the background and ignore interrupts."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


class Press(keras.callbacks.Callback):
    """Presses Ctrl-C during a batch of an epoch."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.place = epoch, batch
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.place:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("no_pictures")
def test_an_interrupted_run_goes_on_from_the_step_to_the_same(train, also, tmp_path, capsys):
    whole = train(tmp_path / "whole", **VALUES).run
    also(Press(1, 0))  # the first of the two batches of the third step
    with pytest.raises(Interrupted, match="saved after step 3 of 4: continue with the same command and --resume"):
        train(tmp_path / "cut", **VALUES)
    assert capsys.readouterr().err.count("Ctrl-C again stops at once") == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    also()
    cut = train(tmp_path / "cut", **VALUES, resume=True).run
    assert_same_weights(whole, cut)
    # The means of the interrupted epoch are over all of its steps.
    rows = [run.read_history() for run in (whole, cut)]
    assert [row["loss"] for row in rows[1]] == pytest.approx([row["loss"] for row in rows[0]], rel=1e-5)
    assert rows[1][1]["seconds"] >= rows[1][1]["train_seconds"] > 0


@pytest.mark.once
@pytest.mark.usefixtures("no_pictures")
def test_after_the_last_step_of_an_epoch_its_evaluation_is_waited_for(train, also, tmp_path):
    also(Press(0, 3))
    with pytest.raises(Interrupted, match="saved after step 2 of 4"):
        train(tmp_path / "run", **VALUES)
    assert len((tmp_path / "run/history.csv").read_text().splitlines()) == 2


@pytest.mark.once
def test_the_second_one_stops_at_once():
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.asked
        signal.raise_signal(signal.SIGINT)
        raise AssertionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
