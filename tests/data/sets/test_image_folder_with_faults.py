"""Faults of single files do not keep a folder from being opened for a check."""

import json

import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.data.masks.encodings import IDS
from rankmatch_keras.data.readers.guards import only_readable
from rankmatch_keras.data.sets.loaders import ImageFolder
from rankmatch_keras.errors import UserError

MASK = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def test_only_readable_keeps_the_order_and_raises_the_first_error():
    def read(number):
        if number % 2:
            raise UserError("an even number", f"{number}", "Double it.")

    assert only_readable([4, 3, 2, 1], read) == [4, 2]
    assert only_readable([], read) == []
    with pytest.raises(UserError, match="found 3"):
        only_readable([3, 1], read)


@pytest.fixture
def folder(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for name in "abcd":
        Image.fromarray(np.full((2, 3, 3), ord(name), np.uint8)).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(MASK).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def opened(folder, strict, **more):
    return ImageFolder(folder / "images", folder / "masks", strict=strict, **more)


def damaged_image(folder):
    (folder / "images" / "b.png").write_bytes(b"x")


def deep_image(folder):
    Image.fromarray(np.zeros((2, 3), np.uint16)).save(folder / "images" / "b.png")


def no_mask(folder):
    (folder / "masks" / "a.png").unlink()


def damaged_stack(folder):
    (folder / "images" / "b.png").unlink()
    (folder / "images" / "b.tif").write_bytes(b"II*\0")


def damaged_mask(folder):
    (folder / "masks" / "a.png").write_bytes(b"x")


def strange_values(folder):
    Image.fromarray(MASK + 70).save(folder / "masks" / "c.png")


def colored_mask(folder):
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(folder / "masks" / "c.png")


@pytest.mark.parametrize(
    "damage", [damaged_image, deep_image, damaged_stack, no_mask, damaged_mask, strange_values, colored_mask]
)
def test_one_bad_file_is_left_to_the_check(folder, damage):
    damage(folder)
    with pytest.raises(UserError):
        opened(folder, strict=True, classes=3)
    dataset = opened(folder, strict=False, classes=3)
    assert [sample.name for sample in dataset.train] == ["a", "b", "c", "d"] and dataset.num_classes == 3
    assert [sample.mask is None for sample in dataset.train] == [damage is no_mask, False, False, False]
    assert dataset.train[3].mask.encoding == IDS
    assert dataset.train[3].read_image().shape == (2, 3, 3) and dataset.train[3].read_mask().tolist() == MASK.tolist()


def test_unreadable_files_do_not_count_in_detection(folder):
    damaged_mask(folder)
    assert opened(folder, strict=False).num_classes == 3


def test_most_images_decide_on_channels(folder):
    import tifffile

    tifffile.imwrite(
        folder / "images" / "e.tif", np.zeros((2, 3, 5), np.uint8), photometric="rgb", planarconfig="contig"
    )
    Image.fromarray(MASK).save(folder / "masks" / "e.png")
    with pytest.raises(UserError, match="number of channels"):
        opened(folder, strict=True)
    dataset = opened(folder, strict=False)
    assert dataset.train[0].read_image().shape == (2, 3, 3)
    with pytest.raises(UserError, match="e.tif"):
        dataset.train[4].read_image()


def test_damaged_labelme_files(folder):
    shapes = {"shapes": [{"label": "cell", "points": [[0, 0], [2, 0], [2, 2]], "shape_type": "polygon"}]}
    for mask in list((folder / "masks").iterdir()):
        mask.unlink()
        facts = {"version": "5.0", "imagePath": f"{mask.stem}.png", "imageHeight": 2, "imageWidth": 3, **shapes}
        mask.with_suffix(".json").write_text(json.dumps(facts) if mask.stem != "b" else "{")
    with pytest.raises(UserError, match="b.json"):
        opened(folder, strict=True)
    assert opened(folder, strict=False).class_names[1:] == ("cell",)


def test_nothing_readable_is_refused_even_so(folder):
    for mask in (folder / "masks").iterdir():
        mask.write_bytes(b"x")
    with pytest.raises(UserError, match="a.png"):
        opened(folder, strict=False, classes=3)
