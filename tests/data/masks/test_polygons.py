import base64
import io
import json
import os
import pickle
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_tools

from rankmatch_keras.data.masks import coco as coco_module
from rankmatch_keras.data.masks.coco import CocoMask, read_coco
from rankmatch_keras.data.masks.labelme import LabelMeMask, labelme_classes
from rankmatch_keras.data.readers.sources import MaskSource
from rankmatch_keras.errors import UserError

pytestmark = pytest.mark.once

NAMES = ("background", "cell", "debris")
SQUARE = [[2, 1], [5, 1], [5, 3], [2, 3]]


def shape(label, points, kind="polygon"):
    return {"label": label, "points": points, "shape_type": kind}


def drawn(box, picture):
    file = io.BytesIO()
    if picture is not None:
        Image.fromarray(picture.astype(np.uint8)).save(file, "PNG")
    return shape("cell", box, "mask") | {"mask": base64.b64encode(file.getvalue()).decode()}


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


def test_labelme_masks(tmp_path):
    """A mask is a PNG file as base64, both corners of whose box belong to it."""
    picture = np.array([[0, 1, 0], [1, 1, 9]])
    path = labelme(tmp_path, shape("debris", [[2, 0], [3, 5]], "rectangle"), drawn([[1.0, 2.0], [3.0, 3.0]], picture))
    assert rows(LabelMeMask(path, NAMES).read()) == [
        "00220000",
        "00220000",
        "00120000",
        "01110000",
        "00220000",
        "00220000",
    ]
    assert labelme_classes([path]) == NAMES


def test_labelme_lines_and_points(tmp_path):
    """Lines are 10 pixels wide, points have a radius of 5, as LabelMe draws them."""
    size = {"imageHeight": 40, "imageWidth": 60}
    line = LabelMeMask(labelme(tmp_path, shape("cell", [[10, 20], [50, 20]], "line"), **size), NAMES).read()
    assert line[:, 30].sum() == 10 and line[16:25, 30].all() and not line[:, :9].any() and not line[:, 52:].any()
    bent = [[10, 10], [30, 10], [30, 30]]
    strip = LabelMeMask(labelme(tmp_path, shape("cell", bent, "linestrip"), **size), NAMES).read()
    assert strip[6:15, 20].all() and strip[25, 26:35].all() and not strip[20, 20] and not strip[35:].any()
    point = LabelMeMask(labelme(tmp_path, shape("cell", [[30, 20]], "point"), **size), NAMES).read()
    y, x = np.mgrid[:40, :60]
    distance = np.hypot(x - 30, y - 20)
    assert point[distance <= 5].all() and not point[distance > 5.9].any()


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
        (
            [shape("cell", [[1, 2], [3, float("nan")], [4, 5]])],
            {},
            r"nan, which should be a finite number, in .*points\[3\]'",
        ),
        ([shape("cell", [[1, 2], [3, float("inf")], [4, 5]])], {}, "inf, which should be a finite number"),
        ([shape("cell", [[1, 2], [3, 10**400], [4, 5]])], {}, "which should be a valid number"),
        ([shape("cell", [[1, 2], [3, True], [4, 5]])], {}, "True, which should be a valid number"),
        ([shape("cell", [[1, 2], [3, "4"], [4, 5]])], {}, "'4', which should be a valid number"),
        ([shape("cell", [[1, 2], [3], [4, 5]])], {}, "a list, which should be a valid number"),
        ([shape("cell", None)], {}, "None, which should be a valid array"),
        ([{"label": "cell"}], {}, "no 'points'"),
        ([{"points": SQUARE}], {}, "no 'label'"),
        ([{"label": 3, "points": SQUARE}], {}, "3, which should be a valid string"),
        (["cell"], {}, "'cell', which should be an object"),
        ([shape("cell", SQUARE, "cuboid")], {}, "'cuboid', which should be 'polygon', 'rectangle'"),
        ([shape("cell", [[1, 1]], "linestrip")], {}, "2 coordinates"),
        ([shape("cell", [[1, 1], [2, 2]], "mask")], {}, "a mask without picture"),
        ([drawn([[6, 1], [8, 2]], np.ones((2, 3)))], {}, "whose box does not lie in the image"),
        ([drawn([[1, 1], [2, 2]], np.ones((2, 3)))], {}, "a mask of 3 x 2 pixels in a box of 2 x 2"),
        ([drawn([[1, 1], [2, 2]], None) | {"mask": "====!"}], {}, "a text that is no base64"),
        ([drawn([[1, 1], [2, 2]], None) | {"mask": "R0lGODlh"}], {}, r"a mask as PNG; found '.*a\.json, shape 0'"),
        ([shape("cell", SQUARE, ["x"])], {}, "a list, which should be 'polygon'"),
        ([shape("cell", [[1, 1]], "circle")], {}, "2 coordinates"),
        ([], {"imageHeight": None}, "None, which should be a valid integer, in .*imageHeight"),
        ([], {"imageHeight": True}, "True, which should be a valid integer, in .*imageHeight"),
        ([], {"imageHeight": 0}, "0, which should be greater than or equal to 1, in .*imageHeight"),
        ([], {"imageHeight": 10**9}, "8 x 1000000000 pixels"),
        ([], {"imageWidth": 2.5}, "2.5, which should be a valid integer, in .*imageWidth"),
        ([], {"shapes": {}}, "a dict, which should be a valid array, in .*shapes"),
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
        annotation([[7, 0, 8, 0, 8, 5, 7, 5]]),
    )
    found = read_coco(path)
    assert found.class_names == ("background", "cell", "debris")
    masks = found.masks()
    assert list(masks) == ["a.jpg", "sub/b.png"]
    assert rows(masks["a.jpg"].read()) == [
        "00000001",
        "00111001",
        "00112201",
        "00002201",
        "00000001",
        "00000000",
    ]
    assert rows(masks["sub/b.png"].read()) == ["000", "000"]
    assert str(masks["a.jpg"]) == f"{path}, image 7"
    assert pickle.loads(pickle.dumps(masks["a.jpg"])) == CocoMask(path, 7)


