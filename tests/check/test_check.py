from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import check as checks
from rankmatch_keras.check import check, check_samples, require_usable, without_bad
from rankmatch_keras.data.sets.loaders import CamVid, Lucchi
from rankmatch_keras.data.sets.samples import Sample, SegmentationData
from rankmatch_keras.errors import UserError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not on this machine")


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
    assert report.num_masks == 2
    assert report.class_pixels == (1, 2, 7) and report.ignored_pixels == 2


def test_wrong_value_names_file_value_and_remedy(sample):
    bad = [sample("a", [[0, 1, 0], [0, 0, 0]]), sample("b", [[0, 7, 0], [0, 7, 0]])]
    with pytest.raises(UserError, match=r"0\.\.2 or 255.*7 at 2 pixels of '.*b_mask.png'.*Correct the mask"):
        check_samples(bad, num_classes=3)


def test_size_mismatch(sample):
    with pytest.raises(UserError, match=r"large as its image \(3 x 2\).*2 x 3 in '.*a_mask.png'"):
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


WRONG = [[0, 7, 0], [0, 0, 0]]


def test_all_problems_are_listed_one_per_line(sample, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"x")
    bad = [sample("a", WRONG), sample("b", [[0, 1], [0, 0], [0, 0]]), Sample("broken", tmp_path / "broken.jpg")]
    with pytest.raises(UserError) as caught:
        check_samples(bad, num_classes=3)
    lines = str(caught.value).splitlines()
    assert ["broken.jpg" in lines[0], "b_mask.png" in lines[1], "a_mask.png" in lines[2]] == [True] * 3
    assert all(line.startswith("Expected ") for line in lines[:3]) and lines[3].startswith("3 problems")


def test_a_long_list_is_cut(sample):
    bad = [sample(f"{n:02d}", WRONG) for n in range(25)]
    with pytest.raises(UserError) as caught:
        check_samples(bad, num_classes=3)
    lines = str(caught.value).splitlines()
    assert len(lines) == 22 and "19_mask.png" in lines[19]
    assert lines[20] == "... and 5 more." and lines[21].startswith("25 problems")


def dataset(train, unlabeled=(), val=()):
    return SegmentationData("mini", tuple(train), tuple(val), ("a", "b", "c"), unlabeled=tuple(unlabeled))


def test_bad_samples_are_left_out(sample, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"x")
    good, wrong = sample("good", [[0, 1, 2], [0, 0, 0]]), sample("wrong", WRONG)
    broken = Sample("broken", tmp_path / "broken.jpg")
    report = check(dataset([good, wrong], [broken]), thorough=False)
    require_usable(report, skip_bad=True)
    with pytest.raises(UserError):
        require_usable(report)
    assert without_bad([good, wrong], report) == (good,)
    # The image of a wrong mask is a good unlabeled image; a broken image is none.
    bare = Sample("wrong", wrong.image)
    assert without_bad([bare, broken], report) == (bare,)
    assert without_bad([], report) == ()
    with pytest.raises(UserError, match="1 bad ones"):
        without_bad([broken], report)


def test_faults_of_the_whole_set_always_prevent_training(sample):
    report = check(dataset([sample("a", [[0, 255, 0], [0, 0, 255]])]), thorough=False)
    with pytest.raises(UserError, match="only 0 and 255"):
        require_usable(report, skip_bad=True)


def test_warnings_do_not_prevent_training(sample):
    require_usable(check(dataset([sample("a", [[255] * 3] * 2)])))


def test_one_bad_labeled_sample_of_one_is_nothing_to_train(sample):
    assert not check(dataset([sample("a", WRONG)], [sample("b", None)])).trainable
    assert check(dataset([sample("a", WRONG), sample("c", [[0, 1, 2]] * 2)])).trainable


def test_of_many_unlabeled_images_only_headers_are_read(sample, monkeypatch, tmp_path):
    labeled, bare = sample("a", [[0, 1, 2]] * 2), [sample(f"u{n}", None) for n in range(3)]
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "u1.png")
    damaged = bytearray((tmp_path / "u1.png").read_bytes())
    damaged[5000:5100] = bytes(100)
    (tmp_path / "u1.png").write_bytes(damaged)
    bare[1] = Sample("u1", tmp_path / "u1.png")
    assert check(dataset([labeled], bare), thorough=False).findings[0].kind == "image-unreadable"
    monkeypatch.setattr(checks, "QUICK_LIMIT", 2)
    (finding,) = check(dataset([labeled], bare), thorough=False).findings
    assert finding.kind == "not-decoded" and len(finding.names) == 3
    # A file that is cut off is found all the same.
    (tmp_path / "u1.png").write_bytes(damaged[:-2000])
    kinds = [finding.kind for finding in check(dataset([labeled], bare), thorough=False).findings]
    assert kinds == ["image-unreadable", "not-decoded"]


def test_progress_counts_every_sample(sample):
    counted = []
    check(dataset([sample("a", [[0, 1, 2]] * 2)], [sample("b", None)]), progress=lambda *c: counted.append(c))
    assert counted == [(1, 2), (2, 2)]


@needs_shared
def test_camvid_was_cut_within_one_recording():
    camvid = CamVid(SHARED / "camvid")
    last = [sample for sample in camvid.train if sample.name.startswith("0001TP")][-20:]
    report = check(replace(camvid, train=tuple(last), val=camvid.val[:20], test=camvid.test[:20]))
    (leak,) = [finding for finding in report.faults if finding.kind == "near-duplicates"]
    # The last frame for training and the first for testing are a second apart.
    assert [Path(name).name for name in leak.names] == ["0001TP_008550.jpg"]
    assert leak.details[0].endswith("0001TP_008520.jpg")
    assert not any(finding.severity == "error" for finding in report.findings)


@needs_shared
def test_slices_of_two_specimens_are_not_confused():
    lucchi = Lucchi(SHARED / "lucchi")
    report = check(replace(lucchi, train=lucchi.train[:15], val=lucchi.val[:15]))
    assert report.faults == () and report.ignored_pixels == 0
    (similar,) = report.findings
    assert (similar.kind, similar.severity) == ("similar-images", "note") and len(similar.names) >= 10
