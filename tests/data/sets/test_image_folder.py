import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from rankmatch_keras import data
from rankmatch_keras.check.inspection import inspect
from rankmatch_keras.data.sets.samples import seeded_order
from rankmatch_keras.errors import UserError
from rankmatch_keras.training.dataset import read_classes

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not on this machine")

IDS = np.array([[0, 1, 2, 255], [2, 2, 1, 0], [0, 0, 0, 1]], np.int32)
COLORS = np.array([[0, 0, 0], [0, 128, 0], [200, 0, 0]], np.uint8)


def save(path, values=None, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((3, 4), np.uint8) if values is None else values
    if path.suffix == ".tif" and values.ndim == 3:
        tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
    elif path.suffix == ".tif":
        tifffile.imwrite(path, values)
    else:
        Image.fromarray(values).save(path)


@pytest.fixture
def folders(tmp_path):
    """Make two images and a folder for their masks."""
    for name in "ab":
        save(tmp_path / f"images/{name}.png")
    return tmp_path


def masks_of(folder, a, b):
    save(folder / "masks/a.png", np.asarray(a, np.uint8))
    save(folder / "masks/b.png", np.asarray(b, np.uint8))


def opened(folder, **arguments):
    return data.ImageFolder(folder / "images", folder / "masks", **arguments)


@pytest.mark.parametrize(("name", "suffix"), [("{}_mask", None), ("mask_{}", None), ("{}-roads", "-roads")])
def test_masks_of_other_names(folders, name, suffix):
    for image, mask in (("a", IDS), ("b", IDS * 0)):
        save(folders / f"masks/{name.format(image)}.png", np.asarray(mask, np.uint8))
        save(folders / f"val/images/{image}.png")
        save(folders / f"val/masks/{name.format(image)}.png", np.asarray(mask, np.uint8))
    val = {"val_images": folders / "val/images", "val_masks": folders / "val/masks"}
    found = opened(folders, mask_suffix=suffix, **val)
    for part in (found.train, found.val):
        assert [s.name for s in part] == ["a", "b"]
        np.testing.assert_array_equal(part[0].read_mask(), IDS)
    if suffix:
        with pytest.raises(UserError, match=r"no mask 'a\.\*'.*--mask-suffix _mask"):
            opened(folders)


def test_one_folder_may_hold_images_and_masks(tmp_path):
    for name in "ab":
        save(tmp_path / f"{name}.png")
        save(tmp_path / f"{name}_mask.png", np.asarray(IDS, np.uint8))
    found = data.ImageFolder(tmp_path, tmp_path)
    assert [(s.name, s.image.path.name, s.mask.path.name) for s in found.train] == [
        ("a", "a.png", "a_mask.png"),
        ("b", "b.png", "b_mask.png"),
    ]
    np.testing.assert_array_equal(found.train[1].read_mask(), IDS)


def test_classes_named_by_a_file_of_roboflow(tmp_path):
    """Its export for semantic segmentation: image, mask and `_classes.csv` in one folder."""
    for name in ("a_jpg.rf.1f", "b_jpg.rf.2c"):
        save(tmp_path / f"train/{name}.jpg", np.zeros((3, 4, 3), np.uint8))
        save(tmp_path / f"train/{name}_mask.png", np.asarray(IDS, np.uint8))
    table = tmp_path / "train/_classes.csv"
    table.write_text("Pixel Value, Class\n0, ground\n2, wide, road\n1, car\n3, never drawn\n")
    found = data.ImageFolder(tmp_path / "train", tmp_path / "train")
    assert found.class_names == ("ground", "car", "wide, road", "never drawn")
    assert found.notes == (f"The classes are named by {table}.",)
    np.testing.assert_array_equal(found.train[0].read_mask(), IDS)
    assert data.ImageFolder(tmp_path / "train", tmp_path / "train", classes=3).class_names[1] == "class 1"
    table.write_text("Pixel Value, Class\n0, ground\n2, road\n")
    with pytest.raises(UserError, match=r"ids 0, 1, 2, ... each once; found 0, 2 in '.*_classes\.csv'"):
        data.ImageFolder(tmp_path / "train", tmp_path / "train")
    table.write_text("filename, ground, road\na.jpg, 0, 1\n")  # another export: labels of whole images
    assert data.ImageFolder(tmp_path / "train", tmp_path / "train").class_names[1] == "class 1"


def test_names_in_a_text_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(b"\xef\xbb\xbfground\r\n\r\n stra\xc3\x9fe, nass \r\n")
    assert read_classes(str(path)) == ["ground", "straße, nass"]
    assert read_classes("7") == 7 and read_classes("ground, car") == ["ground", "car"]
    path.write_bytes(b"\xff" * 9)
    with pytest.raises(UserError, match=r"class names, one per line; found '.*names\.txt'"):
        read_classes(str(path))
    path.write_text(f"Pixel Value, Class\n0,{'x' * 200_000}\n")
    with pytest.raises(UserError, match=r"names\.txt': field larger"):
        read_classes(str(path))


def test_masks_of_another_size(folders):
    for name in "ab":
        save(folders / f"images/{name}.png", np.zeros((7, 8, 3), np.uint8))
    masks_of(folders, IDS, IDS * 0)
    found = opened(folders, resize_masks=True, classes=3)
    # Rows 0..6 of 7 lie at 0.2, 0.6, 1.1, 1.5, 1.9, 2.4, 2.8 of 3.
    expected = np.repeat(IDS[[0, 0, 1, 1, 1, 2, 2]], 2, axis=1)
    np.testing.assert_array_equal(found.train[0].read_mask(), expected)
    remark = inspect(found.train[0], "labeled", 3).remarks[0]
    assert (remark.kind, remark.text) == ("mask-resized", "from 4 x 3 to 8 x 7")
    (problem,) = inspect(opened(folders, classes=3).train[0], "labeled", 3).problems
    assert problem.kind == "mask-size" and "--resize-masks" in str(problem.error)
    save(folders / "images/a.png", np.zeros((4, 9, 3), np.uint8))
    with pytest.raises(
        UserError, match=r"\(9 x 4\); found 4 x 3 in '.*a\.png'. Its height and width have another ratio"
    ):
        opened(folders, resize_masks=True, classes=3).train[0].read_mask()


def test_ids(folders):
    masks_of(folders, IDS, IDS * 0)
    found = opened(folders)
    assert found.class_names == ("class 0", "class 1", "class 2") and found.name == folders.name
    assert [s.name for s in found.train] == ["a", "b"] and found.val == found.unlabeled == ()
    np.testing.assert_array_equal(found.train[0].read_mask(), IDS)
    assert opened(folders, classes=5).class_names[4] == "class 4"
    assert opened(folders, classes=["x", "y", "z"]).class_names == ("x", "y", "z")
    with pytest.raises(UserError, match="masks/a.png"):
        opened(folders, classes=2)


@pytest.mark.parametrize("low, high", [(0, 255), (10, 200), (0, 128)])
def test_two_gray_values(folders, low, high):
    things = IDS == 1
    masks_of(folders, np.where(things, high, low), np.full((3, 4), low))
    found = opened(folders)
    assert found.class_names == ("background", "foreground")
    np.testing.assert_array_equal(found.train[0].read_mask(), things)
    np.testing.assert_array_equal(found.train[1].read_mask(), np.zeros((3, 4)))
    assert opened(folders, classes=["resin", "cell"]).class_names == ("resin", "cell")
    assert opened(folders, classes=2).num_classes == 2


def test_validation_masks_are_read_like_the_training_masks(folders):
    masks_of(folders, np.where(IDS == 1, 255, 0), np.zeros((3, 4)))
    save(folders / "val/images/c.png")
    save(folders / "val/masks/c.png", np.full((3, 4), 255, np.uint8))
    where = {"val_images": folders / "val/images", "val_masks": folders / "val/masks"}
    (sample,) = opened(folders, **where).val
    np.testing.assert_array_equal(sample.read_mask(), np.ones((3, 4)))
    save(folders / "val/masks/c.png", np.full((3, 4), 7, np.uint8))
    with pytest.raises(UserError, match="val/masks/c.png"):
        opened(folders, **where).val[0].read_mask()


def test_palette_masks(folders):
    for name in "ab":
        picture = Image.fromarray(IDS.astype(np.uint8))
        picture.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0] + 253 * [1, 2, 3])
        (folders / "masks").mkdir(exist_ok=True)
        picture.save(folders / f"masks/{name}.png")
    found = opened(folders)
    assert found.num_classes == 3
    np.testing.assert_array_equal(found.train[1].read_mask(), IDS)


