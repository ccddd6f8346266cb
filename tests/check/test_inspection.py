import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.check.inspection import inspect, inspect_header
from rankmatch_keras.data.readers.sources import Array
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.errors import UserError


def arrays(image, mask=None):
    masked = None if mask is None else Array(np.array(mask, np.int32), "mask")
    return Sample("a", Array(np.array(image), "image"), masked)


IMAGE = np.array([[[0, 10], [2, 20]], [[4, 30], [6, 90]], [[0, 0], [0, 30]]], np.uint8)  # 3 high, 2 wide, 2 channels


def kinds(seen):
    return [problem.kind for problem in seen.problems]


def test_facts_of_a_good_sample():
    seen = inspect(arrays(IMAGE, [[0, 1], [1, 1], [255, 2]]), "labeled", num_classes=3)
    assert (seen.part, seen.size, seen.pixels, seen.problems) == ("labeled", (3, 2), ("uint8", 2), ())
    assert (seen.low, seen.high, seen.mean) == ((0, 0), (6, 90), (2, 30))  # 12 / 6 and 180 / 6
    assert seen.class_pixels.tolist() == [1, 3, 1] + [0] * 252 + [1]
    assert seen.fingerprint is not None


def test_without_comparison_only_faults_are_sought():
    seen = inspect(arrays(IMAGE), "unlabeled", 3, compare=False)
    assert (seen.size, seen.low, seen.fingerprint, seen.class_pixels) == ((3, 2), (), None, None)
    assert kinds(inspect(arrays(IMAGE, [[9, 9]]), "labeled", 3, compare=False)) == ["mask-size", "mask-values"]


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        ([[0, 3], [0, 0], [0, 3]], "3 at 2 pixels of 'mask'"),
        ([[-1, 3], [256, 0], [0, 255]], "-1, 3, 256 at 3 pixels of 'mask'"),
        ([[7, 8], [9, 10], [11, 12]], "7, 8, 9, 10, ... at 6 pixels of 'mask'"),
    ],
)
def test_mask_values(mask, found):
    seen = inspect(arrays(IMAGE, mask), "labeled", num_classes=3)
    assert kinds(seen) == ["mask-values"] and seen.class_pixels is None
    assert seen.problems[0].error.found == found
    assert "0..2 or 255" in str(seen.problems[0].error)


def test_every_problem_of_a_sample_is_kept(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"x")
    seen = inspect(Sample("a", tmp_path / "broken.png", tmp_path / "gone.png"), "labeled", 2)
    assert kinds(seen) == ["image-unreadable", "mask-unreadable"]
    assert "broken.png" in seen.problems[0].error.found and "gone.png" in seen.problems[1].error.found


def test_undefined_pixels():
    image = np.ones((2, 2, 3), np.float32)
    image[0, 0] = -np.inf
    image[1, 1, 2] = np.inf
    seen = inspect(arrays(image), "unlabeled", 2)
    assert kinds(seen) == ["image-values"] and "at 2 pixels of 'image'" in seen.problems[0].error.found


def test_pixels_without_data_are_measured_apart():
    image = np.random.default_rng(0).normal(300, 20, (20, 30, 2)).astype(np.float32)
    image[:, :3, 1] = np.nan
    seen = inspect(arrays(image), "unlabeled", 2)
    assert not seen.problems and seen.no_data == pytest.approx(0.1) and seen.far_value is None
    assert np.isfinite([*seen.low, *seen.high, *seen.mean, *seen.fingerprint.thumbnail]).all()
    for nothing in (image[:, :3], np.full((2, 2, 1), np.nan, np.float32)):
        seen = inspect(arrays(nothing), "unlabeled", 2)
        assert not seen.problems and seen.no_data == 1.0 and not seen.low


@pytest.mark.parametrize("value, share, found", [(-9999, 0.2, 1), (9999, 0.02, 1), (-9999, 0.005, 0), (350, 0.2, 0)])
def test_a_value_far_from_all_others(value, share, found):
    image = np.random.default_rng(0).normal(300, 20, (40, 50, 2)).astype(np.float32)
    image[:, :, 1].flat[: int(share * 2000)] = value
    seen = inspect(arrays(image), "unlabeled", 2)
    assert seen.far_value == ((value, pytest.approx(share)) if found else None)


class Stranger:
    """A source written by a user."""

    def __init__(self, result):
        self.result = result

    def read(self):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.mark.parametrize(
    "result", [OSError("disk"), ValueError(), MemoryError(), np.zeros((2, 2)), np.zeros((0, 2, 3))]
)
def test_an_error_of_a_strange_source_is_a_problem(result):
    seen = inspect(Sample("a", Stranger(result)), "unlabeled", 2)
    assert kinds(seen) == ["image-unreadable"] and isinstance(seen.problems[0].error, UserError)


def test_headers(tmp_path):
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"x")
    assert inspect_header(Sample("a", tmp_path / "a.png"), "unlabeled").problems == ()
    assert kinds(inspect_header(Sample("b", tmp_path / "b.png"), "unlabeled")) == ["image-unreadable"]
    assert kinds(inspect_header(Sample("c", tmp_path / "c.png"), "unlabeled")) == ["image-unreadable"]
    assert kinds(inspect_header(Sample("d", Stranger(OSError("disk"))), "unlabeled")) == ["image-unreadable"]
