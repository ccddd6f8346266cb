import csv

import numpy as np
import pytest

from rankmatch_keras.prediction.measures import CLASS_COLUMNS, measure_classes, measure_objects, write_table

pytestmark = pytest.mark.once

NAMES = ("background", "cell", "never")
CLASSES = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 255]], np.uint8)
CONFIDENCE = np.array([[0.9, 0.7, 0.6, 0.6], [0.6, 0.6, 0.5, 0.6], [0.6, 0.6, 1.0, np.nan]], np.float32)


def test_classes_by_hand():
    background, cell, never = measure_classes(CLASSES, NAMES, CONFIDENCE)
    # 12 pixels, one of them without data; (1, 1) and the two below touch by a corner alone.
    assert (cell["area"], cell["share"], cell["objects"]) == (4, 4 / 11, 2)
    assert cell["confidence"] == pytest.approx((0.9 + 0.7 + 0.5 + 1.0) / 4)
    assert (background["area"], background["objects"], background["confidence"]) == (7, 0, pytest.approx(0.6))
    assert (never["area"], never["share"], never["objects"], never["confidence"]) == (0, 0.0, 0, None)


def test_a_class_0_of_another_name_has_objects():
    assert measure_classes(CLASSES, ("road", "cell", "never"), CONFIDENCE)[0]["objects"] == 2


def test_objects_by_hand():
    cells = [(row, region) for row, region in measure_objects(CLASSES, NAMES, CONFIDENCE) if row["class"] == "cell"]
    (first, _), (second, region) = cells
    assert (first["object"], first["area"], first["center_x"], first["center_y"]) == (1, 2, 0.5, 0.0)
    assert (second["area"], second["center_x"], second["center_y"]) == (2, 2.0, 1.5)
    assert [second[key] for key in ("left", "top", "width", "height")] == [2, 1, 1, 2]
    assert second["confidence"] == pytest.approx(0.75) and region.tolist() == [[True], [True]]


def test_a_table_that_no_spreadsheet_executes(tmp_path):
    names = ("background", "=HYPERLINK(1)", "-1+2")
    rows = ({"image": "@a", **row} for row in measure_classes(CLASSES, names, CONFIDENCE))
    write_table(tmp_path / "table.csv", CLASS_COLUMNS, rows)
    with open(tmp_path / "table.csv", newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert tuple(read[0]) == CLASS_COLUMNS
    assert [row["class"] for row in read] == ["background", "'=HYPERLINK(1)", "'-1+2"]
    assert read[1]["image"] == "'@a" and read[1]["share"] == "0.363636" and read[2]["confidence"] == ""