def colored(ids):
    return COLORS[np.where(ids == 255, 0, ids)]


def test_colors_without_legend(folders):
    masks_of(folders, colored(IDS), colored(IDS * 0 + 1))
    found = opened(folders)
    assert found.class_names == ("#000000", "#008000", "#c80000")
    np.testing.assert_array_equal(found.train[0].read_mask(), np.where(IDS == 255, 0, IDS))
    np.testing.assert_array_equal(found.train[1].read_mask(), np.ones((3, 4)))
    assert found.palette == ((0, 0, 0), (0, 128, 0), (200, 0, 0))
    with pytest.raises(UserError, match="legend"):
        opened(folders, classes=["earth", "grass", "brick"])
    assert opened(folders, classes=3).class_names == found.class_names
    with pytest.raises(UserError, match="3"):
        opened(folders, classes=4)


LEGEND = {"brick": (200, 0, 0), "earth": (0, 0, 0), "grass": (0, 128, 0)}


@pytest.mark.parametrize("place", ["dict", "file", "masks/legend.csv", "masks/legend.txt", "label_colors.txt"])
def test_legends(folders, place):
    masks_of(folders, colored(IDS), colored(IDS * 0 + 1))
    text = "".join(f"{name},{r},{g},{b}\n" for name, (r, g, b) in LEGEND.items())
    if place == "label_colors.txt":
        text = "".join(f"{r} {g} {b}\t{name}\n" for name, (r, g, b) in LEGEND.items())
    arguments = {"dict": {"legend": LEGEND}, "file": {"legend": folders / "colors.csv"}}.get(place, {})
    if place != "dict":
        (folders / ("colors.csv" if place == "file" else place)).write_text(text)
    found = opened(folders, **arguments)
    assert found.class_names == ("brick", "earth", "grass") and found.palette == tuple(LEGEND.values())
    expected = np.array([1, 2, 0])[np.where(IDS == 255, 0, IDS)]
    np.testing.assert_array_equal(found.train[0].read_mask(), expected)
    assert opened(folders, **arguments, classes=["brick", "earth", "grass"]).class_names == found.class_names
    for classes in (2, ["earth", "grass"], ["a", "b", "c"]):
        with pytest.raises(UserError, match="legend"):
            opened(folders, **arguments, classes=classes)


