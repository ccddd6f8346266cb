"""`rankmatch predict` and `rankmatch evaluate` on volumes, by a network that compares a slice with its neighbors."""

import json

import keras
import numpy as np
import pytest
import tifffile
from PIL import Image

from rankmatch_keras.models import load_predictor
from rankmatch_keras.models.predictor import NeighboringSlices, context_of

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of a network of context 1: a pixel is class 1 where the slice above is brighter than the slice below."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    folder.mkdir()
    image = keras.Input((None, None, 3))
    convolution = keras.layers.Conv2D(2, 1, use_bias=False)
    output = keras.layers.Softmax()(convolution(NeighboringSlices(3)(image)))
    convolution.set_weights([np.array([[[[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]]])])
    keras.Model(image, output).save(folder / "last.keras")
    record = {"options": {"keep": "last"}, "data": {"loader": None, "classes": ["down", "up"]}}
    (folder / "config.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def volume(tmp_path):
    """Five random slices, of even values: no two are equal."""
    values = 2 * np.random.default_rng(0).permuted(np.arange(5 * 6 * 8) % 127).reshape(5, 6, 8).astype(np.uint8)
    values[:, 0] = np.array([10, 20, 30, 20, 10])[:, None]
    tifffile.imwrite(tmp_path / "volume.tif", values, photometric="minisblack")
    return values


def classes_of(values):
    """Compare each slice's neighbors; equal ones are class 0."""
    above, below = np.concatenate([values[1:], values[-1:]]), np.concatenate([values[:1], values[:-1]])
    return (above > below).astype(np.uint8)


def test_a_network_of_slices_reads_their_neighbors(run_folder, volume, tmp_path, rankmatch):
    code, _, err = rankmatch("predict", run_folder, "--images", tmp_path / "volume.tif", "--out", tmp_path / "seen")
    assert code == 0, err
    expected = classes_of(volume)
    assert expected[:, 0, 0].tolist() == [1, 1, 0, 0, 0]
    for number, classes in enumerate(expected):
        with Image.open(tmp_path / f"seen/masks/volume/{number:04d}.png") as mask:
            np.testing.assert_array_equal(np.asarray(mask), classes)

    tifffile.imwrite(tmp_path / "masks.tif", np.where(np.arange(5)[:, None, None] == 1, 255, expected))
    where = ("--images", tmp_path / "volume.tif", "--masks", tmp_path / "masks.tif", "--out", tmp_path / "scores")
    code, said, err = rankmatch("evaluate", run_folder, *where)
    assert code == 0, err
    assert "4 labeled slices, and 1 beside them that count as unlabeled." in said
    scores = json.loads((tmp_path / "scores/evaluation-volume.tif-last.json").read_text())
    assert scores["mean_iou"] == 1 and scores["images"] == 4


def test_the_file_records_the_context(run_folder, tmp_path):
    assert context_of(load_predictor(run_folder / "last.keras")) == 1
    with pytest.raises(ValueError, match="Received: 4"):
        NeighboringSlices(4)
