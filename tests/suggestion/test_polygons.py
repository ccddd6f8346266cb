"""Polygons: drawn by the tools' own rules they are the mask again."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rankmatch_keras import data
from rankmatch_keras.data.masks.labelme import LabelMeMask
from rankmatch_keras.suggestion.annotations import Annotated, labelme_file, write_annotations
from rankmatch_keras.suggestion.polygons import polygons, simplified, without_specks

pytestmark = pytest.mark.once

NAMES = ("background", "cell", "dust")
maps = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2))


def test_a_ring_keeps_the_points_that_matter():
    ring = np.array([(0, 0), (2, 0.4), (4, 0), (4, 4), (0, 4), (0, 0)], float)
    assert simplified(ring, 0.5).tolist() == [[0, 0], [4, 0], [4, 4], [0, 4]]
    assert simplified(ring, 0.3).tolist() == ring[:-1].tolist()
    small = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)], float)
    assert len(simplified(small, 5.0)) >= 3, "an object of a pixel stays one"


def test_what_lies_in_a_hole_is_drawn_after_it():
    classes = np.ones((7, 8), np.uint8)
    classes[2:5, 2:6] = 0
    classes[3, 3] = 2
    found = polygons(classes, NAMES)
    assert [one.class_id for one in found] == [1, 0, 2]
    assert sorted(map(tuple, found[0].points.tolist())) == [(0, 0), (0, 7), (8, 0), (8, 7)]
    assert sorted(map(tuple, found[0].inner.tolist())) == [(0.5, 0.5), (0.5, 6.5), (7.5, 0.5), (7.5, 6.5)]
    assert (found[0].area, found[0].box) == (7 * 8 - 12, (0, 0, 8, 7))
    classes[0] = 0  # background that is in no hole needs no polygon
    assert [one.class_id for one in polygons(classes, NAMES)] == [1, 0, 2]
    assert [one.class_id for one in polygons(classes, ("sky", "b", "c"))] == [1, 0, 0, 2]


@settings(max_examples=60, deadline=None)
@given(maps)
def test_the_files_of_the_tools_are_read_as_the_mask(tmp_path_factory, classes):
    out = tmp_path_factory.mktemp("next")
    write_annotations(out, [Annotated("a.png", classes)], NAMES, tolerance=0.0)
    np.testing.assert_array_equal(data.read_coco(out / "coco.json").masks()["a.png"].read(), classes)
    np.testing.assert_array_equal(LabelMeMask(out / "labelme/a.json", NAMES).read(), classes)


def test_simplified_polygons_are_nearly_the_mask(tmp_path):
    y, x = np.mgrid[:120, :160]
    classes = np.where((x - 70) ** 2 + (y - 60) ** 2 < 45**2, 1, 0).astype(np.uint8)
    classes[(x - 70) ** 2 + (y - 60) ** 2 < 20**2] = 2
    write_annotations(tmp_path, [Annotated("a.png", classes)], NAMES)
    for read in (
        data.read_coco(tmp_path / "coco.json").masks()["a.png"].read(),
        LabelMeMask(tmp_path / "labelme/a.json", NAMES).read(),
    ):
        for k in (1, 2):
            assert ((read == k) & (classes == k)).sum() > 0.97 * ((read == k) | (classes == k)).sum()
    exact, few = polygons(classes, NAMES, 0.0), polygons(classes, NAMES)
    assert sum(len(one.points) for one in few) < 0.4 * sum(len(one.points) for one in exact)


def test_a_labelme_file_names_its_image_in_any_subfolder():
    one = Annotated("day/b/c.jpg", np.zeros((3, 4), np.uint8))
    content = labelme_file(one, [], NAMES)
    assert content["imagePath"] == "../../../images/day/b/c.jpg"  # from labelme/day/b
    assert (content["imageHeight"], content["imageWidth"]) == (3, 4)
    assert json.dumps(content)


def test_gaps_between_polygons_are_ignored_where_no_class_is_a_background(tmp_path):
    (tmp_path / "a.json").write_text(
        json.dumps(labelme_file(Annotated("a.png", np.zeros((3, 4))), [], ("sky", "road")))
    )
    assert (LabelMeMask(tmp_path / "a.json", ("background", "sky", "road")).read() == 255).all()


def test_specks_take_the_class_around_them():
    classes = np.zeros((200, 200), np.uint8)
    classes[:, 100:] = 1
    classes[50, 50:53] = 2  # 3 pixels of 40,000: fewer than 4
    classes[150, 100:104] = 2
    found = without_specks(classes, NAMES)
    assert (found[50] == classes[49]).all()
    assert (found[150] == classes[150]).all()
    assert (without_specks(np.full((2, 2), 255, np.uint8), NAMES) == 255).all()