def test_a_square_of_20_by_20_has_400_pixels(tmp_path):
    """As COCO's own tools count it: a pixel belongs to a polygon that holds its center."""
    images = [{"id": 1, "file_name": "x.png", "height": 48, "width": 64}]
    path = coco(tmp_path, annotation([[20, 10, 40, 10, 40, 30, 20, 30]], image=1), images=images)
    mask = CocoMask(path, 1).read()
    assert mask.sum() == 400 and mask[10:30, 20:40].all()


polygon = st.lists(st.floats(-20, 60, width=32), min_size=6, max_size=24).map(lambda p: p[: len(p) // 2 * 2])


@settings(max_examples=60, deadline=None)
@given(st.lists(polygon, min_size=1, max_size=3))
def test_polygons_cover_the_pixels_that_the_tools_of_coco_give_them(tmp_path_factory, polygons):
    images = [{"id": 1, "file_name": "x.png", "height": 40, "width": 50}]
    path = coco(tmp_path_factory.mktemp("polygons"), annotation(polygons, image=1), images=images)
    expected = coco_tools.decode(coco_tools.merge(coco_tools.frPyObjects(polygons, 40, 50)))
    np.testing.assert_array_equal(CocoMask(path, 1).read(), expected)


def test_crowds_are_regions_of_their_class_below_single_objects(tmp_path):
    """Brush tools mark all that they draw as `iscrowd`, other files groups that are not told apart."""
    square, wide = annotation([FLAT]), annotation([[0, 0, 8, 0, 8, 6, 0, 6]], 9, iscrowd=1)
    path = coco(tmp_path, square, wide, annotation([[0, 0, 1, 0, 1, 1, 0, 1]], image=3))
    first, second = CocoMask(path, 7), CocoMask(path, 3)
    assert rows(first.read()) == ["22222222", "22111222", "22111222", "22222222", "22222222", "22222222"]
    assert first.remarks() == [("mask-crowds", "1 regions with iscrowd read as their class")]
    assert second.remarks() == []
    coco(tmp_path, annotation([FLAT], iscrowd=1), annotation([[0, 0, 1, 0, 1, 1, 0, 1]], image=3, iscrowd=True))
    assert rows(first.read())[1] == "00111000" and first.remarks() == []


def test_objects_wholly_outside_the_image_are_said(tmp_path):
    outside, across = [[8, 0, 12, 0, 12, 4, 8, 4]], [[6, 0, 12, 0, 12, 4, 6, 4]]
    path = coco(tmp_path, annotation(outside), annotation(across), annotation([FLAT], image=3))
    assert rows(CocoMask(path, 7).read())[1] == "00000011"
    assert CocoMask(path, 7).remarks() == [("mask-outside", "1 objects outside its 8 x 6 pixels")]
    assert CocoMask(path, 3).remarks() == []


def test_categories_of_one_name_are_one_class_and_said(tmp_path):
    categories = [
        {"id": 4, "name": "cat"},
        {"id": 9, "name": "cat"},
        {"id": 9, "name": "cat"},
        {"id": 11, "name": "dog"},
    ]
    path = coco(tmp_path, annotation([FLAT], 4), annotation([[0, 0, 1, 0, 1, 1, 0, 1]], 9), categories=categories)
    assert read_coco(path).class_names == ("background", "cat", "dog")
    assert [row[:5] for row in rows(CocoMask(path, 7).read())[:2]] == ["10000", "00111"]
    assert CocoMask(path, 7).remarks() == [("mask-same-names", "several categories called cat")]


def test_objects_with_a_box_alone_are_left_out_and_the_image_is_kept(tmp_path):
    path = coco(tmp_path, annotation(None, bbox=[0, 0, 5, 5]), annotation([FLAT]), annotation([], 9))
    assert rows(CocoMask(path, 7).read())[1] == "00111000"
    assert CocoMask(path, 7).remarks() == [("mask-boxes", "2 objects without outline left out")]
    assert CocoMask(path, 3).remarks() == []


def categories(*rows):
    return {"categories": [{"id": n, "name": name, "supercategory": parent} for n, (name, parent) in enumerate(rows)]}


@pytest.mark.parametrize(
    "kinds, used, names",
    [
        ([("cell", "none"), ("cell", "cell"), ("debris", "cell")], 1, ("cell", "debris")),
        ([("things", "none"), ("cell", "things"), ("debris", "things")], 1, ("cell", "debris")),
        ([("things", "none"), ("cell", "things")], 0, ("things", "cell")),
        ([("person", "person"), ("rider", "person")], 1, ("person", "rider")),
        ([("a", None), ("b", ""), ("a", None)], 2, ("a", "b")),
    ],
)
def test_parents_without_objects_are_no_classes_and_names_may_repeat(tmp_path, kinds, used, names):
    path = coco(tmp_path, annotation([FLAT], used), **categories(*kinds))
    assert read_coco(path).class_names == ("background", *names)
    assert CocoMask(path, 7).read().max() == names.index(kinds[used][0]) + 1


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
    path = coco(tmp_path, annotation([FLAT], 1), annotation([[4, 1, 6, 1, 6, 4, 4, 4]], 0), categories=categories)
    assert read_coco(path).class_names == ("background", "cell")
    assert rows(CocoMask(path, 7).read())[:4] == ["00000000", "00110000", "00110000", "00000000"]


@pytest.mark.parametrize(
    "annotations, changes, message",
    [
        ([annotation([FLAT], 5)], {}, r"unknown category 5 in .*c\.json, annotations\[0\]"),
        ([annotation([FLAT], image=99)], {}, "unknown image 99"),
        ([annotation([FLAT], image=[7])], {}, "a list, which should be a valid integer, in .*image_id"),
        ([{"image_id": 7}], {}, "no 'category_id'"),
        (["x"], {}, "'x', which should be an object"),
        ([], {"images": None}, "None, which should be a valid array, in .*images"),
        ([], {"images": [{"id": 1}]}, r"no 'file_name' in .*images\[0\]"),
        (
            [],
            {"images": [{"id": 1, "file_name": "a.png", "height": -1, "width": 5}]},
            "-1, which should be greater",
        ),
        ([], {"images": [{"id": 1, "file_name": "a.png", "height": 20000, "width": 20000}]}, "20000 x 20000 pixels"),
        ([], {"images": [{"id": 1, "file_name": "../a.png", "height": 1, "width": 5}]}, "leads out of the folder"),
        ([], {"images": [{"id": 1, "file_name": "/a.png", "height": 1, "width": 5}]}, "leads out of the folder"),
        ([], {"images": [{"id": 1, "file_name": "a\n.png", "height": 1, "width": 5}]}, "leads out of the folder"),
        ([], {"images": [{"id": 1, "file_name": "a", "height": 1, "width": 5}] * 2}, "repeated.*images.1"),
        ([], {"categories": []}, "0 categories"),
        ([], {"categories": [{"id": n, "name": str(n)} for n in range(255)]}, "255 categories"),
        ([], {"images": [{"id": 1, "file_name": ".", "height": 1, "width": 5}]}, "names no file"),
        ([], {"images": [{"id": 1, "file_name": "", "height": 1, "width": 5}]}, "names no file"),
        ([annotation(None), annotation([])], {}, "boxes alone at all 2 annotations"),
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
        ("x", "'x', which should be a valid list"),
        ([[1, 2, 3, 4]], "4 coordinates"),
        ([[1, 2, 3, 4, 5, 6, 7]], "7 coordinates"),
        ([[1, 2, 3, 4, 5, float("nan")]], r"nan, which should be a finite number, in .*polygons\[0\]\[5\]"),
        ([7], "7, which should be a valid list"),
        (runs([48], (8, 6)), r"run lengths of size \[8, 6\] for \[6, 8\]"),
        (runs([40]), "run lengths of 40 pixels for 48"),
        (runs([-1, 49]), r"-1, which should be greater than or equal to 0, in .*counts\[0\]"),
        (runs([10**30]), f"run lengths of {10**30} pixels for 48"),
        (runs([24.0, 24]), "24.0, which should be a valid integer"),
        (runs(None), "None, which should be a valid list"),
        (runs("0 0"), "run lengths with ' '"),
        (runs("oooooooooooooooo"), "run lengths with 'o'"),
        (runs("o"), "cut off"),
        ({}, "no 'size'"),
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
    read = coco_module.read_record
    monkeypatch.setattr(coco_module, "read_record", lambda *given: parsed.append(1) or read(*given))
    start = threading.Barrier(8)
    with ThreadPoolExecutor(8) as executor:
        masks = list(executor.map(lambda _: start.wait() >= 0 and CocoMask(path, 7).read(), range(8)))
    assert len(parsed) == 1 and all((mask == masks[0]).all() for mask in masks)
    coco(tmp_path, annotation([FLAT]), annotation([FLAT], 9))
    assert CocoMask(path, 7).read().max() == 2 and len(parsed) == 2


def test_polygons_that_would_take_minutes_are_refused_at_once(tmp_path):
    points = np.random.default_rng(0).integers(0, 10_000, (50_000, 2)).tolist()
    images = [{"id": 1, "file_name": "x.png", "height": 10_000, "width": 10_000}]
    flat = [number for point in points for number in point]
    for mask in (
        LabelMeMask(labelme(tmp_path, shape("cell", points), imageHeight=10_000, imageWidth=10_000), NAMES),
        CocoMask(coco(tmp_path, annotation([flat], image=1), images=images), 1),
    ):
        start = time.process_time()
        with pytest.raises(UserError, match="outlines of .* pixels, more than shapes of a picture have"):
            mask.read()
        assert time.process_time() - start < 2


def test_an_outline_of_many_points_is_drawn(tmp_path):
    """As a tool traces it: many points, each beside the last."""
    angle = np.linspace(0, 2 * np.pi, 30_000)
    points = (1000 + 900 * np.stack([np.cos(angle), np.sin(angle)], 1)).tolist()
    images = [{"id": 1, "file_name": "x.png", "height": 2000, "width": 2000}]
    path = coco(tmp_path, annotation([[number for point in points for number in point]], image=1), images=images)
    drawn = labelme(tmp_path, shape("cell", points), imageHeight=2000, imageWidth=2000)
    for mask in (LabelMeMask(drawn, NAMES), CocoMask(path, 1)):
        assert abs(mask.read().sum() / (np.pi * 900**2) - 1) < 0.01


def test_run_lengths_that_fill_a_picture_again_and_again(tmp_path):
    images = [{"id": 1, "file_name": "x.png", "height": 10_000, "width": 10_000}]
    every = {"size": [10_000, 10_000], "counts": [0, 10**8]}
    path = coco(tmp_path, *[annotation(every, image=1)] * 60, images=images)
    with pytest.raises(UserError, match="pixels to fill"):
        CocoMask(path, 1).read()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_in_any_unicode(tmp_path, encoding):
    path = coco(tmp_path, annotation([FLAT]), categories=[{"id": 4, "name": "größe"}])
    path.write_text(path.read_text(), encoding)
    assert read_coco(path).class_names == ("background", "größe")


def test_a_file_of_zero_bytes_ends_at_its_first_part(tmp_path):
    path = tmp_path / "a.json"
    with open(path, "wb") as file:
        file.truncate(2**30)
    tracemalloc.start()
    for read in (LabelMeMask(path, NAMES).read, lambda: read_coco(path)):
        with pytest.raises(UserError, match="zero bytes in place of text|more than 512 MiB"):
            read()
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_many_wrong_items_take_no_memory(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"imageHeight": 5, "imageWidth": 5, "shapes": [' + "{}," * 1_000_000 + "{}]}")
    with pytest.raises(UserError, match=r"no 'label' in '.*shapes\[0\]'"):
        LabelMeMask(path, NAMES).read()


def test_many_points_take_no_time(tmp_path):
    points = np.random.default_rng(0).integers(0, 3000, (2000, 2)).tolist()
    path = labelme(tmp_path, shape("cell", points), imageHeight=3000, imageWidth=3000)
    assert LabelMeMask(path, NAMES).read().any()
    with pytest.raises(UserError, match="points"):
        LabelMeMask(labelme(tmp_path, shape("cell", [0] * 200_002)), NAMES).read()
