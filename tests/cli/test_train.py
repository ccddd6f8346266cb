"""Training on one's own images, by flags alone, as a user meets it."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tifffile
from PIL import Image

import rankmatch_keras
from rankmatch_keras import data, models
from rankmatch_keras.cli.recipes import training_command
from rankmatch_keras.errors import UserError
from rankmatch_keras.training.configuration import OWN_DATA
from rankmatch_keras.training.options import Options

pytestmark = pytest.mark.once

COLORS = np.array([(128, 64, 128), (0, 0, 0), (64, 0, 64)], "uint8")


def scene(number, size=(40, 52)):
    """A mask of three classes and an image that shows them."""
    rng = np.random.default_rng(number)
    mask = np.zeros(size, "uint8")
    mask[10 + number : 30, 5:25] = 1
    mask[5:20, 30:45] = 2
    return mask, (60 * mask + rng.integers(0, 40, size)).astype("uint8")


@pytest.fixture
def write(tmp_path):
    """Writes labeled and unlabeled images with the given encodings; returns the flags that name them."""

    def run(image, mask, ending="png"):
        for folder in ("images", "masks", "unlabeled"):
            (tmp_path / folder).mkdir()
        for number in range(9):
            ids, gray = scene(number)
            name = f"{number}.{ending}"
            image(gray, tmp_path / ("images" if number < 5 else "unlabeled") / name)
            if number < 5:
                mask(ids, tmp_path / f"masks/{number}.png")
        places = {folder: tmp_path / folder for folder in ("images", "masks", "unlabeled")}
        return [text for name, place in places.items() for text in (f"--{name}", place)]

    return run


def gray_image(gray, path):
    Image.fromarray(gray).save(path)


def color_image(gray, path):
    Image.fromarray(np.stack([gray, 255 - gray, gray // 2], -1)).save(path)


def six_bands(gray, path):
    bands = np.stack([gray.astype("uint16") * k for k in range(10, 16)], -1)
    tifffile.imwrite(path, bands, photometric="minisblack", planarconfig="contig")


def ids_mask(ids, path):
    Image.fromarray(ids).save(path)


def black_and_white(ids, path):
    Image.fromarray(np.uint8(255) * (ids > 0)).save(path)


def colors(ids, path):
    Image.fromarray(COLORS[ids]).save(path)


SMALL = ["--smoke", "--crop", 33]
KINDS = {
    "gray images, black and white masks": (gray_image, black_and_white, "png", 1, ["background", "foreground"]),
    "color images, masks of colors": (color_image, colors, "png", 3, ["#000000", "#400040", "#804080"]),
    "six 16-bit bands, class ids": (six_bands, ids_mask, "tif", 6, ["class 0", "class 1", "class 2"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_train_evaluate_and_predict(kind, write, tmp_path, rankmatch):
    image, mask, ending, channels, classes = KINDS[kind]
    flags = write(image, mask, ending)
    code, out, err = rankmatch("train", *flags, "--out", tmp_path / "run", *SMALL)
    assert code == 0, err
    assert "1 of the labeled images is held out" in out and "4 labeled, 4 unlabeled" in out
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["data"]["classes"] == classes
    assert models.load_predictor(tmp_path / "run/last.keras").input_shape[-1] == channels
    scores = json.loads((tmp_path / "run/scores.json").read_text())["IoU %"]

    code, out, err = rankmatch("evaluate", tmp_path / "run")
    assert code == 0, err
    again = json.loads((tmp_path / "run/evaluation-val-best.json").read_text())
    assert again["iou"] == pytest.approx(scores["iou"], abs=1e-9) and scores["images"] == 1
    code, out, err = rankmatch("evaluate", tmp_path / "run", "--mode", "sliding_window", "--crop", 24, "--flip")
    assert code == 0 and "sliding_window, crop 24, border clip, flip" in out, err

    code, out, err = rankmatch("predict", tmp_path / "run", "--images", flags[5], "--out", tmp_path / "seen")
    assert code == 0, err
    assert np.asarray(Image.open(tmp_path / "seen/masks/7.png")).shape == (40, 52)


def test_normalization_is_measured_and_stored(write, tmp_path, rankmatch):
    flags = write(six_bands, ids_mask, "tif")
    assert rankmatch("train", *flags, "--out", tmp_path / "run", *SMALL, "--method", "supervised")[0] == 0
    model = models.load_predictor(tmp_path / "run/last.keras")
    (layer,) = [x for x in model.layers if type(x).__name__ == "ChannelNormalization"]
    held_out = json.loads((tmp_path / "run/config.json").read_text())["split"]["labeled"]
    used = sorted([*held_out, *"5678"])
    pixels = np.stack([tifffile.imread(next(tmp_path.glob(f"*/{name}.tif"))) for name in used]).astype(float)
    bands = np.asarray(keras.ops.convert_to_numpy(layer(pixels)))
    # The tiny backbone's normalization gives pixels of ImageNet mean 0 and deviation 1.
    np.testing.assert_allclose(bands.mean((0, 1, 2)), 0.0, atol=1e-3)
    np.testing.assert_allclose(bands.std((0, 1, 2)), 1.0, atol=1e-3)


def test_a_run_begins_where_another_ended(write, tmp_path, rankmatch):
    flags = [*write(gray_image, ids_mask), *SMALL]
    first, second = tmp_path / "first", tmp_path / "second"
    assert rankmatch("train", *flags, "--out", first, "--method", "supervised", "--learning-rate", 0.1)[0] == 0
    code, out, err = rankmatch("train", *flags, "--out", second, "--start-from", first, "--learning-rate", 0)
    assert code == 0 and "Warm start from the network of" in out, err
    # Without a learning rate only batch statistics change.
    before, after = (models.load_predictor(run / "last.keras").trainable_weights for run in (first, second))
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(old), keras.ops.convert_to_numpy(new))
    configs = [json.loads((run / "config.json").read_text()) for run in (first, second)]
    assert configs[1]["start"] == {"method": "supervised", "split": configs[0]["split"]["id"], "start": None}
    assert configs[0]["start"] is None
    code, out, err = rankmatch("compare", first, second, "--out", tmp_path / "table")
    assert code == 0 and "rankmatch[learning_rate=0.0,start_from=supervised]" in out, err
    code, _, err = rankmatch("train", *flags, "--out", tmp_path / "third", "--start-from", first, "--aspp-filters", 8)
    assert code == 2 and "aspp" in err and "Traceback" not in err and not (tmp_path / "third").exists()
    code, _, err = rankmatch("train", *flags, "--out", tmp_path / "third", "--start-from", tmp_path / "nowhere")
    assert code == 2 and "nowhere" in err and "Traceback" not in err


def damage(tmp_path):
    (tmp_path / "masks/1.png").unlink()
    (tmp_path / "unlabeled/6.png").write_bytes(b"nothing")


def test_everything_that_is_wrong_is_listed(write, tmp_path, rankmatch):
    flags = write(gray_image, black_and_white)
    damage(tmp_path)
    code, _, err = rankmatch("train", *flags, "--out", tmp_path / "run", *SMALL, "--hold-out", 0.2)
    assert code == 2 and "Traceback" not in err
    assert "images/1.png" in err and "unlabeled/6.png" in err and "--skip-bad" in err
    assert not (tmp_path / "run").exists()


def test_skip_bad_goes_on_and_keeps_count(write, tmp_path, rankmatch):
    flags = write(gray_image, black_and_white)
    damage(tmp_path)
    code, out, err = rankmatch("train", *flags, "--out", tmp_path / "run", *SMALL, "--skip-bad")
    assert code == 0, err
    assert "Left out 2 images" in out
    split = json.loads((tmp_path / "run/config.json").read_text())["split"]
    assert sorted(split["skipped"]) == ["1", "6"] and split["unlabeled"] == 3


@pytest.mark.parametrize(
    ("flags", "phrase"),
    [
        (["--images", "nowhere", "--masks", "nowhere"], "nowhere"),
        (["--images", "nowhere"], "--masks"),
        (["--dataset", "CamVid"], "--data"),
        (["--dataset", "Camvit", "--data", "."], "CamVid"),
        (["--dataset", "CamVid", "--data", ".", "--images", "x"], "both"),
        (["--imags", "x"], "--images"),
    ],
)
def test_wrong_flags(flags, phrase, tmp_path, rankmatch):
    code, _, err = rankmatch("train", *flags, "--out", tmp_path / "run")
    assert code == 2 and phrase in err and "Traceback" not in err


def test_a_validation_list_is_used_by_train_and_evaluate(write, tmp_path, rankmatch):
    flags = write(gray_image, ids_mask)
    code, _, err = rankmatch("split", *flags[:4], "--labels", 2, "--val", 2, "--out", tmp_path / "lists")
    assert code == 0, err
    lists = [text for n in ("labeled", "unlabeled", "val") for text in (f"--{n}-list", tmp_path / f"lists/{n}.txt")]
    code, out, err = rankmatch("train", *flags[:4], *lists, "--data", tmp_path, "--out", tmp_path / "run", *SMALL)
    assert code == 0, err
    assert "2 labeled, 1 unlabeled" in out
    code, _, err = rankmatch("evaluate", tmp_path / "run")
    assert code == 0, err
    assert json.loads((tmp_path / "run/evaluation-val-best.json").read_text())["images"] == 2


def test_the_file_of_a_run_repeats_it(write, tmp_path, rankmatch):
    flags = [*write(gray_image, black_and_white), *SMALL, "--method", "unimatch", "--set", "threshold=0.5"]
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    code, _, err = rankmatch("train", *flags, "--out", first)
    assert code == 0, err
    code, _, err = rankmatch("train", "--config", first / "run.yaml", "--out", second)
    assert code == 0, err
    configs = [json.loads((run / "config.json").read_text()) for run in (first, second)]
    assert configs[0]["options"]["threshold"] == 0.5 and configs[0]["options"]["set"] == []
    differing = {n for n, value in configs[0]["options"].items() if configs[1]["options"][n] != value}
    assert differing == {"out", "smoke"}
    assert configs[0]["split"] == configs[1]["split"] and configs[0]["data"] == configs[1]["data"]
    scores = [json.loads((run / "scores.json").read_text())["IoU %"]["iou"] for run in (first, second)]
    assert scores[0] == scores[1]
    assert (first / "run.yaml").read_text() == (second / "run.yaml").read_text()
    code, _, err = rankmatch("train", "--config", first / "run.yaml", "--seed", 1, "--out", third)
    assert code == 0 and json.loads((third / "config.json").read_text())["options"]["seed"] == 1, err


def test_the_file_of_a_recipe_repeats_it_without_the_recipe(write_lucchi, tmp_path, rankmatch):
    tree = write_lucchi(tmp_path / "tree", train=4)
    first, second = tmp_path / "first", tmp_path / "second"
    small = ["--labels", 2, "--smoke", "--crop", 33, "--method", "supervised", "--out", first]
    assert rankmatch("train", "recipes/lucchi.py", "--data", tree, *small)[0] == 0
    code, _, err = rankmatch("train", "--config", first / "run.yaml", "--out", second)
    assert code == 0, err
    one, other = (json.loads((run / "config.json").read_text()) for run in (first, second))
    assert one["data"] == other["data"] and one["split"] == other["split"]
    assert (first / "scores.csv").read_text() == (second / "scores.csv").read_text()


def test_training_from_python(write, tmp_path, monkeypatch, capsys):
    flags = write(color_image, ids_mask)
    folders = {name.removeprefix("--"): place for name, place in zip(flags[::2], flags[1::2], strict=True)}
    trained = rankmatch_keras.train(**folders, out=tmp_path / "run", smoke=True, crop=33)
    assert trained.scores.mean_iou == pytest.approx(
        json.loads((tmp_path / "run/scores.json").read_text())["IoU %"]["mean_iou"]
    )
    classes = trained.predict(tmp_path / "unlabeled/7.png")
    assert classes.shape == (40, 52) and set(np.unique(classes)) <= {0, 1, 2}
    np.testing.assert_array_equal(classes, trained.predict(np.asarray(Image.open(tmp_path / "unlabeled/7.png"))))
    with pytest.raises(UserError, match="another run in"):
        rankmatch_keras.train(**folders, out=tmp_path / "run", smoke=True, crop=33)
    with pytest.raises(TypeError, match="training.Options"):
        rankmatch_keras.train("photos")
    with pytest.raises(UserError, match="a data set of .*Did you mean CamVid"):
        rankmatch_keras.train(dataset="Camvit", data=tmp_path, out=tmp_path / "other")
    with pytest.raises(UserError, match="'treshold'. Did you mean '?threshold"):
        rankmatch_keras.train(**folders, out=tmp_path / "other", treshold=0.9)
    assert not (tmp_path / "other").exists()


def test_training_on_data_made_in_python(tmp_path, rankmatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (6, 40, 52, 3)).astype("uint8")
    masks = (images[..., 0] > 100).astype("uint8")
    dataset = data.from_arrays(images[:2], masks[:2], unlabeled=images[2:4], val_images=images[4:], val_masks=masks[4:])
    options = Options(out=tmp_path / "run", backbone="tiny", aspp_filters=8, decoder_filters=8, crop=33, steps=1)
    trained = rankmatch_keras.train(options, dataset)
    assert trained.scores.images == 2
    code, _, err = rankmatch("evaluate", tmp_path / "run")
    assert code == 2 and "data made in Python" in err and "Traceback" not in err


def test_a_run_goes_on_without_naming_its_data_again(tmp_path):
    command = training_command("", own_data=True, **OWN_DATA)
    (tmp_path / "run.yaml").write_text("images: photos\nmasks: masks\nsteps: 40\nseed: 3\n")
    resumed = command.read(["--out", str(tmp_path), "--resume", "--steps", "60"])
    assert (resumed.images, resumed.masks) == (Path("photos"), Path("masks"))
    assert (resumed.steps, resumed.seed) == (60, 3)
    named = command.read(["--images", "others", "--masks", "m", "--out", str(tmp_path), "--resume"])
    assert (named.images, named.seed) == (Path("others"), 0)
    assert command.read(["--out", str(tmp_path), "--steps", "60"]).images is None
