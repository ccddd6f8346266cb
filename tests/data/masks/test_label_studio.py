import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import data
from rankmatch_keras.data.masks import label_studio_brush
from rankmatch_keras.data.masks.label_studio import LabelStudioMask, read_label_studio
from rankmatch_keras.data.masks.label_studio_brush import brushed
from rankmatch_keras.data.masks.mask_sets import kind_of_masks, place_of_masks
from rankmatch_keras.errors import UserError

pytestmark = pytest.mark.once

SIZE = (6, 8)  # so that a pixel is 12.5 % wide and 16.67 % high
SQUARE = [[25, 100 / 6], [75, 100 / 6], [75, 400 / 6], [25, 400 / 6]]


def encoded(values, sizes=(3, 4, 8, 16), longest=9):
    """Encode uint8 values as Label Studio does, slowly: bits as text, runs of equal values, others as they are."""
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    at = 0
    while at < len(values):
        end = at + 1
        while end < len(values) and values[end] == values[at] and end - at < longest:
            end += 1
        repeats = end - at > 1
        if not repeats:
            while end < len(values) and values[end] != values[end - 1] and end - at < longest:
                end += 1
        which = next(n for n, size in enumerate(sizes) if end - at - 1 < 2**size)
        bits += f"{int(repeats)}{which:02b}{end - at - 1:0{sizes[which]}b}"
        bits += f"{values[at]:08b}" if repeats else "".join(f"{value:08b}" for value in values[at:end])
        at = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[n : n + 8], 2) for n in range(0, len(bits), 8)]


def decoded_slowly(rle):
    """Decode bit by bit, as Label Studio's converter does."""
    bits = iter("".join(f"{byte:08b}" for byte in rle))

    def read(size):
        return int("".join(next(bits) for _ in range(size)), 2)

    number, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    out = []
    while len(out) < number:
        repeats = read(1)
        count = 1 + read(sizes[read(2)])
        out += [read(word)] * count if repeats else [read(word) for _ in range(count)]
    return out


@pytest.mark.parametrize("longest", [1, 5, 300])
def test_brush_strokes_against_the_slow_decoder(longest):
    rng = np.random.default_rng(longest)
    channels = np.repeat(rng.integers(0, 3, (6, 5, 4)), 4, axis=1).astype(np.uint8)  # runs and single values
    rle = encoded(channels.ravel().tolist(), longest=longest)
    assert decoded_slowly(rle) == channels.ravel().tolist()
    np.testing.assert_array_equal(brushed(bytes(rle), 6, 20)[0], channels[..., 3] > 0)


def test_hostile_run_lengths(monkeypatch):
    rle = bytes(encoded([1] * 4 * 6 * 8))
    for content, message in (
        (rle[:9], "cut off"),
        (rle[:5], "cut off"),
        (b"", "cut off"),
        (b"\xff" * 40, "run lengths of 4294967295 values"),
        (bytes(encoded([1] * 4 * 6 * 7)), "run lengths of 168 values of 8 bits for 8 x 6 pixels"),
    ):
        with pytest.raises(ValueError, match=message):
            brushed(content, *SIZE)
    monkeypatch.setattr(label_studio_brush, "MAX_RUNS", 10)
    with pytest.raises(ValueError, match="more than 10 runs"):
        brushed(rle, *SIZE)


def result(kind, label, **value):
    return {
        "id": "x1",
        "type": kind,
        "from_name": "tag",
        "to_name": "img",
        "original_width": 8,
        "original_height": 6,
        "image_rotation": 0,
        "value": value | {kind: [label]},
    }


def task(number, image, *results, **changes):
    annotation = {"id": 10 * number, "completed_by": 1, "was_cancelled": False, "result": list(results)} | changes
    return {"id": number, "data": {"image": image, "sensor": "B"}, "annotations": [annotation], "predictions": []}


def export(tmp_path, *tasks):
    (tmp_path / "project.json").write_text(json.dumps(list(tasks)))
    return tmp_path / "project.json"


def rows(mask):
    return ["".join(map(str, row)) for row in mask.tolist()]


