"""`rankmatch predict` and `rankmatch evaluate` on images of anybody's own."""

import csv
import json
import math
import shutil
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tifffile
from PIL import Image

from rankmatch_keras import data, models
from rankmatch_keras.data.readers import scenes
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import overlays
from rankmatch_keras.layers import ChannelNormalization
from rankmatch_keras.models.backbones import IMAGENET
from rankmatch_keras.prediction.models import load_trained
from rankmatch_keras.prediction.outputs import KINDS

pytestmark = pytest.mark.once

NAMES = ("background", "cell", "=dust")
SIZE = (24, 31)
WEIGHTS = np.random.default_rng(3).normal(size=(3, 3)) * 2


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of a network that looks at single pixels: class probabilities are softmax(normalized color @ WEIGHTS)."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    folder.mkdir()
    image = keras.Input((None, None, 3))
    convolution = keras.layers.Conv2D(3, 1, use_bias=False)
    output = keras.layers.Softmax()(convolution(ChannelNormalization(**IMAGENET)(image)))
    convolution.set_weights([WEIGHTS[None, None]])
    keras.Model(image, output).save(folder / "last.keras")
    record = {"options": {"keep": "last"}, "data": {"loader": None, "classes": NAMES}}
    (folder / "config.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos/sub").mkdir(parents=True)
    for number, name in enumerate(("a", "b", "sub/c")):
        Image.fromarray(photo(number)).save(tmp_path / f"photos/{name}.png")
    return tmp_path / "photos"


def photo(number):
    small = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return small.repeat(4, 0).repeat(4, 1)[:, : SIZE[1]]


def probabilities(picture):
    values = (picture - IMAGENET["mean"]) / IMAGENET["std"] @ WEIGHTS
    values = np.exp(values - values.max(-1, keepdims=True))
    return values / values.sum(-1, keepdims=True)


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_everything_that_can_be_saved(run_folder, photos, tmp_path, rankmatch):
    out = tmp_path / "seen"
    code, said, err = rankmatch("predict", run_folder, "--images", photos, "--out", out, "--save", ",".join(KINDS))
    assert code == 0, err
    assert "3 images, " in said and "table and stack in" in said
    expected = probabilities(photo(2))
    classes = expected.argmax(-1)
    np.testing.assert_array_equal(pixels(out / "masks/sub/c.png"), classes)
    assert pixels(out / "overlays/sub/c.png").shape == (*SIZE, 3)
    saved = tifffile.imread(out / "probabilities/sub/c.tif")
    assert saved.dtype == np.float16
    np.testing.assert_allclose(np.moveaxis(saved, 0, -1), expected, atol=1e-3)
    entropy, margin = tifffile.imread(out / "uncertainty/sub/c.tif")
    wanted = -(expected * np.log(np.maximum(expected, 1e-30))).sum(-1) / math.log(3)
    np.testing.assert_allclose(entropy, wanted, atol=1e-4)
    np.testing.assert_allclose(margin, np.sort(expected, -1)[..., 2] - np.sort(expected, -1)[..., 1], atol=1e-4)
    np.testing.assert_allclose(pixels(out / "uncertainty/sub/c.png"), 255 * wanted, atol=0.6)

    coco = data.read_coco(out / "polygons.json")
    for number, name in enumerate(("a", "b", "sub/c")):
        np.testing.assert_array_equal(coco.masks()[f"{name}.png"].read(), probabilities(photo(number)).argmax(-1))
    features = json.loads((out / "polygons/sub/c.geojson").read_text())["features"]
    assert sum(one["properties"]["area"] for one in features) == (classes > 0).sum()

    table = [row for row in rows(out / "table.csv") if row["image"] == "sub/c"]
    assert [int(row["area"]) for row in table] == np.bincount(classes.ravel(), minlength=3).tolist()
    assert [row["class"] for row in table] == ["background", "cell", "'=dust"]
    assert float(table[1]["confidence"]) == pytest.approx(expected.max(-1)[classes == 1].mean(), abs=1e-4)
    objects = [row for row in rows(out / "objects.csv") if row["image"] == "sub/c"]
    assert sum(int(row["area"]) for row in objects if row["class_id"] == "1") == (classes == 1).sum()
    assert len([row for row in objects if row["class_id"] == "1"]) == int(table[1]["objects"])
    assert {row["class"] for row in objects} == {"cell", "'=dust"} and table[0]["objects"] == "0"
    total = sum((probabilities(photo(number)).argmax(-1) == 1).sum() for number in range(3)) / (3 * math.prod(SIZE))
    assert f"cell {100 * total:.1f} %" in said