def test_colors_that_are_not_in_the_legend(folders):
    masks_of(folders, colored(IDS), colored(IDS) + np.uint8(1))
    found = opened(folders, legend=LEGEND)
    with pytest.raises(UserError, match="masks/b.png"):
        found.train[1].read_mask()


@pytest.mark.parametrize("legend", [{"a": (0, 0)}, {"a": "red"}, {"a": (0, 0, 999)}, 7, {}])
def test_bad_legends(folders, legend):
    masks_of(folders, colored(IDS), colored(IDS))
    with pytest.raises(UserError):
        opened(folders, legend=legend)


def test_stacks(tmp_path):
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 60000, (5, 20, 24), dtype=np.uint16)
    save_stack(tmp_path / "train.tif", stack)
    save_stack(tmp_path / "truth.tif", (stack > 30000).astype(np.uint8) * 255)
    save_stack(tmp_path / "more.tif", stack[:2])
    found = data.ImageFolder(tmp_path / "train.tif", tmp_path / "truth.tif", tmp_path / "more.tif", hold_out=0.2)
    assert len(found.train) == 4 and len(found.val) == 1 and len(found.unlabeled) == 2
    for sample in (*found.train, *found.val):
        page = int(sample.name.removeprefix("train/"))
        assert sample.read_image().dtype == np.float32
        np.testing.assert_array_equal(sample.read_image()[..., 0], stack[page])
        np.testing.assert_array_equal(sample.read_mask(), stack[page] > 30000)


