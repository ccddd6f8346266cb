"""A resumed run is the run that was never interrupted."""

import csv
import io
import shutil
import zipfile

import keras
import numpy as np
import pytest

from rankmatch_keras.errors import UserError
from rankmatch_keras.training.checkpoint import Checkpoint
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


DAMAGE = {
    "empty": lambda content: b"",
    "cut at the begin": lambda content: content[:40],
    "cut in the middle": lambda content: content[: len(content) // 2],
    "cut at the end": lambda content: content[:-1],
    "another byte": lambda content: content[:2000] + bytes([content[2000] ^ 1]) + content[2001:],
    "zeros": lambda content: bytes(len(content)),
    "another kind of file": lambda content: b"epoch,loss\n",
}


@pytest.mark.once
def test_a_damaged_state_costs_an_epoch_and_not_the_run(make_job, capsys):
    job = make_job("run")
    job.fit([Checkpoint(job.run, job.predictor, monitor="confidence")])
    files = {path: path.read_bytes() for path in job.run.folder.glob("*.*")}
    for name, damage in DAMAGE.items():
        for path, content in files.items():
            path.write_bytes(content)
        job.run.state.write_bytes(damage(files[job.run.state]))
        checkpoint = Checkpoint(job.run, job.predictor, monitor="confidence")
        assert checkpoint.restore(job.model) == 1, name
        assert "previous.npz, after epoch 1, as " in (out := capsys.readouterr().out) and "state.npz" in out
        assert len(checkpoint.history) == 1 and not job.run.state.exists()
    job.fit([checkpoint], done=1)
    with np.load(io.BytesIO(files[job.run.state])) as whole:
        for name, value in arrays(job.run.state).items():
            np.testing.assert_array_equal(value, whole[name], err_msg=name)


@pytest.mark.once
def test_the_best_predictor_goes_back_with_the_state(make_job):
    job = make_job("run")
    checkpoint = Checkpoint(job.run, job.predictor)
    checkpoint.set_model(job.model)
    for epoch, score in enumerate((0.1, 0.2)):
        job.model.trainable_variables[0].assign_add(job.model.trainable_variables[0] + 1.0)
        checkpoint.on_epoch_begin(epoch)
        checkpoint.on_epoch_end(epoch, {"mean_iou": score})
        if epoch == 0:
            first = job.run.best.read_bytes()
    assert job.run.best.read_bytes() != first
    job.run.state.write_bytes(b"")
    again = Checkpoint(job.run, job.predictor)
    assert again.restore(job.model) == 1 and again.best == 0.1
    assert job.run.best.read_bytes() == first


@pytest.mark.once
def test_two_damaged_states_are_refused_by_the_name_of_the_last(make_job):
    job = make_job("run")
    for path in (job.run.state, job.run.previous_state):
        path.write_bytes(b"")
        with pytest.raises(
            UserError, match="Expected a training state; found .*state.npz, which cannot be read .*start a new run"
        ):
            Checkpoint(job.run, job.predictor).restore(job.model)


@pytest.mark.once
def test_a_kill_between_two_names_goes_on_from_the_state_before(make_job, capsys):
    job = make_job("run")
    save_state(job.run.previous_state, job.model, {"epochs": 3, "best": "-inf", "history": []})
    assert Checkpoint(job.run, job.predictor).restore(job.model) == 3
    assert "previous.npz, after epoch 3, as there is no state.npz." in capsys.readouterr().out


@pytest.mark.once
def test_a_run_directory_that_was_removed_is_not_made_again(make_job):
    job = make_job("run")

    class Remove(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            shutil.rmtree(job.run.folder)

    with pytest.raises(UserError, match="run directory in place .* removed or renamed.*--resume, or start again"):
        job.fit([Remove(), Checkpoint(job.run, job.predictor)])
    assert not job.run.folder.exists()


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


@pytest.mark.once
def test_a_state_that_unpacks_to_gigabytes_is_refused_unread(make_job, tmp_path):
    job = make_job("run")
    with zipfile.ZipFile(tmp_path / "state.npz", "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("record.npy", "w") as entry:
            for _ in range(300):
                entry.write(b"\0" * (1 << 20))
    with pytest.raises(UserError, match="state.npz, which cannot be read .it unpacks to 300 MB"):
        load_state(tmp_path / "state.npz", job.model)


def test_an_unreadable_state_is_refused(make_job, tmp_path):
    job = make_job("run")
    (tmp_path / "state.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match="cannot be read"):
        load_state(tmp_path / "state.npz", job.model)
