"""Evaluation, checkpoints and the stop on a broken loss."""

import csv
import math
import sys
import time
import types

import keras
import numpy as np
import pytest

from rankmatch_keras import methods, models
from rankmatch_keras.callbacks import Checkpoint, EpochLines, Evaluation, ProgressLines, StopOnNonFinite
from rankmatch_keras.errors import NonFiniteLoss
from rankmatch_keras.evaluation import Scores
from rankmatch_keras.texts import say
from rankmatch_keras.training import Run
from rankmatch_keras.training.callbacks import TimeToGo
from rankmatch_keras.training.duration import Duration


class Evaluator:
    """Gives prepared scores."""

    class_names = ("ground", "thing")

    def __init__(self, *means):
        self.means = list(means)

    def evaluate(self, predictor):
        mean = self.means.pop(0)
        return Scores(self.class_names, (mean, mean), mean, 0.9, images=1, images_available=1)


def predictor(value=0.0):
    image = keras.Input((None, None, 3))
    layer = keras.layers.Conv2D(2, 1, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(value))
    return keras.Model(image, layer(image))


def test_the_best_and_the_last_predictor_are_kept(tmp_path):
    run = Run.create(tmp_path / "run", {})
    model = predictor()
    model.compile("sgd")
    model.optimizer.build(model.trainable_variables)
    evaluation, checkpoint = Evaluation(Evaluator(0.5, 0.25), model), Checkpoint(run, model)
    for callback in (evaluation, checkpoint):
        callback.set_model(model)
        callback.set_params({"epochs": 2})
    for epoch, bias in enumerate((1.0, 2.0)):
        model.layers[-1].bias.assign([bias, bias])
        logs = {"loss": 0.5}
        checkpoint.on_epoch_begin(epoch)
        evaluation.on_epoch_end(epoch, logs)
        checkpoint.on_epoch_end(epoch, logs)
    biases = [models.load_predictor(path).layers[-1].bias.numpy()[0] for path in (run.best, run.last)]
    assert biases == [1.0, 2.0]
    rows = list(csv.DictReader(run.history.read_text().splitlines()))
    assert [float(row["mean_iou"]) for row in rows] == [0.5, 0.25]
    assert set(rows[0]) == {"epoch", "loss", "mean_iou", "iou_ground", "iou_thing", "seconds"}
    left = [path.name for path in run.folder.iterdir() if path.name.startswith(".writing")]
    assert left == []


def test_evaluation_every_second_epoch_and_after_the_last():
    callback = Evaluation(Evaluator(0.1, 0.2), predictor(), every=2)
    callback.set_params({"epochs": 3})
    means = []
    for epoch in range(3):
        logs = {}
        callback.on_epoch_end(epoch, logs)
        means.append(logs["mean_iou"])
    assert math.isnan(means[0]) and means[1:] == [0.1, 0.2]


def test_a_broken_loss_stops_with_step_and_terms():
    callback = StopOnNonFinite()
    callback.set_params({"steps": 10})
    callback.on_epoch_begin(2)
    callback.on_train_batch_end(3, {"loss": 1.0, "rank_1": 2.0})
    with pytest.raises(NonFiniteLoss, match=r"step 25: rank_1 .*supervised 0.5"):
        callback.on_train_batch_end(4, {"loss": np.nan, "supervised": 0.5, "rank_1": np.inf})


def test_fit_stops_on_a_broken_loss_and_keeps_the_epoch_before(make_job):
    job = make_job("run", method=methods.SupervisedOnly)

    class Break(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                bias = self.model.segmenter.decoder.get_layer("classifier").bias
                bias.assign(np.full(bias.shape, np.nan, "float32"))

    checkpoint = Checkpoint(job.run, job.predictor, monitor="confidence")
    with pytest.raises(NonFiniteLoss, match="step 3: .*supervised"):
        job.fit([StopOnNonFinite(), checkpoint, Break()])
    fresh = make_job("run", resume=True, method=methods.SupervisedOnly)
    assert Checkpoint(fresh.run, fresh.predictor).restore(fresh.model) == 1
    assert all(np.isfinite(keras.ops.convert_to_numpy(v.value)).all() for v in fresh.model.trainable_variables)


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
        "step 3 of 8, 1.0 minutes to go in this epoch, 12.00 s a step - loss 1.235 - rank_1 2e-05",
        "step 6 of 8, 0.4 minutes to go in this epoch, 12.00 s a step - loss 1.235 - rank_1 2e-05",
    ]