def save_stack(path, stack):
    tifffile.imwrite(path, stack, photometric="minisblack")


GRAY, COLOR, BANDS = np.zeros((3, 4), np.uint8), np.zeros((3, 4, 3), np.uint8), np.zeros((3, 4, 5), np.uint8)


@pytest.mark.parametrize(
    "a, b, more, channels",
    [
        (("png", GRAY), ("jpg", GRAY), ("png", GRAY), 1),
        (("png", GRAY), ("jpg", GRAY), ("png", COLOR), 3),
        (("png", COLOR), ("jpg", GRAY), ("png", GRAY), 3),
        (("tif", BANDS), ("tif", BANDS), ("tif", BANDS), 5),
        (("tif", GRAY * 1.0), ("png", GRAY.astype(np.uint16)), ("tif", GRAY.astype(np.uint16)), 1),
    ],
)
def test_channels_of_the_whole_set(tmp_path, a, b, more, channels):
    for name, (ending, values) in {"images/a": a, "images/b": b, "more/c": more}.items():
        save(tmp_path / f"{name}.{ending}", values)
    masks_of(tmp_path, IDS, IDS)
    found = opened(tmp_path, unlabeled=tmp_path / "more")
    assert {s.read_image().shape for s in (*found.train, *found.unlabeled)} == {(3, 4, channels)}
    assert {s.image.channels for s in (*found.train, *found.unlabeled)} == {channels}


@pytest.mark.parametrize(
    "b, message",
    [
        (("tif", BANDS), "images/a.png.*more/c.tif|more/c.tif.*images/a.png"),
        (("png", GRAY.astype(np.uint16)), "images/a.png.*more/c.png|more/c.png.*images/a.png"),
    ],
)
def test_kinds_that_do_not_mix(folders, b, message):
    masks_of(folders, IDS, IDS)
    save(folders / f"more/c.{b[0]}", b[1])
    with pytest.raises(UserError, match=message):
        opened(folders, unlabeled=folders / "more")


