from pathlib import Path

import numpy as np
import pytest

from rankmatch_keras.data import SampleScenes
from rankmatch_keras.data.masks.mask_files import read_mask
from rankmatch_keras.data.readers.images import read_image
from rankmatch_keras.data.sets.sample_scenes import SIZES, make_scene, write_scenes

SAMPLE = Path(__file__).resolve().parents[3] / "data" / "sample"


@pytest.mark.parametrize("part", ["train", "val"])
def test_committed_scenes_can_be_made_again(part):
    for index in range(0, SIZES[part], 5):  # every fifth, for time
        image, mask = make_scene(part, index)
        stem = f"scene_{index:03d}"
        np.testing.assert_array_equal(read_mask(SAMPLE / part / "masks" / f"{stem}.png"), mask)
        committed = read_image(SAMPLE / part / "images" / f"{stem}.jpg").astype(float)
        # JPEG keeps color at half resolution, so single pixels differ much where things meet.
        assert abs(committed - image).mean() < 12, stem


def test_written_set_is_a_data_set(tmp_path):
    write_scenes(tmp_path, {"train": 3, "val": 2})
    scenes = SampleScenes(tmp_path)
    assert (len(scenes.train), len(scenes.val)) == (3, 2)
    assert (SAMPLE / "val/masks/scene_001.png").is_file()
    np.testing.assert_array_equal(scenes.val[1].read_mask(), make_scene("val", 1)[1])


def test_size_of_the_committed_set():
    assert sum(f.stat().st_size for f in SAMPLE.rglob("*") if f.is_file()) < 1_200_000


def test_every_class_is_in_most_scenes():
    masks = [read_mask(f) for f in sorted((SAMPLE / "train/masks").iterdir())]
    for k in range(5):
        assert np.mean([(mask == k).any() for mask in masks]) > 0.6