def test_an_interrupted_folder_is_resumed(run_folder, photos, tmp_path, rankmatch):
    (photos / "b.png").write_text("no image")
    arguments = ["predict", run_folder, "--images", photos, "--out", tmp_path / "seen", "--save", "masks,table"]
    code, _, err = rankmatch(*arguments)
    assert code == 2 and "b.png" in err and "--skip-bad; 1 image done before it: go on with --resume" in err
    first = (tmp_path / "seen/masks/a.png").stat().st_mtime_ns
    code, _, err = rankmatch(*arguments)
    assert code == 2 and "Continue it with --resume" in err
    code, _, err = rankmatch(*arguments, "--resume", "--flip")
    assert code == 2 and "another flip in" in err
    code, said, err = rankmatch(*arguments, "--resume", "--skip-bad")
    assert code == 0 and "2 images (1 done before), " in said and "Left out: " in err and "b.png" in err
    assert (tmp_path / "seen/masks/a.png").stat().st_mtime_ns == first
    assert {row["image"] for row in rows(tmp_path / "seen/table.csv")} == {"a", "sub/c"}
    Image.fromarray(photo(1)).save(photos / "b.png")
    code, said, err = rankmatch(*arguments, "--resume")
    assert code == 0 and "3 images (2 done before), " in said
    np.testing.assert_array_equal(pixels(tmp_path / "seen/masks/b.png"), probabilities(photo(1)).argmax(-1))
    assert {row["image"] for row in rows(tmp_path / "seen/table.csv")} == {"a", "b", "sub/c"}


def test_a_folder_without_a_finished_image_is_as_good_as_new(run_folder, photos, tmp_path, rankmatch):
    for name in ("a", "b", "sub/c"):
        (photos / f"{name}.png").write_text("no image")
    arguments = ["predict", run_folder, "--images", photos, "--out", tmp_path / "seen"]
    code, _, err = rankmatch(*arguments)
    assert code == 2 and "leave such images out with --skip-bad.\n" in err
    Image.fromarray(photo(0)).save(photos / "a.png")
    code, _, err = rankmatch(*arguments, "--flip", "--skip-bad")
    assert code == 0, err
    assert json.loads((tmp_path / "seen/predict.json").read_text())["flip"] is True


def test_one_picture_is_as_good_as_a_folder(run_folder, photos, tmp_path, rankmatch):
    arguments = ["--out", tmp_path / "one", "--overlay", "contour", "--device", "cpu"]
    code, said, err = rankmatch("predict", run_folder / "last.keras", "--images", photos / "b.png", *arguments)
    assert code == 0 and "1 image, " in said and "masks and overlays in" in said, err
    expected = probabilities(photo(1)).argmax(-1)
    np.testing.assert_array_equal(pixels(tmp_path / "one/masks/b.png"), expected)
    drawn = overlays.overlay(photo(1), expected, style="contour")
    np.testing.assert_array_equal(pixels(tmp_path / "one/overlays/b.png"), drawn)


def test_scales_are_those_of_the_evaluation(run_folder, photos, tmp_path, rankmatch):
    flags = ["--scales", "0.5,1", "--flip", "--save", "probabilities"]
    code, _, err = rankmatch("predict", run_folder, "--images", photos / "a.png", "--out", tmp_path / "seen", *flags)
    assert code == 0, err
    saved = tifffile.imread(tmp_path / "seen/probabilities/a.tif")
    difference = np.abs(np.moveaxis(saved, 0, -1) - probabilities(photo(0)))
    assert np.abs(saved.sum(0) - 1).max() < 2e-3 and difference.max() > 0.01


