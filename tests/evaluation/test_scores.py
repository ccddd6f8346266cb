import json
import math

import numpy as np
import pytest

from rankmatch_keras.data.protocol import Protocol
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import BoundaryCounts, ConfusionMatrix, Scores

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
    # One row of pixels is all boundary.
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
        ({"epoch": 1}, "found epoch"),
        ({}, "found none"),
        ([1], "found list"),
        ({**_scores().to_dict(), "epoch": 1}, "epoch"),
        ({**_scores().to_dict(), "iou": [0.5]}, "1 values of iou for 3 classes"),
        ({**_scores().to_dict(), "iou": 3}, "iterable"),
        ({**_scores().to_dict(), "protocol": {"mode": "odd"}}, "'odd'"),
        ({**_scores().to_dict(), "protocol": {"grid": 1}}, "grid"),
    ],
)
def test_foreign_json(content, message):
    with pytest.raises(UserError, match=message):
        Scores.from_dict(content)
