from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.data.checks import check_samples
from rankmatch_keras.data.samples import Sample
from rankmatch_keras.errors import UserError


@pytest.fixture
def sample(tmp_path):
    """Return a function that writes an image and a mask and returns their sample."""

    def write(name, mask, image_size=(2, 3)):
        Image.fromarray(np.zeros((*image_size, 3), np.uint8)).save(tmp_path / f"{name}.jpg")
        if mask is None:
            return Sample(name, tmp_path / f"{name}.jpg")
        Image.fromarray(np.array(mask, np.uint8)).save(tmp_path / f"{name}_mask.png")
        return Sample(name, tmp_path / f"{name}.jpg", tmp_path / f"{name}_mask.png")

    return write


def test_counts(sample):
    good = [sample("a", [[0, 1, 1], [2, 255, 255]]), sample("b", None), sample("c", [[2, 2, 2], [2, 2, 2]])]
    report = check_samples(good, num_classes=3)
    assert (report.num_images, report.num_masks) == (3, 2)
    assert report.class_pixels == (1, 2, 7) and report.ignored_pixels == 2


def test_wrong_value_names_file_value_and_remedy(sample):
    bad = [sample("a", [[0, 1, 0], [0, 0, 0]]), sample("b", [[0, 7, 0], [0, 7, 0]])]
    with pytest.raises(UserError, match=r"0\.\.2 or 255.*7 at 2 pixels of '.*b_mask.png'.*Correct the mask"):
        check_samples(bad, num_classes=3)


def test_size_mismatch(sample):
    with pytest.raises(UserError, match=r"size of its image \(3 x 2\).*2 x 3 in '.*a_mask.png'"):
        check_samples([sample("a", [[0, 1], [0, 0], [0, 0]])], num_classes=2)


def test_unreadable(sample, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match="broken.jpg"):
        check_samples([sample("a", None), Sample("broken", tmp_path / "broken.jpg")], num_classes=2)
    with pytest.raises(UserError, match="gone.png"):
        check_samples([Sample("a", tmp_path / "a.jpg", Path("gone.png"))], num_classes=2)


def test_black_and_white_masks_are_not_taken_for_ignore(sample):
    with pytest.raises(UserError, match="only 0 and 255.*save 1 in place of 255"):
        check_samples([sample("a", [[0, 255, 0], [0, 0, 255]])], num_classes=2)


def test_empty_list():
    with pytest.raises(UserError, match="an empty list"):
        check_samples([], num_classes=2)