def be_a_terminal(monkeypatch):
    """Makes both streams look like a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)


@pytest.mark.once
def test_a_terminal_has_one_line_rewritten_in_place(clock, capsys, monkeypatch):
    be_a_terminal(monkeypatch)
    callback = ProgressLines(epochs=12)
    callback.set_params({"steps": 400, "epochs": 2})
    # The first step takes 9 s, the others 0.04 s: no more than ten updates a second.
    lines_of(callback, clock, [9.0 + 0.04 * n for n in range(101)])
    out, err = capsys.readouterr()
    written = err.split("\r")[1:]
    assert out == "" and "\n" not in err and {len(line) for line in written} == {79}
    assert len(written) == 1 + 100 // 3  # every third step: after 0.12 s
    assert written[0].rstrip() == "Epoch 1/12: step 1 of 400, 9.00 s a step, loss 1.235, about 60 min to go"
    assert written[-1].rstrip() == "Epoch 1/12: step 100 of 400, 0.04 s a step, loss 1.235, about 12 s to go"
    callback.on_epoch_end(0)
    assert capsys.readouterr().err == "\r" + 79 * " " + "\r"


@pytest.mark.once
def test_a_message_replaces_the_line_of_the_terminal(clock, capsys, monkeypatch):
    be_a_terminal(monkeypatch)
    callback = ProgressLines()
    callback.set_params({"steps": 4})
    lines_of(callback, clock, (1.0,))
    capsys.readouterr()
    say("Something else.")
    say("And more.")
    out, err = capsys.readouterr()
    assert out == "Something else.\nAnd more.\n" and err == "\r" + 79 * " " + "\r"


@pytest.mark.once
@pytest.mark.parametrize("file", ["stdout", "stderr"])
def test_where_one_stream_is_a_file_lines_are_occasional(clock, capsys, monkeypatch, file):
    be_a_terminal(monkeypatch)
    monkeypatch.setattr(getattr(sys, file), "isatty", lambda: False)
    callback = ProgressLines(seconds=30)
    callback.set_params({"steps": 8})
    lines_of(callback, clock, (12.0, 24.0, 36.0))
    out, err = capsys.readouterr()
    assert out.startswith("step 3 of 8, ") and err == ""


def test_without_a_known_end_it_does_not_say_when(clock, capsys):
    callback = ProgressLines(seconds=30)
    callback.set_params({"steps": None})
    lines_of(callback, clock, (31.0,))
    assert capsys.readouterr().out == "step 1, 31.00 s a step - loss 1.235 - rank_1 2e-05\n"


@pytest.mark.once
def test_an_epoch_is_one_short_line(clock, capsys):
    callback = EpochLines(epochs=10)
    callback.set_params({"epochs": 2})  # of a phase
    callback.set_model(types.SimpleNamespace(labels_only=False))
    logs = {"loss": 1.33051, "mask_ratio": 0.4526, "rank_1": 0.1, "mean_iou": 0.46914, "iou_cell": 0.01}
    callback.on_epoch_begin(2)
    clock(12.3)
    callback.on_epoch_end(2, logs)
    callback.model.labels_only = True
    callback.on_epoch_end(3, logs | {"mean_iou": math.nan})
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 3/10: mean IoU 46.91 %, loss 1.331, 45 % of the pseudo-labels kept, 12 s",
        "Epoch 4/10: loss 1.331, 12 s",
    ]


def test_it_reads_the_logs_of_fit(capsys):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 1)), np.ones((4, 1)), batch_size=2, verbose=2, callbacks=[ProgressLines(seconds=0)])
    *between, end = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in between] == ["step 1 of 2", "step 2 of 2"]
    assert "loss" in between[0] and end.startswith("2/2 - ")


@pytest.mark.once
@pytest.mark.parametrize(
    ("burn_in", "accumulate", "said"),
    [
        (0, 1, [(20, "About 19 min")]),  # 4 s x (300 - 20)
        # On labels alone 4 s x (50 - 20 + 7/3 x 250) = 2453 s; on all images 12 s x (300 - 50 - 20).
        (1, 1, [(20, "About 41 min"), (70, "About 46 min")]),
        (0, 2, [(20, "About 37 min")]),  # twice the batches
    ],
)
def test_the_time_to_go_is_said_once_for_each_kind_of_step(burn_in, accumulate, said, monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    callback = TimeToGo(Duration(epochs=6, steps_per_epoch=50, begun_with=6), burn_in)
    callback.set_model(type("Model", (), {"batches_per_step": accumulate})())
    callback.set_params({"steps": 50 * accumulate})
    lines = []
    for epoch in range(6):
        clock[0] += 100.0  # an evaluation
        callback.on_epoch_begin(epoch)
        for batch in range(50 * accumulate):
            clock[0] += 90.0 if epoch == batch == 0 else 4.0 if epoch < burn_in or not burn_in else 12.0
            callback.on_train_batch_end(batch)
            if out := capsys.readouterr().out.strip():
                lines.append((epoch * 50 + (batch + 1) // accumulate, out))
    assert lines == [(step, f"{text} of training to go, evaluations aside.") for step, text in said]