def test_a_geotiff_keeps_its_place(run_folder, tmp_path, rankmatch):
    keys = (1, 1, 0, 1, 3072, 0, 1, 32633)
    places = [(33550, "d", 3, (10.0, 10.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 5e5, 54e5, 0.0), True)]
    tags = [*places, (34735, "H", 8, keys, True), (42113, "s", 2, "0", True)]
    (tmp_path / "scene").mkdir()
    scene = photo(0)
    scene[:3] = 0
    tifffile.imwrite(tmp_path / "scene/a.tif", scene, photometric="rgb", extratags=tags, metadata=None)
    out = tmp_path / "seen"
    flags = ["--save", "masks,probabilities,polygons"]
    code, _, err = rankmatch("predict", run_folder, "--images", tmp_path / "scene", "--out", out, *flags)
    assert code == 0, err
    mask = tifffile.imread(out / "masks/a.tif")
    assert (mask[:3] == 255).all(), "no data"
    np.testing.assert_array_equal(mask[3:], probabilities(photo(0)).argmax(-1)[3:])
    assert np.isnan(tifffile.imread(out / "probabilities/a.tif")).sum() == 3 * 3 * SIZE[1]
    assert not (out / "masks/a.png").exists()
    for path, no_data in (("masks/a.tif", "255"), ("probabilities/a.tif", "nan")):
        with tifffile.TiffFile(out / path) as file:
            found = file.pages[0].tags
            assert [found.valueof(tag[0]) for tag in tags] == [*(tag[3] for tag in tags[:3]), no_data]
            assert file.pages[0].is_tiled and file.pages[0].compression != 1
    content = json.loads((out / "polygons/a.geojson").read_text())
    assert content["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    corners = np.concatenate([ring for one in content["features"] for ring in one["geometry"]["coordinates"]])
    assert corners.min(0).tolist() >= [5e5, 54e5 - 10 * SIZE[0]] and corners.max(0).tolist() <= [
        5e5 + 10 * SIZE[1],
        54e5,
    ]


def test_a_scene_is_never_in_memory_as_a_whole(run_folder, tmp_path, rankmatch, monkeypatch):
    scene = np.tile(photo(0), (14, 11, 1))
    scene[:5, 300:] = 0
    tags = [(33550, "d", 3, (10.0, 10.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 5e5, 54e5, 0.0), True)]
    options = {"photometric": "rgb", "tile": (32, 48), "compression": "zlib", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", scene, extratags=[*tags, (42113, "s", 2, "0", True)], **options)
    arguments = ["predict", run_folder, "--images", tmp_path / "a.tif", "--mode", "sliding_window", "--crop", 64]
    code, _, err = rankmatch(*arguments, "--out", tmp_path / "whole")
    assert code == 0, err
    monkeypatch.setattr(scenes, "MAX_PIXELS", 100_000)
    monkeypatch.setattr(scenes.Scene, "__array__", None, raising=False)
    code, said, err = rankmatch(*arguments, "--out", tmp_path / "seen", "--save", "masks,overlays,table")
    assert code == 0 and "masks alone" in said, err
    with (
        tifffile.TiffFile(tmp_path / "seen/masks/a.tif") as file,
        tifffile.TiffFile(tmp_path / "whole/masks/a.tif") as other,
    ):
        found, expected = file.pages[0], other.pages[0]
        np.testing.assert_array_equal(found.asarray(), expected.asarray())
        assert (found.asarray()[:5, 300:] == 255).all() and found.is_tiled and found.compression != 1
        for code in (33550, 33922, 42113, 320):
            np.testing.assert_array_equal(found.tags.valueof(code), expected.tags.valueof(code))
    code, _, err = rankmatch(*arguments, "--out", tmp_path / "none", "--save", "table")
    assert code == 2 and "Expected masks in --save for a scene; found 341 x 336 pixels" in err


MISTAKES = {
    "nothing there": (
        ["--images", "nowhere"],
        "Expected a folder of images, an image, a stack, or a video; found nothing",
    ),
    "unknown kind": (["--save", "masks,tables"], "found 'tables'. Correct --save"),
    "unknown scales": (["--scales", "big"], "scales as numbers"),
    "unknown device": (["--device", "gpu:77"], "found 'gpu:77' ("),
}


@pytest.mark.parametrize(("flags", "phrase"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(flags, phrase, run_folder, photos, tmp_path, rankmatch):
    code, _, err = rankmatch("predict", run_folder, "--images", photos, "--out", tmp_path / "seen", *flags)
    assert code == 2 and phrase in err and len(err.splitlines()) == 1
    assert not (tmp_path / "seen").exists()


def test_an_output_that_is_a_file(run_folder, photos, rankmatch):
    code, _, err = rankmatch("predict", run_folder, "--images", photos, "--out", photos / "a.png")
    assert code == 2 and "found a file at" in err
    code, _, err = rankmatch("predict", run_folder, "--images", photos, "--out", photos)
    assert code == 2 and "photos with files" in err


def test_images_in_other_units(run_folder, tmp_path, rankmatch):
    (tmp_path / "photos").mkdir()
    tifffile.imwrite(tmp_path / "photos/a.tif", photo(0).astype(np.uint16) * 4, photometric="rgb")
    arguments = ["predict", run_folder, "--images", tmp_path / "photos", "--out"]
    code, _, err = rankmatch(*arguments, tmp_path / "seen")
    assert code == 2 and "a.tif" in err and "to 8 bits" in err
    code, _, err = rankmatch(*arguments, tmp_path / "skipped", "--skip-bad")
    assert code == 2 and "found 1 image, all left out" in err


def test_flags_offer_what_there_is():
    command = sys.modules["rankmatch_keras.cli.predict"]  # the package's name is the command
    assert command.STYLES == overlays.STYLES and command.KINDS == ",".join(KINDS)


@pytest.fixture
def own_set(tmp_path):
    """Images with the classes that the network predicts, but for a stripe of wrong ones of another width in each."""
    for name in ("images", "masks"):
        (tmp_path / "own" / name).mkdir(parents=True)
    for number in range(4):
        mask = probabilities(photo(number)).argmax(-1)
        mask[:, : 3 * number] = (mask[:, : 3 * number] + 1) % 3
        Image.fromarray(photo(number)).save(tmp_path / f"own/images/{number}.png")
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / f"own/masks/{number}.png")
    return tmp_path / "own"


def mean_iou(truth, found):
    present = [k for k in range(3) if (truth == k).any() or (found == k).any()]
    return np.mean([((truth == k) & (found == k)).sum() / ((truth == k) | (found == k)).sum() for k in present])


def test_a_model_is_scored_on_own_images(run_folder, own_set, rankmatch):
    flags = ["--images", own_set / "images", "--masks", own_set / "masks"]
    code, said, err = rankmatch("evaluate", run_folder, *flags, "--worst", 2)
    assert code == 0, err
    truths = [pixels(own_set / f"masks/{number}.png") for number in range(4)]
    found = [probabilities(photo(number)).argmax(-1) for number in range(4)]
    whole = 100 * mean_iou(np.stack(truths), np.stack(found))
    each = [100 * mean_iou(*pair) for pair in zip(truths, found, strict=True)]
    assert f"{whole:.2f}" in said and "95 % interval over 4 images" in said and "=dust" in said
    assert f"Worst images, mean IoU %: 3 {each[3]:.1f}, 2 {each[2]:.1f}\n" in said
    scores = json.loads((run_folder / "evaluation-images-last.json").read_text())
    assert 100 * scores["mean_iou"] == pytest.approx(whole) and scores["class_names"] == list(NAMES)
    table = rows(run_folder / "evaluation-images-last-per-image.csv")
    assert [row["image"] for row in table] == ["3", "2", "1", "0"]
    assert [100 * float(row["mean_iou"]) for row in table] == pytest.approx(each[::-1])
    assert "'=dust" in table[0]


def test_a_file_elsewhere_is_scored_with_the_names_given(run_folder, own_set, tmp_path, rankmatch):
    (tmp_path / "model.keras").write_bytes((run_folder / "last.keras").read_bytes())
    arguments = ["evaluate", tmp_path / "model.keras", "--images", own_set / "images", "--masks", own_set / "masks"]
    code, said, err = rankmatch(*arguments)
    assert code == 0 and "class 2" in said and "Not written: give --out" in said, err
    code, said, err = rankmatch(*arguments, "--classes", "ground, cell, dust", "--out", tmp_path / "scores")
    assert code == 0 and "dust" in said and (tmp_path / "scores/evaluation-images-model.json").exists(), err
    code, _, err = rankmatch(*arguments, "--classes", "ground,cell")
    assert code == 2 and "Expected 3 --classes" in err


@pytest.mark.parametrize(
    ("flags", "phrase"),
    [
        (["--images", "a"], "only --images"),
        (["--masks", "a"], "only --masks"),
        (["--binarize"], "found --binarize alone"),
        ([], "Give --images and --masks"),
    ],
)
def test_mistakes_of_own_images(flags, phrase, run_folder, rankmatch):
    code, _, err = rankmatch("evaluate", run_folder / "last.keras", *flags)
    assert code == 2 and phrase in err


def test_masks_that_are_not_those_of_the_model(run_folder, own_set, rankmatch):
    Image.fromarray(np.full(SIZE, 7, np.uint8)).save(own_set / "masks/0.png")
    code, _, err = rankmatch("evaluate", run_folder, "--images", own_set / "images", "--masks", own_set / "masks")
    assert code == 2 and "0.png" in err and len(err.splitlines()) == 1


COLORS = np.array([[0, 0, 0], [200, 30, 60], [10, 220, 90]], np.uint8)


@pytest.mark.parametrize("kind", ["palette", "colors", "named colors"])
def test_masks_are_read_as_those_of_the_training(kind, run_folder, own_set, tmp_path, rankmatch):
    """Also where no mask shows class 1: the others keep their ids."""
    names = {"colors": ["#000000", "#c81e3c", "#0adc5a"]}.get(kind, NAMES)
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.keras").write_bytes((run_folder / "last.keras").read_bytes())
    arguments = {"images": "gone/images", "masks": "gone/masks"}
    if kind == "named colors":
        lines = [",".join(map(str, (name, *color))) for name, color in zip(names, COLORS, strict=True)]
        (run / "legend.csv").write_text("\n".join(["name,red,green,blue", *lines]))
        arguments["legend"] = "gone/legend.csv"
    data = {"loader": "ImageFolder", "arguments": arguments, "classes": names}
    (run / "config.json").write_text(json.dumps({"options": {"keep": "last"}, "data": data}))
    truths = []
    for path in sorted((own_set / "masks").iterdir()):
        ids = np.where(pixels(path) == 1, 0, pixels(path))
        truths.append(ids)
        mask = Image.fromarray(ids if kind == "palette" else COLORS[ids])
        if kind == "palette":
            mask.putpalette(COLORS.tobytes())
        mask.save(path)
    flags = ["--images", own_set / "images", "--masks", own_set / "masks"]
    code, said, err = rankmatch("evaluate", run, *flags)
    assert code == 0, err
    found = np.stack([probabilities(photo(number)).argmax(-1) for number in range(4)])
    scores = json.loads((run / "evaluation-images-last.json").read_text())
    assert scores["class_names"] == list(names)
    assert scores["mean_iou"] == pytest.approx(mean_iou(np.stack(truths), found))


def test_pairs_that_cannot_be_scored_are_left_out(run_folder, photos, tmp_path, rankmatch):
    (tmp_path / "masks/sub").mkdir(parents=True)
    for number, name in enumerate(("a", "b", "sub/c")):
        Image.fromarray(probabilities(photo(number)).argmax(-1).astype(np.uint8)).save(tmp_path / f"masks/{name}.png")
    (photos / "b.png").write_bytes(b"broken")
    (tmp_path / "masks/sub/c.png").unlink()
    command = ("evaluate", run_folder, "--images", photos, "--masks", tmp_path / "masks", "--out", tmp_path / "scores")
    assert rankmatch(*command)[0] == 2
    code, _, err = rankmatch(*command, "--skip-bad")
    assert code == 0, err
    assert len(err.splitlines()) == 2 and "found a file of another kind" in err and "sub/c.png'. Add it." in err
    scores = json.loads((tmp_path / "scores/evaluation-photos-last.json").read_text())
    assert scores["images"] == 1 and scores["mean_iou"] == 1


def test_world_files_go_with_the_masks(run_folder, photos, tmp_path, rankmatch):
    content = b"0.5\n0\n0\n-0.5\n1000\n2000\n"
    (photos / "sub/c.pgw").write_bytes(content)
    (photos / "a.wld").write_bytes(b"<html>")
    code, _, err = rankmatch("predict", run_folder, "--images", photos, "--out", tmp_path / "seen", "--save", "masks")
    assert code == 0 and (tmp_path / "seen/masks/sub/c.pgw").read_bytes() == content
    assert "Not copied" in err and not (tmp_path / "seen/masks/a.pgw").exists()


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_record_of_other_classes_than_the_network_is_refused(command, run_folder, own_set, tmp_path, rankmatch):
    edited = tmp_path / "edited"
    shutil.copytree(run_folder, edited)
    record = json.loads((edited / "config.json").read_text())
    record["data"]["classes"] = ["background", "cell"]
    (edited / "config.json").write_text(json.dumps(record))
    more = {"predict": ["--out", tmp_path / "out"], "evaluate": ["--masks", own_set / "masks"]}[command]
    code, _, err = rankmatch(command, edited, "--images", own_set / "images", *more)
    assert code == 2 and err.count("\n") == 1
    assert (
        f"the 3 classes of the network in {edited / 'last.keras'}; found 2 classes in {edited / 'config.json'}" in err
    )
    assert "(background, cell). Restore the record" in err


def test_the_names_in_an_exported_network_are_those_of_its_run(run_folder, tmp_path, monkeypatch):
    exported = SimpleNamespace(
        input_shape=(None,) * 3 + (3,), output_shape=(None,) * 3 + (3,), class_names=("a", "b", "c")
    )
    monkeypatch.setattr(models, "load_predictor", lambda path: exported)
    shutil.copy(run_folder / "config.json", tmp_path)
    with pytest.raises(UserError, match=r"last.keras \(a, b, c\); found 3 classes .*\(background, cell, =dust\)"):
        load_trained(tmp_path)
