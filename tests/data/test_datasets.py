from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import data
from rankmatch_keras.errors import UserError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not on this machine")


def save(path, value=0, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


@needs_shared
def test_camvid():
    camvid = data.CamVid(SHARED / "camvid")
    assert (len(camvid.train), len(camvid.val), len(camvid.test)) == (367, 101, 233)
    assert camvid.num_classes == 11 and camvid.class_names[8] == "car"
    assert all(s.image.stem == s.mask.stem == s.name for s in camvid.train)


@needs_shared
def test_lucchi():
    lucchi = data.Lucchi(SHARED / "lucchi")
    assert (len(lucchi.train), len(lucchi.val)) == (165, 83)
    assert lucchi.class_names == ("background", "mitochondrion")
    assert set(np.unique(data.read_mask(lucchi.train[0].mask))) == {0, 1}


@needs_shared
def test_pascal_voc():
    voc = data.PascalVOC(SHARED / "voc2012_subset")
    assert (len(voc.train), len(voc.val), voc.num_classes) == (311, 321, 21)
    assert not {s.name for s in voc.train} & {s.name for s in voc.val}
    data.check_samples(voc.train[:5], 21)


def test_sample_scenes():
    scenes = data.SampleScenes(SAMPLE)
    assert (len(scenes.train), len(scenes.val), scenes.num_classes) == (128, 40, 5)
    assert min(data.check_samples(scenes.train, 5).class_pixels) > 10_000


def test_image_folder_matches_stems_whatever_the_ending(tmp_path):
    for name in ("b.JPG", "a.jpeg", "c.tif", "d.TIFF", "e.png"):
        save(tmp_path / "images" / name)
    for name in ("a.png", "b.PNG", "c.tif", "d.tiff", "e.png", "unused.png"):
        save(tmp_path / "masks" / name)
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    save(tmp_path / "more" / "u.jpg")
    found = data.ImageFolder(tmp_path / "images", tmp_path / "masks", tmp_path / "more", classes=["no", "yes"])
    assert [s.name for s in found.train] == ["a", "b", "c", "d", "e"]
    assert found.train[1].image.name == "b.JPG" and found.train[1].mask.name == "b.PNG"
    assert found.unlabeled == (data.Sample("u", tmp_path / "more" / "u.jpg", None),)
    assert found.val == ()
    assert data.ImageFolder(tmp_path / "images", tmp_path / "masks", classes=3).num_classes == 3


def test_image_without_mask_is_named(tmp_path):
    save(tmp_path / "images/a.png")
    save(tmp_path / "images/b.png")
    save(tmp_path / "masks/a.png")
    with pytest.raises(UserError, match=r"no mask 'b\.\*'.*b\.png.*unlabelled folder"):
        data.ImageFolder(tmp_path / "images", tmp_path / "masks", classes=2)


def test_two_files_of_one_name_are_refused(tmp_path):
    save(tmp_path / "images/a.png")
    save(tmp_path / "images/a.jpg")
    with pytest.raises(UserError, match="'a.jpg' and 'a.png'"):
        data.ImageFolder(tmp_path / "images", tmp_path / "images", classes=2)


@pytest.mark.parametrize("build", [data.Lucchi, data.CamVid, data.PascalVOC, data.SampleScenes])
def test_missing_folders_are_named(build, tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        build(tmp_path)


def test_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="none of them in"):
        data.ImageFolder(tmp_path, tmp_path, classes=2)


def test_pascal_voc_counts_missing_files(tmp_path):
    for part in ("train", "val"):
        path = tmp_path / f"ImageSets/Segmentation/{part}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("2007_000001\n2007_000002\n")
    with pytest.raises(UserError, match="4 missing: .*2007_000001.jpg"):
        data.PascalVOC(tmp_path)


@pytest.mark.parametrize("classes", [1, ["only"], "ab", ["a", "a"], 256])
def test_bad_classes(classes, tmp_path):
    save(tmp_path / "a.png")
    with pytest.raises(UserError, match="class names"):
        data.ImageFolder(tmp_path, tmp_path, classes=classes)


def test_validation_needs_both_folders(tmp_path):
    with pytest.raises(UserError, match="only val_images"):
        data.ImageFolder(tmp_path, tmp_path, classes=2, val_images=tmp_path)
