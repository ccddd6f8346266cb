import os

import numpy as np
import pytest
import tifffile
from PIL import Image

from rankmatch_keras.data.readers.folders import (
    Picture,
    files_not_read,
    masks_by_name,
    not_read,
    pictures_by_name,
    require_files,
    require_masks,
)
from rankmatch_keras.data.readers.sources import ImageFile
from rankmatch_keras.data.sets.image_folder import images_to_segment
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.errors import UserError


def save(*paths, value=0):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 6), value, np.uint8)).save(path)


def save_stack(path, pages):
    path.parent.mkdir(parents=True, exist_ok=True)
    stack = np.arange(pages, dtype=np.uint8)[:, None, None] + np.zeros((pages, 8, 16), np.uint8)
    tifffile.imwrite(path, stack, photometric="minisblack")


def matched(images, masks):
    """Return image and mask by name."""
    pictures = pictures_by_name(images)
    found = masks_by_name(masks, images, pictures)
    require_masks(pictures, found, masks)
    return {name: (picture, found[name]) for name, picture in pictures.items()}


def test_names_are_paths_without_ending(tmp_path):
    save(tmp_path / "b.JPG", tmp_path / "a.b.png", tmp_path / "sub/deep/a.TIFF", tmp_path / ".hidden.png")
    save(tmp_path / ".hidden/c.png", tmp_path / "folder.png/d.jpeg")
    (tmp_path / "notes.txt").write_text("no image")
    assert pictures_by_name(tmp_path) == {
        "a.b": Picture(tmp_path / "a.b.png"),
        "b": Picture(tmp_path / "b.JPG"),
        "folder.png/d": Picture(tmp_path / "folder.png/d.jpeg"),
        "sub/deep/a": Picture(tmp_path / "sub/deep/a.TIFF"),
    }
    assert list(pictures_by_name(tmp_path)) == ["a.b", "b", "folder.png/d", "sub/deep/a"]


def test_all_endings_are_found_and_previews_are_not(tmp_path):
    endings = ["jpg", "jpeg", "jpe", "jfif", "png", "tif", "tiff", "bmp", "webp", "GIF"]
    save(*(tmp_path / f"{ending}_picture.{ending}" for ending in endings), tmp_path / "png_picture.gif")
    (tmp_path / "notes.txt").write_text("no image")
    assert len(pictures_by_name(tmp_path)) == 10
    assert pictures_by_name(tmp_path)["png_picture"].path.suffix == ".png"
    assert files_not_read(tmp_path) == [tmp_path / "png_picture.gif"]


def test_files_that_are_not_read_are_counted_and_named(tmp_path):
    for name in ("a.heic", "b.HEIC", "c.nd2"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"found only 2 \.heic, 1 \.nd2 in "):
        pictures_by_name(tmp_path)
    assert "2 .heic, 1 .nd2, such as '" in not_read(tmp_path) and "a.heic" in not_read(tmp_path)
    assert not_read(tmp_path / "none") is None


def test_pages_of_stacks(tmp_path):
    save(tmp_path / "s/one.tif")
    save_stack(tmp_path / "s/many.tif", 12)
    found = pictures_by_name(tmp_path)
    assert len(found) == 13 and found["s/one"].page is None
    assert found["s/many/0011"] == Picture(tmp_path / "s/many.tif", 11)
    assert str(found["s/many/0011"]) == f"{tmp_path}/s/many.tif, page 11"
    alone = pictures_by_name(tmp_path / "s/many.tif")
    assert list(alone) == [f"many/{page:04d}" for page in range(12)]
    samples = images_to_segment(tmp_path / "s/many.tif", channels=1)
    assert samples[7] == Sample("many/0007", ImageFile(tmp_path / "s/many.tif", 7, 1))
    assert np.unique(samples[7].read_image()).tolist() == [7]


def test_two_stacks_are_matched_by_page(tmp_path):
    save_stack(tmp_path / "train.tif", 5)
    save_stack(tmp_path / "groundtruth.tif", 5)
    save_stack(tmp_path / "short.tif", 3)
    pairs = matched(tmp_path / "train.tif", tmp_path / "groundtruth.tif")
    assert list(pairs) == [f"train/000{page}" for page in range(5)]
    assert pairs["train/0004"] == (Picture(tmp_path / "train.tif", 4), Picture(tmp_path / "groundtruth.tif", 4))
    with pytest.raises(UserError, match="5 in '.*train.tif' and 3 in '.*short.tif'"):
        matched(tmp_path / "train.tif", tmp_path / "short.tif")


def test_stacks_in_folders_are_matched_by_name(tmp_path):
    save_stack(tmp_path / "images/a.tif", 3)
    save(tmp_path / "images/b.jpg")
    save_stack(tmp_path / "masks/a.tiff", 3)
    save(tmp_path / "masks/b.png")
    assert list(matched(tmp_path / "images", tmp_path / "masks")) == ["a/0000", "a/0001", "a/0002", "b"]
    save_stack(tmp_path / "masks/a.tiff", 2)
    with pytest.raises(UserError, match=r"no mask 'a/0002\.\*' in .* for '.*a.tif, page 2'"):
        matched(tmp_path / "images", tmp_path / "masks")


def test_masks_are_matched_whatever_the_ending(tmp_path):
    save(*(tmp_path / "images" / name for name in ("b.JPG", "a.jpeg", "c.tif", "sub/e.png")))
    save(*(tmp_path / "masks" / name for name in ("a.png", "b.PNG", "c.tiff", "sub/e.jpg", "unused.png")))
    pairs = matched(tmp_path / "images", tmp_path / "masks")
    assert list(pairs) == ["a", "b", "c", "sub/e"]
    assert pairs["b"] == (Picture(tmp_path / "images/b.JPG"), Picture(tmp_path / "masks/b.PNG"))


