import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from rankmatch_keras import data
from rankmatch_keras.prediction.measures import measure_objects
from rankmatch_keras.prediction.outlines import annotation, coco_file, feature, outline

pytestmark = pytest.mark.once

NAMES = ("background", "cell", "dust")
maps = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2))


def area(ring):
    x, y = ring.T
    return abs(x[:-1] @ y[1:] - x[1:] @ y[:-1]) / 2


def test_an_outline_by_hand():
    region = np.ones((3, 4), bool)
    region[1, 1:3] = False
    outer, hole = outline(region)
    assert sorted(map(tuple, outer[:-1].tolist())) == [(0, 0), (0, 3), (4, 0), (4, 3)]
    assert sorted(map(tuple, hole[:-1].tolist())) == [(1, 1), (1, 2), (3, 1), (3, 2)]
    assert (outer[0] == outer[-1]).all() and (hole[0] == hole[-1]).all()


@settings(max_examples=150, deadline=None)
@given(maps)
def test_outlines_enclose_their_pixels(classes):
    labels, count = ndimage.label(classes == 1)
    for number in range(1, count + 1):
        outer, *holes = outline(labels == number)
        assert area(outer) - sum(map(area, holes)) == (labels == number).sum()


@settings(max_examples=60, deadline=None)
@given(maps)
def test_a_coco_file_is_read_as_the_same_mask(tmp_path_factory, classes):
    found = [(row["class_id"], annotation(row, region, classes.shape)) for row, region in objects(classes)]
    path = tmp_path_factory.mktemp("coco") / "polygons.json"
    path.write_text(json.dumps(coco_file([("a.png", classes.shape, found)], NAMES)))
    coco = data.read_coco(path)
    assert coco.class_names == NAMES
    np.testing.assert_array_equal(coco.masks()["a.png"].read(), classes)
    assert [one["area"] for _, one in found] == [int(row["area"]) for row, _ in objects(classes)]


def objects(classes):
    return [(row, region) for row, region in measure_objects(classes, NAMES) if row["class_id"]]


def test_all_classes_are_categories_where_none_is_background():
    content = coco_file([("a.png", (1, 1), [(0, {"area": 1})])], ("sky", "road"))
    assert content["categories"] == [{"id": 1, "name": "sky"}, {"id": 2, "name": "road"}]
    assert content["annotations"] == [{"id": 1, "image_id": 1, "category_id": 1, "area": 1}]


def test_a_feature_has_rings_that_turn_as_the_standard_asks():
    classes = np.ones((3, 3), np.uint8)
    classes[1, 1] = 0
    ((row, region),) = objects(classes)
    here = feature(row, region)
    there = feature(row, region, lambda points: points * (2.0, -2.0) + (100.0, 500.0))
    for found in (here, there):
        outer, hole = (np.array(ring) for ring in found["geometry"]["coordinates"])
        signed = [float(r[:-1, 0] @ r[1:, 1] - r[1:, 0] @ r[:-1, 1]) for r in (outer, hole)]
        assert signed[0] > 0 > signed[1]
    assert sorted(there["geometry"]["coordinates"][0])[0] == [100.0, 494.0]
    assert here["properties"] == {"class_id": 1, "class": "cell", "object": 1, "area": 8, "confidence": None}
