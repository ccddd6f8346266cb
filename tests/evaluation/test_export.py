import csv
import json
import math

import pytest

from rankmatch_keras.data.protocol import Protocol
from rankmatch_keras.evaluation import Scores, write_csv, write_json

pytestmark = pytest.mark.once

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


def test_failed_writing_leaves_the_old_file_alone(tmp_path):
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
