import json
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rankmatch_keras.data.masks import polygons
from rankmatch_keras.data.masks.polygons import CocoMask, LabelMeMask, labelme_classes, read_coco
from rankmatch_keras.data.readers.sources import MaskSource
from rankmatch_keras.errors import UserError

NAMES = ("background", "cell", "debris")
SQUARE = [[2, 1], [5, 1], [5, 3], [2, 3]]


def shape(label, points, kind="polygon"):
    return {"label": label, "points": points, "shape_type": kind}


def labelme(tmp_path, *shapes, name="a.json", **changes):
    record = {"version": "5.0", "shapes": list(shapes), "imageHeight": 6, "imageWidth": 8, "imageData": None} | changes
    (tmp_path / name).write_text(json.dumps(record))
    return tmp_path / name


def rows(mask):
    assert mask.dtype == np.int32
    return ["".join("?" if value == 255 else str(value) for value in row) for row in mask]


def test_labelme_polygon(tmp_path):
    mask = LabelMeMask(labelme(tmp_path, shape("debris", SQUARE)), NAMES)
    assert isinstance(mask, MaskSource) and str(mask) == str(tmp_path / "a.json")
    assert rows(mask.read()) == [
        "00000000",
        "00222200",
        "00222200",
        "00222200",
        "00000000",
        "00000000",
    ]


def test_later_shapes_paint_over_and_labels_of_labelme_have_their_meaning(tmp_path):
    path = labelme(
        tmp_path,
        shape("cell", [[6, 5], [1, 0]], "rectangle"),
        shape("__ignore__", [[7, 0], [7, 5], [6, 5], [6, 0]]),
        shape("_background_", [[2, 2], [3, 2], [3, 3], [2, 3]]),
        {"label": "debris", "points": [[4, 4], [5, 4], [5, 5]]},  # old files have no shape_type
    )
    assert rows(LabelMeMask(path, NAMES).read()) == [
        "011111??",
        "011111??",
        "010011??",
        "010011??",
        "011122??",
        "011112??",
    ]


def test_labelme_circle(tmp_path):
    mask = LabelMeMask(labelme(tmp_path, shape("cell", [[3, 3], [5, 3]], "circle")), NAMES).read()
    # Center (3, 3), radius 2.
    y, x = np.mgrid[:6, :8]
    distance = np.hypot(x - 3, y - 3)
    assert mask[distance <= 2].all() and not mask[distance > 2.9].any()


def test_shapes_may_leave_the_picture(tmp_path):
    far = [[-5, -5], [50, -5], [50, 50], [-5, 50]]
    assert (LabelMeMask(labelme(tmp_path, shape("cell", far)), NAMES).read() == 1).all()
    assert not LabelMeMask(labelme(tmp_path), NAMES).read().any()


def test_labelme_classes(tmp_path):
    paths = [
        labelme(tmp_path, shape("debris", SQUARE), shape("__ignore__", SQUARE), name="a.json"),
        labelme(tmp_path, name="b.json"),
        labelme(tmp_path, shape("cell", SQUARE), shape("background", SQUARE), name="c.json"),
    ]
    assert labelme_classes(paths) == NAMES
    with pytest.raises(UserError, match="0 in 1 LabelMe files"):
        labelme_classes(paths[1:2])
    many = labelme(tmp_path, *(shape(str(n), SQUARE) for n in range(255)), name="d.json")
    with pytest.raises(UserError, match="255 in 1 LabelMe files"):
        labelme_classes([many])
    with pytest.raises(UserError, match="no LabelMe files"):
        labelme_classes([])


@pytest.mark.parametrize(
    "shapes, changes, message",
    [
        ([shape("nucleus", SQUARE)], {}, r"label of background, cell, debris; found 'nucleus' in .*a\.json', shape 0"),
        ([shape("cell", SQUARE), shape("cell", SQUARE[:2])], {}, r"4 coordinates.*3 points.*a\.json, shape 1"),
        ([shape("cell", [[1, 2], [3, float("nan")], [4, 5]])], {}, "no finite numbers.*shape 0"),
        ([shape("cell", [[1, 2], [3, float("inf")], [4, 5]])], {}, "no finite numbers"),
        ([shape("cell", [[1, 2], [3, 10**400], [4, 5]])], {}, "no finite numbers"),
        ([shape("cell", [[1, 2], [3, True], [4, 5]])], {}, "no finite numbers"),
        ([shape("cell", [[1, 2], [3, "4"], [4, 5]])], {}, "no finite numbers"),
        ([shape("cell", [[1, 2], [3], [4, 5]])], {}, "no finite numbers"),
        ([shape("cell", None)], {}, "points that are no list"),
        ([{"label": "cell"}], {}, "points that are no list"),
        ([{"points": SQUARE}], {}, "no 'label'"),
        ([{"label": 3, "points": SQUARE}], {}, "'label' of type int"),
        (["cell"], {}, "no 'label'"),
        ([shape("cell", SQUARE, "linestrip")], {}, "'linestrip'.*polygon, rectangle and circle"),
        ([shape("cell", SQUARE, ["x"])], {}, "shape of type"),
        ([shape("cell", [[1, 1]], "circle")], {}, "2 coordinates"),
        ([], {"imageHeight": None}, "'imageHeight' of type NoneType"),
        ([], {"imageHeight": True}, "'imageHeight' of type bool"),
        ([], {"imageHeight": 0}, "8 x 0 pixels"),
        ([], {"imageHeight": 10**9}, "8 x 1000000000 pixels"),
        ([], {"imageWidth": 2.5}, "'imageWidth' of type float"),
        ([], {"shapes": {}}, "'shapes' of type dict"),
    ],
)
def test_bad_labelme_files(tmp_path, shapes, changes, message):
    path = labelme(tmp_path, *shapes, **changes)
    with pytest.raises(UserError, match=message) as error:
        LabelMeMask(path, NAMES).read()
    assert "a.json" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '{"a": 1}', "[" * 100_000, '{"a":' * 100_000, "\xff", '{"shapes": ' + "9" * 5000 + "}"],
    ids=lambda text: text[:8],
)
def test_files_without_annotations(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="latin-1")
    for read in (LabelMeMask(path, NAMES).read, lambda: labelme_classes([path]), lambda: read_coco(path)):
        with pytest.raises(UserError, match="a.json"):
            read()


