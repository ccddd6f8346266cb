import json
import math

import numpy as np
import pytest

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import ConfusionMatrix, Scores, format_comparison, format_table, write_json


def _scores(iou, mean, accuracy=0.9, names=("road", "sign", "car"), **kwargs):
    return Scores(names, tuple(iou), mean, accuracy, **{"images": 20, "images_available": 101, **kwargs})


BEFORE = _scores((0.5, math.nan, 0.25), 0.375)
AFTER = _scores((0.6012, 0.0, 0.2), 0.2671, 0.9501)


def test_from_confusion_matrix():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([0, 0, 2, 2]), np.array([0, 0, 2, 0]))
    scores = Scores.from_confusion_matrix(matrix, ["road", "sign", "car"], images=1)
    np.testing.assert_array_equal(scores.iou, [2 / 3, np.nan, 1 / 2])
    assert scores.mean_iou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores.pixel_accuracy == 0.75
    assert scores.absent == ("sign",)
    assert scores.images_available == 1


def test_single_table():
    assert format_table(_scores((0.5, math.nan, 0.25), 0.375, provenance={"split": "val", "seed": 0})) == "\n".join(
        [
            "whole image, 20 of 101 images, split val, seed 0",
            "class            IoU %",
            "----------------------",
            "road             50.00",
            "sign            absent",
            "car              25.00",
            "----------------------",
            "mean IoU         37.50",
            "pixel accuracy   90.00",
            "Absent from truth and prediction, left out of the mean: sign",
        ]
    )


def test_before_after_difference():
    assert format_comparison({"before": BEFORE, "after": AFTER}) == "\n".join(
        [
            "whole image, 20 of 101 images",
            "class           before  after  difference",
            "-----------------------------------------",
            "road             50.00  60.12      +10.12",
            "sign            absent   0.00           -",
            "car              25.00  20.00       -5.00",
            "-----------------------------------------",
            "mean IoU         37.50  26.71      -10.79",
            "pixel accuracy   90.00  95.01       +5.01",
            "Absent from truth and prediction, left out of the mean (before): sign",
        ]
    )


def test_table_with_baseline_is_a_comparison():
    assert format_table(AFTER, baseline=BEFORE) == format_comparison({"baseline": BEFORE, "this": AFTER})


def test_three_columns_differ_from_the_first_and_unlike_measurements_are_told():
    lines = format_comparison({"a": BEFORE, "b": AFTER, "c": _scores((1, 1, 1), 1.0, images=101)}).splitlines()
    assert lines[:3] == [
        "a: whole image, 20 of 101 images",
        "b: whole image, 20 of 101 images",
        "c: whole image, 101 images",
    ]
    assert lines[3].split() == ["class", "a", "b", "c", "b", "-", "a", "c", "-", "a"]
    assert lines[5].split() == ["road", "50.00", "60.12", "100.00", "+10.12", "+50.00"]


def test_no_minus_zero():
    assert "-0.00" not in format_comparison({"before": AFTER, "after": _scores((0.60119, 0, 0.2), 0.2671)})


def test_comparison_mistakes():
    with pytest.raises(UserError, match="tree in after"):
        format_comparison({"before": BEFORE, "after": _scores((1.0,), 1.0, names=("tree",))})
    with pytest.raises(UserError, match="found none"):
        format_comparison({})


def test_json_round_trip(tmp_path):
    path = tmp_path / "new" / "scores.json"
    write_json(path, BEFORE)
    text = path.read_text()
    assert "NaN" not in text
    content = json.loads(text)
    assert content["iou"] == [0.5, None, 0.25]
    assert Scores.from_dict(content).to_dict() == BEFORE.to_dict()
    assert math.isnan(Scores.from_dict(content).iou[1])
    assert Scores.from_dict(content).class_names == BEFORE.class_names


def test_failed_writing_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "scores.json"
    write_json(path, {"score": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"score": math.nan})
    assert json.loads(path.read_text()) == {"score": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


def test_foreign_json():
    with pytest.raises(UserError, match="found epoch"):
        Scores.from_dict({"epoch": 1})