def drawn(tmp_path, *results):
    project = read_label_studio(export(tmp_path, task(1, "a.jpg", *results)))
    return rows(LabelStudioMask(project.path, 1, SIZE).read())


def test_polygons_rectangles_and_brushes(tmp_path):
    strokes = np.zeros((*SIZE, 4), np.uint8)
    strokes[0, 0] = strokes[5, 6:] = (255, 0, 128, 9)
    strokes[2, 2] = (255, 0, 128, 0)  # a color without opacity was erased
    found = drawn(
        tmp_path,
        result("polygonlabels", "road", points=SQUARE),
        result("rectanglelabels", "car", x=50, y=50, width=25, height=50, rotation=0),
        result("brushlabels", "tree", format="rle", rle=encoded(strokes.ravel().tolist())),
        {"id": "c", "type": "choices", "value": {"choices": ["day"]}, "from_name": "time", "to_name": "img"},
    )
    # In alphabetical order: car 1, road 2, tree 3; later ones above.
    assert found == ["30000000", "00222200", "00222200", "00221100", "00001100", "00001133"]


def test_turned_rectangles_and_ellipses(tmp_path):
    # Around its corner (4, 1), clockwise: 4 pixels to the right become 4 down, 2 down become 2 to the left.
    turned = drawn(tmp_path, result("rectanglelabels", "car", x=50, y=100 / 6, width=50, height=200 / 6, rotation=90))
    assert turned == ["00000000", *["00110000"] * 4, "00000000"]
    ellipse = result("ellipselabels", "car", x=50, y=50, radiusX=25, radiusY=100 / 3, rotation=0)
    mask = np.array([list(map(int, row)) for row in drawn(tmp_path, ellipse)])
    y, x = np.mgrid[:6, :8] + 0.5
    inside = ((x - 4) / 2) ** 2 + ((y - 3) / 2) ** 2
    assert mask[inside < 0.9].all() and not mask[inside > 1.1].any()


@pytest.fixture
def images(tmp_path):
    for name in ("a", "sub/b", "c"):
        (tmp_path / f"images/{name}.jpg").parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / f"images/{name}.jpg")
    return tmp_path / "images"


def test_a_project(images, tmp_path):
    box = {"x": 0, "y": 0, "width": 100, "height": 50}
    several = task(3, "s3://bucket/x/c.jpg?key=1", result("rectanglelabels", "car", **box))
    truth = several["annotations"][0] | {"ground_truth": True, "result": [result("rectanglelabels", "road", **box)]}
    skipped = several["annotations"][0] | {"was_cancelled": True}
    several["annotations"] = [skipped, several["annotations"][0], truth]
    path = export(
        tmp_path,
        task(1, "/data/upload/7/1a2b3c4d-a.jpg", result("polygonlabels", "Background", points=SQUARE)),
        task(2, "/data/local-files/?d=pictures%2Fsub/b.jpg"),  # nothing drawn: all background
        several,
        {"id": 4, "data": {"image": "a.jpg"}, "annotations": []},
    )
    found = data.ImageFolder(images, path)
    assert kind_of_masks(path, images).kind == "a file of Label Studio"
    assert found.class_names == ("background", "road")
    assert found.notes == (f"Masks are drawn from Label Studio's annotations in {path}.",)
    masks = {sample.name: sample.read_mask() for sample in found.train}
    assert not masks["a"].any() and not masks["sub/b"].any() and masks["sub/b"].shape == SIZE
    assert rows(masks["c"]) == ["11111111"] * 3 + ["00000000"] * 3
    remarks = {sample.name: sample.mask.remarks() for sample in found.train}
    assert [remark.text for remark in remarks["c"]] == ["one of 2 annotations is read"] and not remarks["a"]
    named = data.ImageFolder(images, path, classes=["other", "car", "road"])
    assert named.train[1].read_mask().max() == 2
    with pytest.raises(UserError, match="without a place for the label 'road'"):
        data.ImageFolder(images, path, classes=["other", "car"])


