import csv
import hashlib
import importlib
import json
import math

import keras
import numpy as np
import pytest
from hostile_texts import EVIL

from rankmatch_keras.data.sets.protocol import Protocol
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import (
    BoundaryCounts,
    ConfusionMatrix,
    Scores,
    format_comparison,
    format_table,
    weights_hash,
    write_csv,
    write_json,
)
from rankmatch_keras.evaluation.scores import default_provenance
from rankmatch_keras.texts import printable, shown

pytestmark = pytest.mark.once

MASK, PREDICTION = np.array([[0, 0, 2, 2]]), np.array([[0, 0, 2, 0]])
NAMES = ["road", "sign", "car"]


def _scores(**kwargs):
    matrix, boundary = ConfusionMatrix(3), BoundaryCounts(3)
    matrix.update(MASK, PREDICTION)
    boundary.update(MASK, PREDICTION)
    return Scores.from_confusion_matrix(matrix, NAMES, images=1, boundary=boundary, **kwargs)


def test_from_confusion_matrix():
    scores = _scores(protocol=Protocol("center_crop", 3), mean_iou_interval=(0.1, 0.9), provenance={"seed": 0})
    np.testing.assert_array_equal(scores.iou, [2 / 3, np.nan, 1 / 2])
    assert scores.mean_iou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores.dice == pytest.approx((4 / 5, np.nan, 2 / 3), nan_ok=True)
    assert scores.mean_dice == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert scores.precision == pytest.approx((2 / 3, np.nan, 1), nan_ok=True)
    assert scores.recall == pytest.approx((1, np.nan, 1 / 2), nan_ok=True)
    # A single row of pixels is all boundary.
    assert scores.boundary_iou == pytest.approx(scores.iou, nan_ok=True)
    assert scores.mean_boundary_iou == pytest.approx(scores.mean_iou)
    assert scores.pixel_accuracy == 0.75
    assert math.isnan(scores.foreground_iou)
    assert scores.absent == ("sign",)
    assert scores.images_available == 1
    assert scores.mode == "center_crop, crop 3"
    assert scores.mean_iou_interval == (0.1, 0.9)
    assert scores.provenance == {"seed": 0}


def test_foreground_of_two_classes():
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1]))
    scores = Scores.from_confusion_matrix(matrix, ["ground", "thing"], images=1)
    assert scores.foreground_iou == 2 / 3
    assert scores.boundary_iou is None
    assert math.isnan(scores.mean_boundary_iou)


@pytest.mark.parametrize("protocol", [Protocol(), Protocol("sliding_window", 5, "shift", True, (0.5, 1.0))], ids=str)
def test_round_trip(protocol):
    scores = _scores(protocol=protocol, provenance={"seed": 0, "versions": {"keras": "3"}})
    content = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    again = Scores.from_dict(content)
    assert again.to_dict() == scores.to_dict()
    assert math.isnan(again.iou[1])
    assert again.class_names == tuple(NAMES)
    assert again.protocol == protocol


def test_scores_of_an_older_version():
    content = _scores().to_dict()
    old = {name: content[name] for name in list(content)[:8]}
    old["mode"] = "whole image"
    scores = Scores.from_dict(old)
    assert (scores.mode, scores.dice, scores.mean_iou) == ("whole image", None, content["mean_iou"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 1}, "key class_names: Field required"),
        ({}, "key class_names: Field required"),
        ([1], r"not \[1\]"),
        ({**_scores().to_dict(), "epoch": 1}, "epoch"),
        ({**_scores().to_dict(), "iou": [0.5]}, "1 values of iou for 3 classes"),
        ({**_scores().to_dict(), "iou": 3}, "key iou: .*not 3"),
        ({**_scores().to_dict(), "iou": [0.5, "x", 0.5]}, "key iou.1: .*not 'x'"),
        ({**_scores().to_dict(), "protocol": {"mode": "odd"}}, "'odd'"),
        ({**_scores().to_dict(), "protocol": {"grid": 1}}, "grid"),
    ],
)
def test_other_json_is_refused(content, message):
    with pytest.raises(UserError, match=message):
        Scores.from_dict(content)


def _model():
    image = keras.Input((None, None, 2))
    model = keras.Model(image, keras.layers.BatchNormalization()(keras.layers.Conv2D(3, 1)(image)))
    model.set_weights([np.arange(w.size, dtype="float32").reshape(w.shape) for w in model.get_weights()])
    return model


