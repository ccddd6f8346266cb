import pathlib
import threading
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import Evaluator
from rankmatch_keras.evaluation.evaluator import spread

NAMES = ("dark", "bright")


@pytest.fixture
def files():
    """Images and masks in memory under their would-be paths; the masks are right but for one pixel."""
    rng = np.random.default_rng(0)
    images, masks = {}, {}
    for i in range(7):
        image = rng.integers(0, 256, (4 + i % 3, 5, 3), dtype=np.uint8)
        mask = (image[..., 0] >= 128).astype(np.int32)
        mask[0, 0], mask[0, 1] = 1 - mask[0, 0], 255
        images[f"{i}.jpg"], masks[f"{i}.png"] = image, mask
    return SimpleNamespace(images=images, masks=masks)


def _samples(n):
    return [SimpleNamespace(image=f"{i}.jpg", mask=f"{i}.png") for i in range(n)]


def _evaluator(files, n=7, **kwargs):
    readers = {"read_image": files.images.__getitem__, "read_mask": files.masks.__getitem__}
    return Evaluator(_samples(n), NAMES, **{**readers, **kwargs})


def test_scores_all_images_in_order(files, brightness_predictor):
    seen = []
    scores = _evaluator(files, provenance={"seed": 3}).evaluate(
        brightness_predictor, progress=lambda done, total: seen.append((done, total))
    )
    pixels = sum(mask.size - 1 for mask in files.masks.values())
    assert scores.pixel_accuracy == pytest.approx((pixels - 7) / pixels, rel=1e-12)
    truth = np.concatenate([m.ravel() for m in files.masks.values()])
    predicted = np.concatenate([i[..., 0].ravel() >= 128 for i in files.images.values()])
    valid = truth != 255
    for k, iou in enumerate(scores.iou):
        both, either = (truth == k) & (predicted == k), (truth == k) | (predicted == k)
        assert iou == pytest.approx((both & valid).sum() / (either & valid).sum(), rel=1e-12)
    assert seen == [(i, 7) for i in range(1, 8)]
    assert (scores.images, scores.images_available, scores.mode) == (7, 7, "whole image")
    assert scores.class_names == NAMES
    assert scores.provenance == {"seed": 3}


def test_limit_is_spread_and_told(files, brightness_predictor):
    read = []

    def read_image(path):
        read.append(path)
        return files.images[path]

    scores = _evaluator(files, limit=2, read_image=read_image).evaluate(brightness_predictor)
    assert sorted(read) == ["1.jpg", "5.jpg"]
    assert (scores.images, scores.images_available) == (2, 7)


def test_spread():
    assert spread(list(range(10)), 5) == [1, 3, 5, 7, 9]
    assert spread(list(range(10)), 1) == [5]
    assert spread(list(range(3)), 8) == [0, 1, 2]
    assert spread(list(range(3)), None) == [0, 1, 2]


def test_decodes_in_the_background_but_not_far_ahead(files, brightness_predictor):
    threads, most_ahead, read = set(), [], []

    def read_image(path):
        threads.add(threading.current_thread())
        read.append(path)
        return files.images["0.jpg"]

    evaluator = _evaluator(files, n=30, read_image=read_image, read_mask=lambda path: files.masks["0.png"])
    evaluator.evaluate(brightness_predictor, progress=lambda done, total: most_ahead.append(len(read) - done))
    assert threading.main_thread() not in threads
    assert len(read) == 30
    assert max(most_ahead) <= 4
    assert not any(thread.is_alive() for thread in threads), "threads must end with the evaluation"


def test_reader_errors_come_through(files, brightness_predictor):
    del files.masks["3.png"]
    with pytest.raises(KeyError, match=r"3\.png"):
        _evaluator(files).evaluate(brightness_predictor)


def test_mistakes_name_the_file(files, brightness_predictor):
    files.masks["2.png"] = np.full(files.masks["2.png"].shape, 9)
    with pytest.raises(UserError, match=r"2\.png; found 9"):
        _evaluator(files).evaluate(brightness_predictor)
    files.masks["2.png"] = np.zeros((2, 2), int)
    with pytest.raises(UserError, match=r"\(2, 2\) in 2\.png"):
        _evaluator(files).evaluate(brightness_predictor)


def test_wrong_use(files, brightness_predictor):
    with pytest.raises(UserError, match="3 classes; found one of 2"):
        Evaluator(_samples(1), "abc", files.images.get, files.masks.get).evaluate(brightness_predictor)
    with pytest.raises(UserError, match="found none"):
        _evaluator(files, n=0)
    with pytest.raises(UserError, match=r"none for 0\.jpg"):
        Evaluator([SimpleNamespace(image="0.jpg", mask=None)], NAMES)
    with pytest.raises(UserError, match="found 0"):
        _evaluator(files, limit=0)


def test_real_files_with_the_readers_of_the_package():
    """A predictor that says "road" everywhere, on three street scenes."""
    root = pathlib.Path(__file__).resolve().parents[2].parent / "shared" / "data" / "camvid"
    if not root.exists():
        pytest.skip("the CamVid images are not beside this checkout")
    masks = sorted((root / "masks" / "val").iterdir())[:3]
    samples = [SimpleNamespace(image=root / "images" / "val" / f"{m.stem}.jpg", mask=m) for m in masks]
    image = keras.Input((None, None, 3))
    head = keras.layers.Conv2D(11, 1, kernel_initializer="zeros")
    model = keras.Model(image, keras.layers.Softmax()(head(image)))
    head.bias.assign(np.eye(11, dtype="float32")[3])
    scores = Evaluator(samples, [str(k) for k in range(11)]).evaluate(model)
    truth = np.stack([np.asarray(Image.open(m)) for m in masks])
    road = (truth == 3).sum() / (truth != 255).sum()
    assert scores.pixel_accuracy == pytest.approx(road, rel=1e-12)
    assert scores.iou[3] == pytest.approx(road, rel=1e-12), "the union is the whole picture"
    assert road > 0.1
