"""Runs that are resumed with another duration."""

import json
import math

import keras
import numpy as np
import pytest
from short_runs import StopAfter, assert_same_weights

from rankmatch_keras.data import read_augmentation
from rankmatch_keras.errors import UserError
from rankmatch_keras.training.configuration import read_options
from rankmatch_keras.training.duration import Duration
from rankmatch_keras.training.model import build_optimizer
from rankmatch_keras.training.options import Options
from rankmatch_keras.training.resumption import begun_with, continued
from rankmatch_keras.training.run_folder import Run

pytestmark = pytest.mark.usefixtures("no_pictures")
RATES = {"method": "supervised", "optimizer": "sgd", "learning_rate": 0.1, "val_limit": 1}


class Rates(keras.callbacks.Callback):
    """The learning rate of every step."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_begin(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


def record_of(run):
    return json.loads(run.config.read_text())


@pytest.mark.once
def test_a_longer_run_goes_on_with_its_own_schedule(train, also, tmp_path):
    rates = Rates()
    also(rates)
    run = train(tmp_path / "run", **RATES).run
    assert rates.rates == pytest.approx([0.1 * (1 - step / 4) ** 0.9 for step in range(4)])
    also(second := Rates())
    train(tmp_path / "run", **RATES | {"steps": 6}, resume=True)
    # From the fourth step on that of a run of six.
    assert second.rates == pytest.approx([0.1 * (1 - 4 / 6) ** 0.9, 0.1 * (1 - 5 / 6) ** 0.9])
    record = record_of(run)
    (change,) = record["changes"]
    assert record["options"]["steps"] == 6 and len(run.read_history()) == 6
    assert (change["step"], change["was"], change["now"]) == (4, {"steps": 4}, {"steps": 6})
    assert change["time"] == record["resumed"][-1]["time"] and "steps: 6" in run.options.read_text()


@pytest.mark.once
def test_a_longer_run_that_is_killed_resumes_to_the_same(train, also, tmp_path):
    values = RATES | {"val_limit": 1}
    for name in ("whole", "cut"):
        also(StopAfter(1))  # in the middle of the shorter run
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / name, **values | {"steps": 2})
    also()
    whole = train(tmp_path / "whole", **values, resume=True).run
    also(StopAfter(2))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", **values, resume=True)
    assert not (tmp_path / "cut/scores.json").exists()
    also(rates := Rates())
    cut = train(tmp_path / "cut", **values | {"steps": None}, resume=True).run  # as long as the record says
    assert rates.rates == pytest.approx([0.1 * (1 - 2 / 4) ** 0.9, 0.1 * (1 - 3 / 4) ** 0.9])
    assert [change["step"] for change in record_of(cut)["changes"]] == [1]
    assert_same_weights(whole, cut)


@pytest.fixture
def begun(tmp_path):
    """Makes a run with two epochs done, and the options to resume it with."""

    def make(**options):
        run = Run.create(tmp_path / "run", Options(**options).as_dict())
        record = {"epochs": 2, "best": 0.5, "history": []}
        np.savez(run.state, record=np.array(json.dumps(record)))
        return lambda **values: continued(Options(out=run.folder, resume=True, **values))

    return make


def test_what_is_left_open_comes_from_the_record(begun, capsys):
    resumed = begun(steps=8, interval=2, crop=97)
    options = resumed(crop=None)
    assert (options.steps, options.interval, options.crop) == (8, 2, 97)
    assert (resumed(steps=12).steps, resumed(steps=4).steps, capsys.readouterr().out) == (12, 4, "")
    assert resumed(steps=11).steps == 12
    assert "11 steps are no whole number of the run's intervals of 2: training to 12." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("run", "given", "message"),
    [
        ({"steps": 8, "interval": 2}, {"steps": 2}, "at least the 4 steps that the run has done; found --steps 2"),
        ({"steps": 8, "interval": 2}, {"steps": 3, "interval": 1}, "at least the 4 steps"),
        ({"steps": 8, "interval": 2}, {"epochs": 9}, "a duration in steps, as the run has; found --epochs"),
        ({"epochs": 3}, {"steps": 9}, "a duration in epochs, as the run has; found --steps"),
        ({"epochs": 3}, {"epochs": 1}, "at least the 2 epochs that the run has done; found --epochs 1"),
    ],
)
def test_durations_that_cannot_be_are_refused(run, given, message, begun):
    with pytest.raises(UserError, match=message):
        begun(**run)(**given)


def test_changes_are_recorded_one_by_one_and_unfinish_the_run(tmp_path):
    for epochs, step in ((3, 0), (5, 7), (5, 9), (6, 11)):
        options = Options(epochs=epochs, resume=step > 0)
        run = Run.create(tmp_path, options.as_dict(), resume=step > 0, step=step)
        assert not run.scores.exists() or epochs == 5
        run.scores.write_text("{}")
    changes = [(change["step"], change["was"], change["now"]) for change in record_of(run)["changes"]]
    assert changes == [(7, {"epochs": 3}, {"epochs": 5}), (11, {"epochs": 5}, {"epochs": 6})]
    assert begun_with(Options(out=tmp_path, epochs=6)).epochs == 3
    with pytest.raises(UserError, match="epochs was 6, is 7"):  # stages of self-training are as long as each other
        Run.create(tmp_path, Options(epochs=7, stage=1).as_dict(), resume=True)


def test_a_changed_augmentation_is_refused(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("def mine(image, mask, rng): return image, mask")
    augment = f"{file}:mine"
    options = Options(augment=augment, steps=4, interval=2, out=tmp_path / "run")
    Run.create(options.folder, options.as_dict(), {"augmentation": read_augmentation(augment).record()})
    assert continued(options) == options
    file.write_text("def mine(image, mask, rng): return image[::-1], mask")
    with pytest.raises(UserError, match=r"the .*own.py that the run was started with .*; found another .*own.py:mine"):
        continued(options)


def test_a_configuration_file_alone_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(f"augment: {tmp_path}/own.py:mine\n")
    with pytest.raises(UserError, match="--augment on the command line, since its code .*own.py:mine in .*run.yaml"):
        read_options({}, {}, tmp_path / "run.yaml")
    options = read_options({}, {"augment": "own.py:mine"}, tmp_path / "run.yaml")
    assert options.augment == f"{tmp_path}/own.py:mine"


def test_burn_in_and_warm_up_stay_as_the_run_began():
    options = Options(burn_in=0.25, warm_up=0.5, learning_rate=1.0, decay="cosine")
    duration = Duration(epochs=40, steps_per_epoch=10, begun_with=8)
    assert duration.burn_in(options) == 2 and Duration(1, 10, 8).burn_in(options) == 1
    rate = build_optimizer(options, duration.steps, duration.steps_begun_with)._learning_rate
    for step in (0, 19, 39, 40, 399):
        expected = (1 + math.cos(math.pi * step / 400)) / 2 * min(1, (step + 1) / 40)  # half of 80 steps
        assert float(rate(step)) == pytest.approx(expected, abs=1e-6)