def test_hash_by_hand():
    """The same on every backend: kernel, bias, then gamma, beta, moving mean, moving variance."""
    digest = hashlib.sha256()
    for shape in [(1, 1, 2, 3), *[(3,)] * 5]:
        digest.update(f"{shape} float32".encode())
        digest.update(np.arange(np.prod(shape), dtype="<f4").tobytes())
    assert weights_hash(_model()) == digest.hexdigest()[:12]


def test_the_hash_distinguishes_weights_and_survives_saving(tmp_path):
    model = _model()
    model.save(tmp_path / "model.keras")
    assert weights_hash(keras.saving.load_model(tmp_path / "model.keras")) == weights_hash(model)
    weights = model.get_weights()
    weights[-1][0] += 1e-3
    changed = _model()
    changed.set_weights(weights)
    assert weights_hash(changed) != weights_hash(model)


def test_default_provenance():
    backend = keras.backend.backend()
    facts = default_provenance(_model())
    assert facts["weights_hash"] == weights_hash(_model())
    assert facts["backend"] == backend
    assert facts["versions"] == {
        name: importlib.import_module(name).__version__ for name in ("rankmatch_keras", "keras", backend)
    }
    assert "weights_hash" not in default_provenance(object())


SCORES = Scores(
    ("road", "traffic, sign"),
    (0.5, math.nan),
    0.5,
    0.9,
    images=20,
    images_available=101,
    protocol=Protocol("sliding_window", 321, scales=(0.5, 1.0)),
    provenance={"set": "CamVid val", "split": "abc", "versions": {"keras": "3"}, "mode": "none of this"},
    dice=(2 / 3, math.nan),
    precision=(0.75, math.nan),
    recall=(0.6, math.nan),
    mean_dice=2 / 3,
    mean_iou_interval=(0.4, 0.6),
)


def test_json_is_strict(tmp_path):
    path = tmp_path / "new" / "scores.json"
    write_json(path, SCORES)
    assert "NaN" not in path.read_text()
    content = json.loads(path.read_text())
    assert content["iou"] == [0.5, None]
    assert content["foreground_iou"] is None
    assert Scores.from_dict(content).to_dict() == SCORES.to_dict()


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "scores.json"
    write_json(path, {"score": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"score": math.nan})
    assert json.loads(path.read_text()) == {"score": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


def test_csv(tmp_path):
    write_csv(tmp_path / "new" / "scores.csv", SCORES)
    with open(tmp_path / "new" / "scores.csv", newline="", encoding="utf-8") as file:
        road, sign, mean = csv.DictReader(file)
    assert road["row"] == "class"
    assert (road["class"], road["iou"], road["precision"], road["recall"]) == ("road", "0.5", "0.75", "0.6")
    assert road["boundary_iou"] == road["pixel_accuracy"] == road["iou_low"] == ""
    assert (sign["class"], sign["iou"], sign["dice"]) == ("traffic, sign", "", "")
    assert (mean["row"], mean["class"], mean["iou"], mean["pixel_accuracy"]) == ("mean", "", "0.5", "0.9")
    assert (mean["iou_low"], mean["iou_high"], mean["foreground_iou"]) == ("0.4", "0.6", "")
    assert float(mean["dice"]) == 2 / 3
    for row in (road, sign, mean):
        assert (row["mode"], row["crop"], row["border"]) == ("sliding_window", "321", "clip")
        assert (row["flip"], row["scales"]) == ("False", "0.5/1")
        assert (row["images"], row["images_available"]) == ("20", "101")
        assert (row["set"], row["split"]) == ("CamVid val", "abc")
        assert "versions" not in row


@pytest.mark.parametrize("evil", EVIL)
def test_names_of_classes_mean_nothing_to_files_and_tables(evil, tmp_path):
    scores = Scores((evil, "b"), (0.5, 0.5), 0.5, 0.9, images=1, images_available=1, provenance={"split": evil})
    write_csv(tmp_path / "scores.csv", scores)
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        first, *_ = csv.DictReader(file)
    assert first["class"] == first["split"] == shown(evil, "csv")
    write_json(tmp_path / "scores.json", scores)
    assert Scores.from_dict(json.loads((tmp_path / "scores.json").read_text("utf-8"))) == scores
    table = format_table(scores)
    assert printable(table, keep="\n") == table
    assert [line for line in table.split("\n") if line.startswith(printable(evil))]
    assert format_comparison({evil: scores, "b": scores}).count("\n") == format_comparison(
        {"a": scores, "b": scores}
    ).count("\n")
