"""The report on pseudo-labels, by hand on an image of six pixels."""

import csv
import math

import numpy as np
import pytest

from rankmatch_keras.callbacks import PseudoLabelHealth
from rankmatch_keras.errors import UserError
from rankmatch_keras.training import Run


class Sample:
    mask = "mask.png"

    def __init__(self, truth, broken=False):
        self.truth, self.broken = np.array(truth, np.int32), broken

    def read_image(self):
        if self.broken:
            raise UserError("an image", "none", "Look.")
        return np.zeros((*self.truth.shape, 3), np.uint8)

    def read_mask(self):
        return self.truth


class Predictor:
    """Class 1 with the given probabilities, of three classes; the rest is class 0."""

    def __init__(self, probabilities):
        self.probabilities = np.array(probabilities, np.float32)

    def predict_on_batch(self, images):
        p = self.probabilities
        return np.stack([1 - p, p, 0 * p], axis=-1)[None]


class Model:
    threshold = 0.8


# Labels 1 1 1 / 0 0 0 with confidences 0.9 0.9 0.6 / 0.9 0.7 0.9; the last pixel is ignored.
TRUTH = [[1, 0, 1], [0, 0, 255]]
PROBABILITIES = [[0.9, 0.9, 0.6], [0.1, 0.3, 0.1]]


@pytest.fixture
def health(tmp_path):
    def make(samples):
        callback = PseudoLabelHealth(Run(tmp_path), samples, ("sky", "road", "car"), Predictor(PROBABILITIES))
        callback._model = Model()  # what `set_model` sets
        callback.on_train_begin()
        return callback

    return make


def rows(tmp_path):
    with (tmp_path / "pseudo_labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_shares_by_hand(health, tmp_path):
    health([Sample(TRUTH)]).on_epoch_end(0)
    (row,) = rows(tmp_path)
    values = {name: float(value) if value else math.nan for name, value in row.items()}
    # Of the five pixels with truth three are kept: (0, 0) right, (0, 1) wrong, (1, 0) right.
    # So one of the two of sky is labeled road.
    expected = {
        "epoch": 1,
        "threshold": 0.8,
        "kept": 3 / 5,
        "accuracy": 2 / 3,
        "accuracy_all": 4 / 5,
        "kept_sky": 2 / 3,
        "recall_sky": 1 / 2,
        "accuracy_sky": 1.0,
        "kept_road": 1 / 2,
        "recall_road": 1.0,
        "accuracy_road": 1 / 2,
        "kept_car": math.nan,
        "recall_car": math.nan,
        "accuracy_car": math.nan,
    }
    assert values == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_a_resumed_run_replaces_the_rows_after_its_last_whole_epoch(health, tmp_path):
    callback = health([Sample(TRUTH)])
    for epoch in (0, 1, 2):
        callback.on_epoch_end(epoch)
    health([Sample(TRUTH)]).on_epoch_end(1)
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2"]


def test_broken_samples_are_left_out_and_none_is_silent(health, tmp_path, capsys):
    callback = health([Sample(TRUTH, broken=True), Sample(TRUTH)])
    assert len(callback.samples) == 1 and "on 1 of 2 images" in capsys.readouterr().out
    health([]).on_epoch_end(0)
    assert not (tmp_path / "pseudo_labels.csv").exists() and capsys.readouterr().out == ""


def test_without_threshold_all_labels_count(health, tmp_path):
    callback = health([Sample(TRUTH)])
    callback._model = object()
    callback.on_epoch_end(0)
    (row,) = rows(tmp_path)
    assert float(row["kept"]) == 1 and row["accuracy"] == row["accuracy_all"] == "0.8"