ROAD = result("polygonlabels", "road", points=SQUARE)
BAD = {
    "JSON-MIN": ([{"id": 1, "image": "a.jpg", "label": []}], r"no 'data' in '.*project\.json, \[0\]'"),
    "no list": ([7], r"7, which should be an object, in '.*project\.json, \[0\]'"),
    "twice": ([task(1, "a.jpg", ROAD), task(1, "c.jpg", ROAD)], "the id 1 twice"),
    "nothing": ([task(1, "a.jpg")], "0 labels of regions"),
    "two images": (
        [task(1, "a.jpg", ROAD), task(2, "x/a.jpg", ROAD)],
        "one task for the image 'a'; found tasks 1 and 2",
    ),
    "no image": ([task(1, "a.txt", ROAD)], r"0 images in place of one in '.*\[0\].data'"),
    "no size": ([task(1, "a.jpg", ROAD | {"original_width": None})], "no original_height and original_width"),
    "turned": ([task(1, "a.jpg", ROAD | {"image_rotation": 90})], "an image that was turned in Label Studio"),
    "huge": ([task(1, "a.jpg", ROAD | {"original_width": 10**9})], "1000000000 x 6 pixels"),
    "nan": ([task(1, "a.jpg", result("polygonlabels", "road", points=[[1, 2], [3, float("nan")]]))], "finite number"),
    "line": ([task(1, "a.jpg", result("polygonlabels", "road", points=SQUARE[:2]))], "4 coordinates"),
    "no place": ([task(1, "a.jpg", result("rectanglelabels", "road", height=5.0))], "a place or side that is missing"),
    "no bytes": ([task(1, "a.jpg", result("brushlabels", "road", rle=[1, 999]))], "run lengths that are no bytes"),
    "cut off": ([task(1, "a.jpg", result("brushlabels", "road", rle=[0] * 7))], "run lengths of 0 values"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files(kind, images, tmp_path):
    tasks, message = BAD[kind]
    (images / "sub/b.jpg").unlink()
    (images / "c.jpg").unlink()
    with pytest.raises(UserError, match=message) as error:
        data.ImageFolder(images, export(tmp_path, *tasks)).train[0].read_mask()
    assert "project.json" in str(error.value) and "\n" not in str(error.value)


def test_what_cannot_be_drawn_is_counted(images, tmp_path):
    point = result("keypointlabels", "eye", x=3, y=4, width=1)
    path = export(tmp_path, task(1, "a.jpg", ROAD, point))
    (remark,) = LabelStudioMask(path, 1, SIZE).remarks()
    assert (remark.kind, remark.text) == ("mask-boxes", "1 result without outline left out")


@pytest.fixture
def strokes(tmp_path):
    """A folder with brush strokes of tasks 1 and 3 as Label Studio exports them as PNG."""
    folder = tmp_path / "strokes"
    folder.mkdir()
    for name in ("task-1-annotation-7-by-1-tag-road-0", "task-3-annotation-8-by-2-tag-traffic light-1"):
        Image.fromarray(np.full(SIZE, 255, np.uint8)).save(folder / f"{name}.png")
    return folder


def test_strokes_as_png_are_read_from_the_json_in_their_folder(images, strokes):
    tasks = [task(1, "a.jpg", ROAD), task(2, "sub/b.jpg"), task(3, "c.jpg", ROAD)]
    path = export(strokes, *tasks)
    found = data.ImageFolder(images, strokes)
    assert {sample.name: sample.mask.task for sample in found.train} == {"a": 1, "sub/b": 2, "c": 3}
    assert found.train[0].mask.path == path and found.class_names == ("background", "road")
    export(strokes, *tasks[:2])
    with pytest.raises(UserError, match="no annotated task 3. Export the project as JSON again"):
        data.ImageFolder(images, strokes)


@pytest.mark.parametrize("zipped", [False, True])
def test_strokes_as_png_alone_are_refused(images, strokes, zipped):
    place = Path(shutil.make_archive(strokes, "zip", strokes)) if zipped else strokes
    with pytest.raises(UserError, match="no JSON export beside them. Export the project as JSON, too") as error:
        data.ImageFolder(images, place)
    assert "task-1-annotation-7-by-1-tag-road-0.png" in str(error.value)


def test_other_masks_beside_strokes_are_left_to_their_names(images, strokes):
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(strokes / "a.png")
    assert place_of_masks(strokes) == strokes