def test_deep_nesting_is_explained(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"nested too deeply in '.*a\.json'"):
        read_coco(tmp_path / "a.json")


def test_missing_files(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        for read in (LabelMeMask(path, NAMES).read, CocoMask(path, 1).read, lambda: labelme_classes([path])):  # noqa: B023
            with pytest.raises(UserError, match=path.name):
                read()


def coco_record(*annotations, **changes):
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "height": 6, "width": 8},
            {"id": 3, "file_name": "sub/b.png", "height": 2, "width": 3},
        ],
        "categories": [{"id": 9, "name": "debris"}, {"id": 4, "name": "cell"}],
        "annotations": list(annotations),
    } | changes


def coco(tmp_path, *annotations, **changes):
    (tmp_path / "c.json").write_text(json.dumps(coco_record(*annotations, **changes)))
    return tmp_path / "c.json"


def annotation(segmentation, category=4, image=7, **more):
    return {"id": 1, "image_id": image, "category_id": category, "segmentation": segmentation, **more}


FLAT = [number for point in SQUARE for number in point]


def test_coco_polygons(tmp_path):
    path = coco(
        tmp_path,
        annotation([FLAT]),
        annotation([[4, 2, 6, 2, 6, 4, 4, 4], [0, 5, 1, 5, 1, 5]], 9),
        annotation([[7, 0, 7, 5, 7, 5]], iscrowd=1),
    )
    found = read_coco(path)
    assert found.class_names == ("background", "cell", "debris")
    masks = found.masks()
    assert list(masks) == ["a.jpg", "sub/b.png"]
    assert rows(masks["a.jpg"].read()) == [
        "0000000?",
        "0011110?",
        "0011222?",
        "0011222?",
        "0000222?",
        "2200000?",
    ]
    assert rows(masks["sub/b.png"].read()) == ["000", "000"]
    assert str(masks["a.jpg"]) == f"{path}, image 7"
    assert pickle.loads(pickle.dumps(masks["a.jpg"])) == CocoMask(path, 7)


def packed(counts):
    """Pack run lengths into COCO's text as its definition reads: 5 bits at a time, bit 6 tells that more follow."""
    text = ""
    for n, count in enumerate(counts):
        number = count - counts[n - 2] if n > 2 else count
        while True:
            bits, number = number & 31, number >> 5
            done = number == (-1 if bits & 16 else 0)
            text += chr(48 + (bits if done else bits | 32))
            if done:
                break
    return text


def test_coco_run_lengths(tmp_path):
    # Down the columns of 2 x 3: one outside, three inside, two outside.
    for counts in ([1, 3, 2], packed([1, 3, 2]), "132"):
        path = coco(tmp_path, annotation({"size": [2, 3], "counts": counts}, 9, 3))
        assert rows(CocoMask(path, 3).read()) == ["020", "220"]
        os.utime(path, ns=(len(counts), len(str(counts)) * 10**9))


def test_packed_run_lengths_twin(tmp_path):
    rng = np.random.default_rng(0)
    inside = rng.random((40, 50)) < 0.02
    inside = np.maximum.accumulate(inside, axis=0) & (rng.random((40, 50)) < 0.98)
    flat = inside.T.ravel().astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    assert sum(counts) == 2000 and max(counts) > 40
    for form in (counts, packed(counts)):
        images = [{"id": 1, "file_name": "x.png", "height": 40, "width": 50}]
        path = coco(tmp_path, annotation({"size": [40, 50], "counts": form}, 4, 1), images=images)
        np.testing.assert_array_equal(CocoMask(path, 1).read(), inside)