def test_unreadable_images_are_named_at_once(folders):
    masks_of(folders, IDS, IDS)
    (folders / "images/b.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(UserError, match="images/b.png"):
        opened(folders)


def labelme(name, *shapes):
    return {
        "version": "5.0",
        "flags": {},
        "shapes": [
            {"label": label, "points": points, "group_id": None, "shape_type": "polygon", "flags": {}}
            for label, points in shapes
        ],
        "imagePath": f"{name}.png",
        "imageData": None,
        "imageHeight": 20,
        "imageWidth": 30,
    }


SQUARE = [[5, 5], [15, 5], [15, 15], [5, 15]]


@pytest.mark.parametrize("beside", [True, False])
def test_labelme(tmp_path, beside):
    masks = tmp_path / ("images" if beside else "labels")
    masks.mkdir(exist_ok=True)
    for name, shapes in {"a": [("cell", SQUARE)], "b": [("debris", SQUARE)], "c": []}.items():
        save(tmp_path / f"images/{name}.png", np.zeros((20, 30), np.uint8))
        (masks / f"{name}.json").write_text(json.dumps(labelme(name, *shapes)))
    found = data.ImageFolder(tmp_path / "images", masks)
    assert found.num_classes == 3 and set(found.class_names[1:]) == {"cell", "debris"}
    by_name = {s.name: s.read_mask() for s in found.train}
    assert by_name["a"][10, 10] == found.class_names.index("cell") and by_name["a"][0, 0] == 0
    assert by_name["b"][10, 10] == found.class_names.index("debris") and not by_name["c"].any()
    (masks / "c.json").unlink()
    with pytest.raises(UserError, match=r"no mask 'c\.\*'"):
        data.ImageFolder(tmp_path / "images", masks)


def test_coco(tmp_path):
    for name in ("a.jpg", "sub/b.png"):
        save(tmp_path / "images" / name, np.zeros((20, 30), np.uint8))
    polygon = [float(v) for point in SQUARE for v in point]
    record = {
        "images": [
            {"id": 7, "file_name": "a.jpg", "height": 20, "width": 30},
            {"id": 8, "file_name": "sub/b.png", "height": 20, "width": 30},
        ],
        "categories": [{"id": 3, "name": "cell"}, {"id": 9, "name": "debris"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 9, "segmentation": [polygon], "iscrowd": 0, "area": 100, "bbox": []}
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(record))
    found = data.ImageFolder(tmp_path / "images", tmp_path / "coco.json")
    masks = {s.name: s.read_mask() for s in found.train}
    assert set(masks) == {"a", "sub/b"} and not masks["sub/b"].any()
    assert masks["a"][10, 10] == found.class_names.index("debris") and masks["a"][0, 0] == 0
    save(tmp_path / "images/c.png", np.zeros((20, 30), np.uint8))
    with pytest.raises(UserError, match=r"no mask.*c\.png"):
        data.ImageFolder(tmp_path / "images", tmp_path / "coco.json")


def test_coco_for_validation(tmp_path):
    for part, category in (("train", "cell"), ("val", "cell"), ("other", "debris")):
        save(tmp_path / part / "a.png", np.zeros((20, 30), np.uint8))
        record = {
            "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
            "categories": [{"id": 1, "name": category}],
            "annotations": [],
        }
        (tmp_path / f"{part}.json").write_text(json.dumps(record))

    def validated(masks):
        where = {"val_images": tmp_path / "val", "val_masks": tmp_path / masks}
        return data.ImageFolder(tmp_path / "train", tmp_path / "train.json", **where)

    assert validated("val.json").val[0].read_mask().shape == (20, 30)
    with pytest.raises(UserError, match="classes background, cell; found background, debris in '.*other.json'"):
        validated("other.json")
    with pytest.raises(UserError, match="a COCO-style file as the training masks are; found image files"):
        validated("val")
    with pytest.raises(UserError, match="leave them out|Leave it out"):
        data.ImageFolder(tmp_path / "train", tmp_path / "train.json", legend=LEGEND)
    for classes in (3, ["cell", "background"]):
        with pytest.raises(UserError, match="2 in '.*train.json': background, cell"):
            data.ImageFolder(tmp_path / "train", tmp_path / "train.json", classes=classes)


def test_labelme_class_names(tmp_path):
    save(tmp_path / "a.png", np.zeros((20, 30), np.uint8))
    (tmp_path / "a.json").write_text(json.dumps(labelme("a", ("cell", SQUARE))))
    found = data.ImageFolder(tmp_path, tmp_path, classes=["nothing", "debris", "cell"])
    assert found.class_names == ("nothing", "debris", "cell") and found.train[0].read_mask()[10, 10] == 2
    with pytest.raises(UserError, match="label 'cell'"):
        data.ImageFolder(tmp_path, tmp_path, classes=["cell", "debris"])
    with pytest.raises(UserError, match="3 classes; found 2"):
        data.ImageFolder(tmp_path, tmp_path, classes=3)


def test_the_order_of_class_names_decides_over_a_legend(folders):
    masks_of(folders, colored(IDS), colored(IDS * 0 + 1))
    names = ["earth", "grass", "brick"]
    found = opened(folders, legend={"Void": [9, 9, 9]} | LEGEND, classes=names)
    assert found.class_names == tuple(names) and found.palette == tuple(LEGEND[name] for name in names)
    np.testing.assert_array_equal(found.train[0].read_mask(), np.where(IDS == 255, 0, IDS))


def test_training_images_are_not_for_validation(folders):
    masks_of(folders, IDS, IDS)
    (folders / "val").mkdir()
    (folders / "val/x.png").symlink_to(folders / "images/a.png")
    save(folders / "val_masks/x.png")
    with pytest.raises(UserError, match="val/x.png' in both"):
        opened(folders, val_images=folders / "val", val_masks=folders / "val_masks")


def test_labeled_images_are_not_unlabeled(folders):
    masks_of(folders, IDS, IDS)
    with pytest.raises(UserError, match="labeled and unlabeled .*images/a.png' in both"):
        opened(folders, unlabeled=folders / "images")


def test_folders_with_the_same_numbering(folders):
    masks_of(folders, IDS, IDS)
    save(folders / "more/a.png")
    save(folders / "more/z.png")
    found = opened(folders, unlabeled=folders / "more")
    assert [s.name for s in found.unlabeled] == ["unlabeled/a", "unlabeled/z"]
    assert len(data.choose_labeled([*found.train, *found.unlabeled], 1, seed=0).unlabeled) == 3


def test_two_legends(folders):
    masks_of(folders, colored(IDS), colored(IDS))
    for name in ("legend.csv", "legend.txt"):
        (folders / name).write_text("a,0,0,0\nb,1,1,1\n")
    with pytest.raises(UserError, match="legend.csv' and '.*legend.txt"):
        opened(folders)


def test_a_legend_for_pictures_does_not_touch_class_ids(folders):
    masks_of(folders, IDS, IDS)
    (folders / "label_colors.txt").write_text("0 0 0 a\n200 0 0 b\n")
    np.testing.assert_array_equal(opened(folders).train[0].read_mask(), IDS)


@pytest.mark.parametrize(
    "values, names", [([0, 255], ("background", "foreground")), ([0, 1, 2, 255], ("class 0", "class 1", "class 2"))]
)
def test_gray_masks_saved_as_colors(folders, values, names):
    ids = np.array(values * 3, np.uint8).reshape(3, -1)
    for name in "ab":
        save(folders / f"images/{name}.png", ids)
        save(folders / f"masks/{name}.png", np.repeat(ids[..., None], 3, axis=-1))
    found = opened(folders)
    assert found.class_names == names
    np.testing.assert_array_equal(found.train[0].read_mask(), ids // 255 if len(values) == 2 else ids)
    assert opened(folders, classes=["x", "y", "z"][: len(names)]).class_names[1] == "y"


def test_hold_out(tmp_path):
    for n in range(10):
        save(tmp_path / f"images/{n}.png")
        save(tmp_path / f"masks/{n}.png", IDS.astype(np.uint8))
    names = [str(n) for n in range(10)]
    found = opened(tmp_path, hold_out=0.25, seed=4)
    assert {s.name for s in found.val} == set(seeded_order(names, 4)[:2])  # 2.5 images, rounded to even
    assert sorted(s.name for s in (*found.train, *found.val)) == names
    assert len(opened(tmp_path, hold_out=0.01).val) == 1
    assert {s.name for s in opened(tmp_path, hold_out=0.5, seed=4).val} > {s.name for s in found.val}
    save(tmp_path / "val/0.png")
    with_val = opened(tmp_path, hold_out=0.5, val_images=tmp_path / "val", val_masks=tmp_path / "masks")
    assert len(with_val.train) == 10 and [s.name for s in with_val.val] == ["0"]
    for wrong in (-0.1, 1.0, float("nan"), "half", True):
        with pytest.raises(UserError, match="hold_out"):
            opened(tmp_path, hold_out=wrong)


def test_hold_out_leaves_something_to_train_on(tmp_path):
    save(tmp_path / "images/a.png")
    save(tmp_path / "masks/a.png", IDS.astype(np.uint8))
    with pytest.raises(UserError, match="1 labeled image"):
        opened(tmp_path, hold_out=0.1)


@pytest.mark.parametrize("classes", [1, 0, -3, True, 2.5, ["only"], "ab", ["a", "a"], [1, 2, 3], 256])
def test_bad_classes(classes, folders):
    masks_of(folders, IDS, IDS)
    with pytest.raises(UserError, match="class names"):
        opened(folders, classes=classes)


def test_validation_needs_both_folders(tmp_path):
    with pytest.raises(UserError, match="only val_images"):
        data.ImageFolder(tmp_path, tmp_path, classes=2, val_images=tmp_path)
    with pytest.raises(UserError, match="only val_masks"):
        data.ImageFolder(tmp_path, tmp_path, classes=2, val_masks=tmp_path)


@needs_shared
def test_a_copy_of_lucchi_as_black_and_white(tmp_path):
    lucchi = data.Lucchi(SHARED / "lucchi")
    for part in ("train", "test"):
        (tmp_path / "images" / part).parent.mkdir(exist_ok=True)
        (tmp_path / "images" / part).mkdir()
    for part, samples in (("train", lucchi.train[::30]), ("test", lucchi.val[::40])):
        for sample in samples:
            (tmp_path / f"images/{part}/{sample.name}.jpg").symlink_to(sample.image.path)
            save(tmp_path / f"masks/{part}/{sample.name}.png", sample.read_mask().astype(np.uint8) * 255)
    where = {"val_images": tmp_path / "images/test", "val_masks": tmp_path / "masks/test"}
    copy = data.ImageFolder(tmp_path / "images/train", tmp_path / "masks/train", **where)
    assert copy.class_names == ("background", "foreground") and len(copy.train) == 6 and len(copy.val) == 3
    for mine, theirs in zip((*copy.train, *copy.val), (*lucchi.train[::30], *lucchi.val[::40]), strict=True):
        assert mine.name == theirs.name and mine.image.channels == 1
        np.testing.assert_array_equal(mine.read_image(), theirs.read_image()[..., :1])
        np.testing.assert_array_equal(mine.read_mask(), theirs.read_mask())


@needs_shared
@pytest.mark.parametrize("with_legend", [True, False])
def test_a_copy_of_camvid_in_colors(tmp_path, with_legend):
    camvid = data.CamVid(SHARED / "camvid")
    colors = np.random.default_rng(0).permutation(256)[: 12 * 3].reshape(12, 3).astype(np.uint8)
    samples = camvid.train[::60]
    (tmp_path / "images").mkdir()
    for sample in samples:
        (tmp_path / f"images/{sample.name}.jpg").symlink_to(sample.image.path)
        ids = sample.read_mask()
        save(tmp_path / f"masks/{sample.name}.png", colors[np.where(ids == 255, 11, ids)])
    names = [*camvid.class_names, "void"]
    if with_legend:
        lines = [f"{' '.join(map(str, color))}\t{name}" for name, color in zip(names, colors, strict=True)]
        (tmp_path / "label_colors.txt").write_text("\n".join(lines))
    copy = opened(tmp_path)
    hexes = ["#" + bytes(color.tolist()).hex() for color in colors]
    assert copy.class_names == (tuple(camvid.class_names) if with_legend else tuple(sorted(hexes)))
    # Without legend every color is a class, "void" too, in the order of the colors.
    ids = np.array([*range(11), 255]) if with_legend else np.argsort(np.argsort(hexes))
    for mine, theirs in zip(copy.train, samples, strict=True):
        np.testing.assert_array_equal(mine.read_image(), theirs.read_image())
        raw = theirs.read_mask()
        np.testing.assert_array_equal(mine.read_mask(), ids[np.where(raw == 255, 11, raw)])


def test_names_in_coco_match_files_however_their_accents_are_written(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a\u00e9", "b\u00e9"):  # one character on disk
        Image.new("RGB", (8, 6)).save(tmp_path / "images" / f"{name}.png")
    record = {
        "images": [
            {"id": number, "file_name": unicodedata.normalize("NFD", f"{name}\u00e9.png"), "height": 6, "width": 8}
            for number, name in enumerate("ab")
        ],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 3, 0, 3]]}
            for number in range(2)
        ],
    }
    (tmp_path / "c.json").write_text(json.dumps(record))
    found = data.ImageFolder(tmp_path / "images", tmp_path / "c.json")
    assert [int(sample.read_mask().sum()) for sample in found.train] == [12, 12]
