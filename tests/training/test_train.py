"""Whole runs by the recipe for short runs: their phases, what they choose by themselves, what they keep and say."""

import json
import math
import re

import numpy as np
import pytest
from short_runs import StopAfter, weights_of

from rankmatch_keras import data, evaluation, training
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.errors import UserError
from rankmatch_keras.training import fitting, inputs, phases, results
from rankmatch_keras.training import train as train_module
from rankmatch_keras.training.configuration import OWN_DATA, RECIPES, read_options
from rankmatch_keras.training.run_folder import Run


@pytest.mark.once
@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("fall_back", [False, True])
def test_a_run_that_stops_in_any_phase_resumes_to_the_same(epoch, fall_back, train, tmp_path, monkeypatch, capsys):
    burn_in = 0.25 if fall_back else 0.5
    monkeypatch.setattr(phases, "PROBATION", 1)
    monkeypatch.setattr(phases, "WORSE", -2.0 if fall_back else 2.0)  # all scores are worse, or none is
    whole = train(tmp_path / "whole", burn_in=burn_in)
    assert ("back to the best network and labels alone" in capsys.readouterr().out) == fall_back
    callbacks = train_module._callbacks
    monkeypatch.setattr(train_module, "_callbacks", lambda *given: [*callbacks(*given), StopAfter(epoch)])
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", burn_in=burn_in)
    monkeypatch.setattr(train_module, "_callbacks", callbacks)
    resumed = train(tmp_path / "cut", burn_in=burn_in, resume=True)
    for one, other in zip(weights_of(whole.run), weights_of(resumed.run), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    rows = [run.read_history() for run in (whole.run, resumed.run)]
    # The burn-in sees labeled images alone, and so does what follows a fall-back.
    on_all = [False, True, False, False] if fall_back else [False, False, True, True]
    assert [row["mask_ratio"] > 0.0 for row in rows[0]] == on_all
    assert [row["supervised"] for row in rows[0]] == pytest.approx([row["supervised"] for row in rows[1]], rel=1e-5)


@pytest.mark.parametrize(("side", "crop"), [(128, 129), (48, 49), (20, 33), (480, 193)])
def test_crops_follow_the_images(side, crop):
    samples = (Sample("a", _Array(np.zeros((side, 2 * side, 3), np.uint8)), None),)
    assert fitting.crop_for(data.Split(samples, samples, "id")) == crop


class _Array:
    """An image in memory, as a sample's source."""

    def __init__(self, array):
        self.array = array

    def read(self):
        return self.array


def test_recipes_are_defaults_that_all_else_overrides():
    practical = read_options(OWN_DATA, {})
    assert all(getattr(practical, name) == value for name, value in RECIPES["practical"].items())
    assert read_options(OWN_DATA, {"burn_in": 0.0}).burn_in == 0.0
    published = read_options(OWN_DATA, {"recipe": "published"})
    assert published == training.Options(recipe="published")
    assert read_options({"batch": 3, "recipe": "practical"}, {"recipe": "published"}).batch == 3
    assert read_options(OWN_DATA, {"method": "supervised"}).method == "supervised"


@pytest.mark.parametrize(
    ("burn_in", "epochs", "method", "expected"),
    [(0.0, 10, "rankmatch", 0), (0.2, 10, "rankmatch", 2), (0.01, 10, "rankmatch", 1), (0.9, 2, "rankmatch", 1)]
    + [(0.5, 1, "rankmatch", 0), (0.5, 10, "supervised", 0), (0.5, 10, "selftraining", 0)],
)
def test_epochs_of_a_burn_in(burn_in, epochs, method, expected):
    assert training.Options(burn_in=burn_in, method=method).burn_in_epochs(epochs) == expected


@pytest.mark.parametrize(
    ("scores", "burn_in", "epoch"),
    [
        ((0.3, 0.5, 0.48, 0.48, 0.48, 0.6), 2, 5),
        ((0.3, 0.5, 0.48, 0.495, 0.48, 0.48), 2, None),  # within a point is not worse
        ((0.3, 0.5, 0.48, 0.48, 0.51, 0.48, 0.48, 0.48), 2, 8),
        ((0.5, 0.3, math.nan, 0.48, math.nan, 0.48, 0.48), 2, 7),
        ((0.5, 0.1, 0.1, 0.1), 0, None),
        ((math.nan, 0.1, 0.1, 0.1), 1, None),
    ],
)
def test_when_a_run_falls_back(scores, burn_in, epoch):
    assert phases.epoch_of_fall_back([{"mean_iou": score} for score in scores], burn_in) == epoch


@pytest.mark.parametrize(
    ("scores", "start", "epoch"),
    [
        ((0.3, 0.5, 0.4, 0.5, 0.6), 0, 4),  # as good is not better
        ((0.3, 0.5, 0.4, 0.6, 0.5, 0.5), 0, 6),
        ((0.5, 0.4, 0.4, 0.4, 0.4), 2, 4),
        ((0.5, 0.4, 0.4, 0.6, 0.4), 2, None),
        ((math.nan, math.nan, 0.1), 0, 2),
        ((0.1, 0.2, 0.3, 0.3), 0, None),
    ],
)
def test_when_a_run_has_waited_long_enough(scores, start, epoch):
    history = [{"mean_iou": score} for score in scores]
    assert phases.epoch_of_stop(history, 2, start) == epoch
    assert phases.epoch_of_stop(history, None, start) is None


@pytest.mark.once
def test_a_run_without_patience_ends_early_and_stays_so(train, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_module.Evaluation, "on_epoch_end", lambda self, epoch, logs: logs.update(mean_iou=0.5))
    run = train(tmp_path / "run", method="supervised", patience=2).run
    assert len(run.read_history()) == 3 and "No better validation score in 2 evaluations" in capsys.readouterr().out
    assert run.scores.exists()
    before = weights_of(run)
    again = train(tmp_path / "run", method="supervised", patience=2, resume=True).run
    assert len(again.read_history()) == 3
    for one, other in zip(before, weights_of(again), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("scores", "burn_in", "said"), [((0.3, 0.5, 0.4), 1, False), ((0.5, 0.3, 0.4), 1, True)])
def test_what_a_run_keeps_is_said(scores, burn_in, said, tmp_path, capsys):
    rows = "".join(f"{number},{score}\n" for number, score in enumerate(scores, start=1))
    (tmp_path / "history.csv").write_text(f"epoch,mean_iou\n{rows}")
    results.say_kept(Run(tmp_path), training.Options(keep="best"), burn_in)
    out = capsys.readouterr().out
    assert "mean IoU 50.0 % on the validation images, 40.0 % after the last" in out
    assert ("the unlabeled ones did not help here" in out) == said
    results.say_kept(Run(tmp_path), training.Options(keep="last"), burn_in)
    assert capsys.readouterr().out == ""


def test_class_weights_by_hand(image_tree):
    dataset = data.Lucchi(image_tree)
    split = data.choose_labeled(dataset.train, 2, 0)
    pixels = np.sum([np.bincount(sample.read_mask().ravel(), minlength=2)[:2] for sample in split.labeled], axis=0)
    each = (1 - 0.999) / (1 - 0.999 ** (pixels / 256))
    expected = each * pixels.sum() / (each * pixels).sum()
    found = inputs.class_weights_of(training.Options(class_weights="auto"), dataset, split)
    assert found == pytest.approx(tuple(expected)) and found[0] < 1.0 < found[1]
    assert inputs.class_weights_of(training.Options(class_weights="1, 2.5"), dataset, split) == (1.0, 2.5)
    assert inputs.class_weights_of(training.Options(), dataset, split) is None
    for wrong in ("1", "1,2,3", "1,x", "1,-1", "nan,1"):
        with pytest.raises(UserError, match="--class-weights auto or 2 numbers of at least 0"):
            inputs.class_weights_of(training.Options(class_weights=wrong), dataset, split)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"threshold": 0.95}, "No pseudo-label reached the threshold in 3 steps.* Lower --threshold"),
        ({}, "No pseudo-label was kept in 3 steps.* Train longer"),
    ],
)
def test_a_run_that_keeps_no_pseudo_label_says_so(model, message, capsys):
    callback = training.callbacks.NothingLearned(steps=3)
    callback.set_model(type("Model", (), {"labels_only": False, **model})())
    for kept in (0.0, 0.0, 0.1, 0.0, 0.0):
        callback.on_train_batch_end(0, {"mask_ratio": kept})
    assert capsys.readouterr().out == ""
    for _ in range(2):
        callback.on_train_batch_end(0, {"mask_ratio": 0.0})
    assert re.search(message, capsys.readouterr().out)


def test_scores_are_written_before_anything_is_drawn(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"options": {}}')
    (tmp_path / "history.csv").write_text("epoch,loss,mean_iou,iou_$\\frac{$\n1,1.0,0.5,0.5\n")
    scores = evaluation.Scores((r"$\frac{$",), (0.5,), 0.5, 0.9, images=1, images_available=1)
    results.report(Run(tmp_path), None, {"IoU %": scores})  # without data there is no picture of predictions
    assert evaluation.Scores.from_dict(json.loads((tmp_path / "scores.json").read_text())["IoU %"]) == scores
    assert (tmp_path / "scores.csv").is_file() and (tmp_path / "curves.png").is_file()
    assert "Warning: no predictions.png" in capsys.readouterr().err
