import math

import pytest

from rankmatch_keras.data.sets.protocol import Protocol
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import Scores, format_comparison, format_table

pytestmark = pytest.mark.once


def _scores(iou, mean, accuracy=0.9, names=("road", "sign", "car"), **kwargs):
    return Scores(names, tuple(iou), mean, accuracy, **{"images": 20, "images_available": 101, **kwargs})


BEFORE = _scores((0.5, math.nan, 0.25), 0.375)
AFTER = _scores((0.6012, 0.0, 0.2), 0.2671, 0.9501)


def test_single_table():
    scores = _scores(
        (0.5, math.nan, 0.25),
        0.375,
        dice=(2 / 3, math.nan, 0.4),
        precision=(0.75, math.nan, 0.5),
        recall=(0.6, math.nan, 1 / 3),
        boundary_iou=(0.3, math.nan, 0.1),
        mean_iou_interval=(0.3012, 0.45),
        mode=str(Protocol("sliding_window", 321, scales=(0.5, 1.0))),
        provenance={"split": "val", "seed": 0, "weights_hash": "abc", "backend": "jax", "versions": {"keras": "3"}},
    )
    assert format_table(scores) == "\n".join(
        [
            "sliding_window, crop 321, border clip, scales 0.5/1, 20 of 101 images, "
            "split val, seed 0, weights hash abc, backend jax",
            "class   IoU %  Dice %  precision %  recall %  boundary IoU %",
            "------------------------------------------------------------",
            "road    50.00   66.67        75.00     60.00           30.00",
            "sign   absent  absent       absent    absent          absent",
            "car     25.00   40.00        50.00     33.33           10.00",
            "------------------------------------------------------------",
            "mean    37.50   53.33        62.50     46.67           20.00",
            "mean IoU, 95 % interval over 20 images: 30.12 to 45.00 %",
            "pixel accuracy: 90.00 %",
            "Absent from truth and prediction, left out of the mean: sign",
        ]
    )


def test_a_table_of_two_classes_has_only_what_was_measured():
    scores = _scores((0.5, 0.25), 0.375, names=("ground", "thing"), foreground_iou=0.25)
    assert format_table(scores) == "\n".join(
        [
            "whole, 20 of 101 images",
            "class   IoU %",
            "-------------",
            "ground  50.00",
            "thing   25.00",
            "-------------",
            "mean    37.50",
            "pixel accuracy: 90.00 %",
            "foreground IoU: 25.00 %",
        ]
    )


def test_before_after_difference():
    assert format_comparison({"before": BEFORE, "after": AFTER}) == "\n".join(
        [
            "whole, 20 of 101 images",
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


def test_a_table_with_a_baseline_is_a_comparison():
    assert format_table(AFTER, baseline=BEFORE) == format_comparison({"baseline": BEFORE, "this": AFTER})


def test_columns_are_compared_with_the_first_and_described_if_measured_differently():
    lines = format_comparison({"a": BEFORE, "b": AFTER, "c": _scores((1, 1, 1), 1.0, images=101)}).splitlines()
    assert lines[:3] == [
        "a: whole, 20 of 101 images",
        "b: whole, 20 of 101 images",
        "c: whole, 101 images",
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
