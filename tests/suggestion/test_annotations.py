"""CVAT's masks: what the archive holds, and that its own readers' demands are met."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.data.sets.street_scenes import CAMVID_CLASSES, CAMVID_PALETTE
from rankmatch_keras.suggestion.annotations import Annotated, cvat_colors, cvat_label, write_annotations

pytestmark = pytest.mark.once

CLASSES = np.random.default_rng(0).integers(0, 3, (5, 6)).astype(np.uint8)


def pixels(archive, name):
    return np.asarray(Image.open(io.BytesIO(archive.read(name))))


def written(out, names, classes=CLASSES, palette=None):
    write_annotations(out, [Annotated("sub/a.jpg", classes)], names, palette)
    return zipfile.ZipFile(out / "cvat.zip")


def test_cvat_finds_classes_by_color_and_objects_by_number(tmp_path):
    classes = CLASSES.copy()
    classes[0, 0] = 255
    archive = written(tmp_path, ("background", "cell", "#ff0000: dust"), classes)
    comment, *lines = archive.read("labelmap.txt").decode().splitlines()
    assert comment.startswith("#") and lines[0] == "background:0,0,0::"
    entries = [line.split(":") for line in lines]
    assert [entry[0] for entry in entries] == ["background", "cell", "ff0000  dust"]
    assert all(entry[2:] == ["", ""] for entry in entries)
    colors = np.array([[int(part) for part in entry[1].split(",")] for entry in entries])
    known = np.where(classes == 255, 0, classes)
    np.testing.assert_array_equal(pixels(archive, "SegmentationClass/sub/a.png"), colors[known])
    np.testing.assert_array_equal(pixels(archive, "SegmentationObject/sub/a.png"), known)
    assert archive.read("ImageSets/Segmentation/default.txt") == b"sub/a\n"
    labels = json.loads((tmp_path / "cvat_labels.json").read_text())
    assert [label["name"] for label in labels] == ["cell", "ff0000  dust"]
    assert labels[0]["color"] == "#{:02x}{:02x}{:02x}".format(*colors[1])


def test_without_a_background_every_class_is_an_object_and_none_is_black(tmp_path):
    archive = written(tmp_path, ("sky", "road", "car"))
    lines = archive.read("labelmap.txt").decode().splitlines()[1:]
    assert [line.split(":")[0] for line in lines] == ["background", "sky", "road", "car"]
    assert pixels(archive, "SegmentationClass/sub/a.png").any(-1).all()
    np.testing.assert_array_equal(pixels(archive, "SegmentationObject/sub/a.png"), CLASSES + 1)
    assert len(json.loads((tmp_path / "cvat_labels.json").read_text())) == 3


def test_colors_are_those_of_the_data_unless_two_classes_share_one():
    np.testing.assert_array_equal(cvat_colors(CAMVID_CLASSES, CAMVID_PALETTE), CAMVID_PALETTE)
    assert cvat_colors(("background", "a"), [(255, 255, 255), (9, 9, 9)]).tolist() == [[0, 0, 0], [9, 9, 9]]
    for palette in ([(1, 1, 1), (1, 1, 1)], [(0, 0, 0), (1, 1, 1)]):
        found = cvat_colors(("sky", "road"), palette)
        assert len(np.unique(found, axis=0)) == 2 and found.any(-1).all()


def test_labels_are_names_that_a_label_map_can_hold():
    assert [cvat_label(name) for name in ("#804080", "a:b", "a\nb", "#")] == ["804080", "a b", "a\\nb", "class"]
