"""`rankmatch export`: what it says, writes and refuses."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.layers.normalization import ChannelNormalization
from rankmatch_keras.models import create_backbone, deeplab_v3_plus, exported, predictor

pytestmark = pytest.mark.once
KIND, ENDING = "torch", ".pt2"  # torch alone writes and runs it without other packages


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a saved network and a few photos."""
    folder = tmp_path_factory.mktemp("place")
    keras.utils.set_random_seed(0)
    segmenter = deeplab_v3_plus(create_backbone("tiny"), num_classes=3, aspp_filters=8, decoder_filters=8)
    predictor(segmenter, ChannelNormalization(mean=(90,) * 3, std=(50,) * 3)).save(folder / "net.keras")
    (folder / "photos").mkdir()
    for number, size in enumerate(((40, 51), (33, 49))):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3)).astype("uint8")
        Image.fromarray(pixels).save(folder / "photos" / f"{number}.png")
    return folder


@pytest.fixture
def export(place, rankmatch, tmp_path):
    def run(*more, out=tmp_path / f"net{ENDING}", kind=KIND, images=("--images", place / "photos")):
        return rankmatch("export", place / "net.keras", "--to", kind, "--out", out, *images, *more)

    return run


def test_the_file_is_checked_and_predicts_what_the_network_does(export, place, rankmatch, tmp_path):
    code, out, err = export()
    assert code == 0, err
    assert "Checked on 4 images of 40x51, 33x49, 128x150, 97x113: the same class in 100.000% of the pixels" in out
    assert "images (uint8, 1 x H x W x 3) in, classes and probabilities out" in out
    for name, source in (("ours", place / "net.keras"), ("theirs", tmp_path / f"net{ENDING}")):
        code, out, err = rankmatch("predict", source, "--images", place / "photos", "--out", tmp_path / name)
        assert code == 0, err
    for mask in (tmp_path / "ours" / "masks").iterdir():
        assert mask.read_bytes() == (tmp_path / "theirs" / "masks" / mask.name).read_bytes()


def test_a_file_that_differs_is_removed(export, tmp_path, monkeypatch):
    monkeypatch.setattr(exported, "agreement", lambda *arguments: (0.998, 0.1))
    code, out, err = export("--size", "40x51")
    assert code == 2 and "99.9% of the pixels the network's class; found 99.80%" in err
    assert not [path for path in tmp_path.iterdir() if "net" in path.name or "writing" in path.name]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"more": ("--size", "40")}, "such as 480x640, or dynamic; found --size 40."),
        ({"more": ("--size", "0x40")}, "1 to 8192"),
        ({"out": "net.bin"}, r"ends in .pt2; found --out net.bin. Give --out net.pt2."),
        ({"out": "README.md", "kind": "savedmodel"}, "found README.md, which is there"),
        ({"images": ()}, "Give some by --images FOLDER."),
        ({"kind": "caffe"}, "'caffe' is not one of 'onnx', 'savedmodel', 'tflite', 'torch'"),
    ],
)
def test_mistakes_end_with_one_line(export, wrong, message):
    code, out, err = export(*wrong.pop("more", ()), **wrong)
    assert code == 2 and message in err and "Traceback" not in err


def test_another_backend_takes_over(export, tmp_path, monkeypatch):
    calls = []
    pytest.importorskip("tensorflow")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: calls.append((*a, k)) or subprocess.CompletedProcess(a, 3))
    code, out, err = export(kind="savedmodel", out=tmp_path / "net")
    assert code == 3 and "tensorflow writes a SavedModel" in out
    (command, options), *rest = calls
    assert not rest and options["env"]["KERAS_BACKEND"] == "tensorflow"
    assert command[:4] == [sys.executable, "-m", "rankmatch_keras", "export"]
