"""Slices of volumes: their neighbors as channels, sparse labels, and hold-out in one block."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from rankmatch_keras import data
from rankmatch_keras.data.sets.image_folder import images_to_segment
from rankmatch_keras.data.sets.slices import block, labeled_and_unlabeled
from rankmatch_keras.data.views.policies import ChannelJitter
from rankmatch_keras.errors import UserError

SIZE = (3, 4)


def stack(path, values):
    """Write a stack whose slice number n has the value `values[n]` everywhere."""
    tifffile.imwrite(path, np.array([np.full(SIZE, v) for v in values], np.uint8), photometric="minisblack")
    return path


def channels_of(sample):
    """Return the values of the channels, each of which is constant."""
    image = sample.read_image()
    assert image.shape[:2] == SIZE and (image == image[:1, :1]).all()
    return image[0, 0].tolist()


def test_neighbors_are_channels_and_end_slices_repeat(tmp_path):
    volume = stack(tmp_path / "volume.tif", [10, 20, 30, 40])
    found = images_to_segment(volume, 1, context=1)
    assert [channels_of(sample) for sample in found] == [[10, 10, 20], [10, 20, 30], [20, 30, 40], [30, 40, 40]]
    found = images_to_segment(volume, 1, context=2)
    assert channels_of(found[1]) == [10, 10, 20, 30, 40]
    assert found[1].shown(found[1].read_image()).ravel().tolist() == [20] * 12


def test_files_of_a_folder_are_slices_by_the_numbers_in_their_names(tmp_path):
    for name, value in (("a/s_2", 2), ("a/s_10", 10), ("a/s_9", 9), ("b/s_11", 11)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", SIZE[::-1], value).save(tmp_path / f"{name}.png")
    found = {sample.name: channels_of(sample) for sample in images_to_segment(tmp_path, 1, context=1)}
    assert found == {"a/s_2": [2, 2, 9], "a/s_9": [2, 9, 10], "a/s_10": [9, 10, 10], "b/s_11": [11, 11, 11]}
    assert channels_of(images_to_segment(tmp_path / "a", 3, context=1)[0]) == [9, 9, 9, 10, 10, 10, 10, 10, 10]


def test_neighbors_of_another_size_are_refused(tmp_path):
    for number, width in ((1, 4), (2, 5)):
        Image.new("L", (width, 3)).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError, match=r"4 x 3 pixels of 1 channel as in .*1\.png; found 5 x 3 .*2\.png"):
        images_to_segment(tmp_path, 1, context=1)[0].read_image()
    with pytest.raises(UserError, match="a context of 0 to 10 slices; found 11"):
        images_to_segment(tmp_path, 1, context=11)


def test_three_slices_are_no_colors(tmp_path):
    opened = data.ImageFolder(
        stack(tmp_path / "v.tif", [1, 2]), stack(tmp_path / "m.tif", [0, 1]), context=1, classes=2
    )
    assert data.image_format(opened.train) == data.ImageFormat(3, "uint8", slices=3)
    assert not data.image_format(opened.train).is_color
    batches = data.training_batches(
        opened.train, opened.train, crop=3, batch_size=1, pipeline="workers", normalization=Centered, parallel_calls=0
    )
    assert batches.settings.views(data.image_format(opened.train)).policy == ChannelJitter(3, bounded=True)


class Centered:
    mean, std, reverse_channels = 0.0, 1.0, False


def sparse(tmp_path, values, **arguments):
    """Open a volume whose masks have these values; return the names of the labeled and of the unlabeled slices."""
    images = stack(tmp_path / "v.tif", range(len(values)))
    opened = data.ImageFolder(images, stack(tmp_path / "m.tif", values), classes=2, **arguments)
    return [[int(sample.name[-4:]) for sample in part] for part in (opened.train, opened.unlabeled)]


def test_ignored_slices_are_unlabeled_and_background_is_a_label(tmp_path):
    assert sparse(tmp_path, [0, 255, 1, 255]) == [[0, 2], [1, 3]]
    assert sparse(tmp_path, [0, 255, 1, 0], unlabeled_slices="empty") == [[2], [0, 1, 3]]
    background = data.Sample("a", tmp_path / "v.tif", data.MaskFile(tmp_path / "m.tif", 0))
    with pytest.raises(UserError, match="a labeled slice; found 1 slice, all empty: the first is .*m.tif, page 0"):
        labeled_and_unlabeled([background], "empty")
    with pytest.raises(UserError, match="ignored, empty, missing; found 'none'"):
        sparse(tmp_path, [0, 1], unlabeled_slices="none")


def test_slices_without_mask(tmp_path):
    for folder, names in (("images", "abc"), ("masks", "b")):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.fromarray(np.eye(3, dtype=np.uint8)).save(tmp_path / folder / f"{name}.png")
    places = tmp_path / "images", tmp_path / "masks"
    opened = data.ImageFolder(*places, unlabeled_slices="missing", context=1)
    assert [sample.name for sample in opened.train] == ["b"]
    assert [sample.name for sample in opened.unlabeled] == ["a", "c"]
    assert opened.train[0].read_image().shape == (3, 3, 3)
    with pytest.raises(UserError, match=r"no mask 'a\.\*'"):
        data.ImageFolder(*places)


def test_slices_are_held_out_as_one_block(tmp_path):
    images, masks = stack(tmp_path / "v.tif", range(12)), stack(tmp_path / "m.tif", [0, 1] * 6)
    starts = set()
    for seed in range(8):
        opened = data.ImageFolder(images, masks, hold_out=0.25, seed=seed, hold_out_block=True)
        held = [int(sample.name[-4:]) for sample in opened.val]
        assert held == [held[0], held[0] + 1, held[0] + 2]
        assert {sample.name for sample in opened.train}.isdisjoint(sample.name for sample in opened.val)
        starts.add(held[0])
    assert len(starts) > 2
    names = [f"s_{number}" for number in range(12)]
    assert block(names, 12, 0) == {*names}
    assert block(["s_1", "s_10", "s_2"], 2, 0) in ({"s_1", "s_2"}, {"s_2", "s_10"})