def test_image_without_mask_is_named(tmp_path):
    save(tmp_path / "images/a.png", tmp_path / "images/b.png", tmp_path / "masks/a.png", tmp_path / "masks/sub/b.png")
    with pytest.raises(UserError, match=r"no mask 'b\.\*'.*b\.png.*1 such.*unlabeled folder"):
        matched(tmp_path / "images", tmp_path / "masks")


def test_two_files_of_one_name_are_refused(tmp_path):
    save(tmp_path / "a.png", tmp_path / "a.jpg")
    with pytest.raises(UserError, match="'a.jpg' and 'a.png' in"):
        pictures_by_name(tmp_path)
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "a.png").unlink()
    save(tmp_path / "s/0001.png")
    save_stack(tmp_path / "s.tif", 3)
    with pytest.raises(UserError, match="'s/0001.png' and 's.tif' in|'s.tif' and 's/0001.png' in"):
        pictures_by_name(tmp_path)


def test_places_without_pictures(tmp_path):
    with pytest.raises(UserError, match="folder of masks.*nothing at '.*gone'"):
        pictures_by_name(tmp_path / "gone", "masks")
    with pytest.raises(UserError, match="none of them in"):
        pictures_by_name(tmp_path)
    save(tmp_path / "a.png")
    with pytest.raises(UserError, match="or a TIFF stack or NIfTI volume; found a file at"):
        pictures_by_name(tmp_path / "a.png")
    (tmp_path / "b.tif").write_bytes(b"II*\0broken")
    with pytest.raises(UserError, match="b.tif"):
        pictures_by_name(tmp_path / "b.tif")
    # One of many is listed: whoever reads it says what is wrong with it.
    assert str(pictures_by_name(tmp_path)["b"]) == str(tmp_path / "b.tif")


def test_links(tmp_path):
    save(tmp_path / "elsewhere/a.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/b.png").symlink_to(tmp_path / "elsewhere/a.png")
    (tmp_path / "linked").symlink_to(tmp_path / "images")
    assert list(pictures_by_name(tmp_path / "images")) == list(pictures_by_name(tmp_path / "linked")) == ["b"]
    (tmp_path / "images/loop").symlink_to(tmp_path / "images")
    with pytest.raises(UserError, match="images/loop', a link to a folder"):
        pictures_by_name(tmp_path / "images")
    (tmp_path / "images/loop").unlink()
    for target in ("nowhere.png", "c.png"):  # the second is a link to itself
        (tmp_path / "images/c.png").symlink_to(tmp_path / "images" / target)
        with pytest.raises(UserError, match="c.png', a link that leads nowhere"):
            pictures_by_name(tmp_path / "images")
        (tmp_path / "images/c.png").unlink()


def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserError, match="a.png', no regular file"):
        pictures_by_name(tmp_path)


def test_unreadable_folders_are_named(tmp_path, monkeypatch):
    save(tmp_path / "a.png", tmp_path / "locked/b.png")
    scandir = os.scandir

    def fail(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(UserError, match="Permission denied: '.*locked'"):
        pictures_by_name(tmp_path)


@pytest.mark.parametrize(
    "name", ["two\nlines.png", "bell\a.png", "tab\t.png", os.fsdecode(b"latin\xe9.png"), "x\u2028y.png"]
)
def test_names_that_break_lists_are_refused(tmp_path, name):
    save(tmp_path / name)
    with pytest.raises(UserError, match="file names of one line") as error:
        pictures_by_name(tmp_path)
    assert str(error.value).isprintable()


def test_any_other_text_is_a_name(tmp_path):
    names = ["Zellgewebe ä ö", "細胞", "a\u202fb", "emoji 👩\u200d🔬", "a'b\"c", "#%$"]
    save(*(tmp_path / f"images/{name}.png" for name in names))
    assert sorted(pictures_by_name(tmp_path / "images")) == sorted(names)


def test_accents_match_however_they_are_composed(tmp_path):
    save(tmp_path / "images/e\u0301.png", tmp_path / "masks/\u00e9.png")
    assert list(matched(tmp_path / "images", tmp_path / "masks")) == ["\u00e9"]


def test_masks_of_a_stack_keep_their_own_names_in_a_folder(tmp_path):
    save_stack(tmp_path / "train.tif", 2)
    save(tmp_path / "masks/train/0000.png", tmp_path / "masks/train/0001.png")
    found = masks_by_name(tmp_path / "masks", tmp_path / "train.tif", pictures_by_name(tmp_path / "train.tif"))
    assert list(found) == ["train/0000", "train/0001"]


def test_missing_files_are_counted(tmp_path):
    save(tmp_path / "a.png")
    require_files([tmp_path / "a.png"], "list")
    with pytest.raises(UserError, match="'list'; found 7 missing: .*'.*/4.png', ...") as error:
        require_files([tmp_path / f"{n}.png" for n in range(7)], "list")
    assert "5.png" not in str(error.value)


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000, "a\0b", "\ud800"])
def test_places_that_cannot_be_are_refused(name, tmp_path):
    with pytest.raises(UserError, match="nothing at"):
        pictures_by_name(tmp_path / name)
    with pytest.raises(UserError, match="1 missing"):
        require_files([tmp_path / name], "a list")