def test_a_category_called_background_is_class_0(tmp_path):
    categories = [{"id": 0, "name": "Background"}, {"id": 1, "name": "cell"}]
    path = coco(tmp_path, annotation([FLAT], 1), annotation([[4, 1, 5, 1, 5, 3, 4, 3]], 0), categories=categories)
    assert read_coco(path).class_names == ("background", "cell")
    assert rows(CocoMask(path, 7).read())[1:4] == ["00110000"] * 3


@pytest.mark.parametrize(
    "annotations, changes, message",
    [
        ([annotation([FLAT], 5)], {}, r"unknown category 5 in .*c\.json, annotations\[0\]"),
        ([annotation([FLAT], image=99)], {}, "unknown image 99"),
        ([annotation([FLAT], image=[7])], {}, "'image_id' of type list"),
        ([{"image_id": 7}], {}, "no 'category_id'"),
        (["x"], {}, "no 'image_id'"),
        ([], {"images": None}, "'images' of type NoneType"),
        ([], {"images": [{"id": 1}]}, r"no 'file_name' in .*images\[0\]"),
        ([], {"images": [{"id": 1, "file_name": "a.png", "height": -1, "width": 5}]}, "5 x -1 pixels"),
        ([], {"images": [{"id": 1, "file_name": "a.png", "height": 20000, "width": 20000}]}, "20000 x 20000 pixels"),
        ([], {"images": [{"id": 1, "file_name": "../a.png", "height": 1, "width": 5}]}, "leads out of the folder"),
        ([], {"images": [{"id": 1, "file_name": "/a.png", "height": 1, "width": 5}]}, "leads out of the folder"),
        ([], {"images": [{"id": 1, "file_name": "a\n.png", "height": 1, "width": 5}]}, "leads out of the folder"),
        ([], {"images": [{"id": 1, "file_name": "a", "height": 1, "width": 5}] * 2}, "repeated.*images.1"),
        ([], {"categories": []}, "0 categories"),
        ([], {"categories": [{"id": n, "name": str(n)} for n in range(255)]}, "255 categories"),
        ([], {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "repeated.*categories.1"),
        ([], {"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "repeated.*categories.1"),
    ],
)
def test_bad_coco_files(tmp_path, annotations, changes, message):
    path = coco(tmp_path, *annotations, **changes)
    with pytest.raises(UserError, match=message) as error:
        read_coco(path)
    assert "c.json" in str(error.value) and "\n" not in str(error.value)


def runs(counts, size=(6, 8)):
    return {"size": list(size), "counts": counts}


@pytest.mark.parametrize(
    "segmentation, message",
    [
        (None, "no segmentation"),
        ([], "no segmentation"),
        ("x", "no segmentation"),
        ([[1, 2, 3, 4]], "4 coordinates"),
        ([[1, 2, 3, 4, 5, 6, 7]], "7 coordinates"),
        ([[1, 2, 3, 4, 5, float("nan")]], "no finite numbers"),
        ([7], "points that are no list"),
        (runs([48], (8, 6)), r"run lengths of size \[8, 6\] for \[6, 8\]"),
        (runs([40]), "run lengths of 40 pixels for 48"),
        (runs([-1, 49]), "no list of counts"),
        (runs([10**30]), "no list of counts"),
        (runs([24.0, 24]), "no list of counts"),
        (runs(None), "no list of counts"),
        (runs("0 0"), "run lengths with ' '"),
        (runs("oooooooooooooooo"), "run lengths with 'o'"),
        (runs("o"), "cut off"),
        ({}, "run lengths of size None"),
    ],
)
def test_bad_segmentations(tmp_path, segmentation, message):
    path = coco(tmp_path, annotation([FLAT]), annotation(segmentation))
    with pytest.raises(UserError, match=message) as error:
        CocoMask(path, 7).read()
    assert "c.json, image 7, annotation 1" in str(error.value)
    assert not CocoMask(path, 3).read().any()


def test_unknown_image(tmp_path):
    with pytest.raises(UserError, match=r"no image 8 in .*c\.json"):
        CocoMask(coco(tmp_path), 8).read()


def test_the_file_is_parsed_once_until_it_changes(tmp_path, monkeypatch):
    path = coco(tmp_path, annotation([FLAT]))
    parsed = []
    monkeypatch.setattr(polygons, "read_json", lambda path, read=polygons.read_json: parsed.append(1) or read(path))
    start = threading.Barrier(8)
    with ThreadPoolExecutor(8) as executor:
        masks = list(executor.map(lambda _: start.wait() >= 0 and CocoMask(path, 7).read(), range(8)))
    assert len(parsed) == 1 and all((mask == masks[0]).all() for mask in masks)
    coco(tmp_path, annotation([FLAT]), annotation([FLAT], 9))
    assert CocoMask(path, 7).read().max() == 2 and len(parsed) == 2


def test_many_points_take_no_time(tmp_path):
    points = np.random.default_rng(0).integers(0, 3000, (2000, 2)).tolist()
    path = labelme(tmp_path, shape("cell", points), imageHeight=3000, imageWidth=3000)
    assert LabelMeMask(path, NAMES).read().any()
    with pytest.raises(UserError, match="points"):
        LabelMeMask(labelme(tmp_path, shape("cell", [0] * 100_002)), NAMES).read()
