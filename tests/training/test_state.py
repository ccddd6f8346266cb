"""A resumed run is the run that was never interrupted."""

import csv

import keras
import numpy as np
import pytest

from rankmatch_keras.errors import UserError
from rankmatch_keras.training.callbacks import Checkpoint
from rankmatch_keras.training.state import load_state, save_state


class Interrupt(keras.callbacks.Callback):
    """A crash in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.doomed = epoch
        self.epoch = None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == self.doomed:
            raise KeyboardInterrupt


def arrays(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if name not in ("record", "backend")}


def test_a_resumed_run_equals_an_uninterrupted_one(make_job):
    whole = make_job("whole")
    whole.fit([Checkpoint(whole.run, whole.predictor, monitor="confidence")])

    first = make_job("cut")
    with pytest.raises(KeyboardInterrupt):
        first.fit([Checkpoint(first.run, first.predictor, monitor="confidence"), Interrupt(epoch=1)])
    second = make_job("cut", resume=True)
    checkpoint = Checkpoint(second.run, second.predictor, monitor="confidence")
    done = checkpoint.restore(second.model)
    assert done == 1
    second.fit([checkpoint], done)

    expected, found = arrays(whole.run.state), arrays(second.run.state)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    rows = [list(csv.DictReader(run.history.read_text().splitlines())) for run in (whole.run, second.run)]
    assert [row["epoch"] for row in rows[1]] == ["1", "2"]
    for row, other in zip(*rows, strict=True):
        np.testing.assert_allclose(float(other["loss"]), float(row["loss"]), rtol=1e-5)


def test_the_state_holds_random_streams_and_optimizer(make_job, tmp_path):
    job = make_job("run")
    save_state(tmp_path / "state.npz", job.model, {"epochs": 0})
    names = " ".join(arrays(tmp_path / "state.npz"))
    for part in ("seed_generator_state", "velocity", "iteration", "moving_mean", "kernel"):
        assert part in names
    assert load_state(tmp_path / "state.npz", job.model) == {"epochs": 0}


def test_nothing_saved_yet_starts_at_the_beginning(make_job):
    job = make_job("run")
    assert Checkpoint(job.run, job.predictor).restore(job.model) == 0


def test_a_state_of_another_network_is_refused(make_job, tmp_path):
    job = make_job("run")
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other.compile("sgd")
    other.optimizer.build(other.trainable_variables)
    save_state(tmp_path / "other.npz", other, {})
    with pytest.raises(UserError, match="first that differs"):
        load_state(tmp_path / "other.npz", job.model)


def test_a_state_of_another_backend_is_taken_with_a_word(make_job, tmp_path, capsys):
    # That the numbers go on is shown by tests/parity.
    job = make_job("run")
    save_state(tmp_path / "state.npz", job.model, {"epochs": 3})
    with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
        content = dict(file)
    np.savez(tmp_path / "elsewhere.npz", **{**content, "backend": np.array("mindspore")})
    assert load_state(tmp_path / "elsewhere.npz", job.model) == {"epochs": 3}
    assert f"Resuming a run of mindspore on {keras.backend.backend()}" in capsys.readouterr().out
    assert load_state(tmp_path / "state.npz", job.model) == {"epochs": 3}
    assert capsys.readouterr().out == ""


CHANGES = {
    "no record": lambda content: content.pop("record"),
    "a broken record": lambda content: content.update(record=np.array("{")),
    "text for a weight": lambda content: content.update({_first_weight(content): np.array("text")}),
    "an object for a weight": lambda content: content.update({_first_weight(content): np.array({}, dtype=object)}),
}


def _first_weight(content):
    return next(name for name in content if name not in ("record", "backend"))


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_state_is_refused_in_one_line(change, make_job, tmp_path):
    job = make_job("run")
    save_state(tmp_path / "state.npz", job.model, {})
    with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
        content = dict(file)
    CHANGES[change](content)
    np.savez(tmp_path / "state.npz", **content)
    with pytest.raises(UserError, match="Expected|expected"):
        load_state(tmp_path / "state.npz", job.model)


def test_an_unreadable_state_is_refused(make_job, tmp_path):
    job = make_job("run")
    (tmp_path / "state.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match="cannot be read"):
        load_state(tmp_path / "state.npz", job.model)
