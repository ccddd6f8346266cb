import json

import numpy as np
import pytest

from rankmatch_keras.check import check
from rankmatch_keras.check.report import check_to_dict, format_check
from rankmatch_keras.data.readers.sources import Array
from rankmatch_keras.data.sets.samples import Sample, SegmentationData

pytestmark = pytest.mark.once


def sample(name, image, mask=None):
    return Sample(
        name, Array(image, f"/data/{name}.png"), None if mask is None else Array(mask, f"/data/{name}-mask.png")
    )


def picture(seed, size=(6, 8)):
    return np.random.default_rng(seed).integers(0, 200, (*size, 3)).astype(np.uint8)


def mask(*rows):
    return np.array(rows, np.int32).repeat(3, 0).repeat(4, 1)  # 2 x 2 values to 6 x 8


GOOD = mask([0, 1], [1, 255])
CLASSES = ("ground", "größe")


@pytest.fixture
def report():
    train = [sample(f"t{n}", picture(n), GOOD) for n in range(2)]
    train += [sample(f"wrong{n}", picture(10 + n), mask([0, 7], [7, 7])) for n in range(7)]
    val = [
        sample("v", picture(1), mask([1, 1], [1, 1])),
        sample("w", np.full((4, 9, 3), 3, np.uint8), np.ones((4, 9), int)),
    ]
    return check(SegmentationData("mini", tuple(train), tuple(val), CLASSES))


def test_text(report):
    text = format_check(report)
    lines = text.splitlines()
    assert lines[0] == "mini: 9 labeled, 2 validation; 2 classes"
    assert "labeled     9 images (7 bad), all 8 x 6, uint8 in 3 channels" in lines
    assert any(line.startswith("validation  2 images, 2 sizes: 8 to 9 wide, 4 to 6 high, uint8") for line in lines)
    # One of three counted quarters is ground in the good masks.
    assert any(line.split() == ["ground", "33.333", "2", "0.000", "0"] for line in lines)
    assert any(line.split() == ["größe", "66.667", "2", "100.000", "2"] for line in lines)
    assert "Ignored (255), left out of the percentages: 25.000 % of labeled, 0.000 % of validation" in lines
    assert "File names are relative to /data/." in lines and "Findings: 3" in lines


def test_findings_show_number_five_names_and_remedy(report):
    lines = format_check(report).splitlines()
    start = lines.index("ERROR mask-values: Masks with values of no class: 7")
    assert lines[start + 1] == "  7 at 36 pixels of 'wrong0-mask.png'"
    assert lines[start + 6] == "  ... and 2 more"
    assert lines[start + 7].startswith("  -> Correct the masks")
    assert "  v.png: validation, like labeled t1.png" in lines
    assert "  ground: in none of the 2 validation masks" in lines
    # What is no fault comes after all faults.
    notes = lines.index("Notes (not faults by themselves)")
    assert [line for line in lines[notes:] if line.startswith(("ERROR", "WARNING"))] == []
    assert "Images of a single value: 1" in lines[notes:]


def test_a_clean_set_says_so():
    report = check(SegmentationData("mini", (sample("t", picture(0), GOOD),), (), CLASSES))
    assert format_check(report).endswith("No findings.")


def test_without_masks_or_images():
    bare = check(SegmentationData("mini", (), (), CLASSES, unlabeled=(sample("u", picture(0)),)))
    assert "No masks that could be counted." in format_check(bare)
    assert "no images" in format_check(check(SegmentationData("mini", (), (), CLASSES)))


def test_classes_that_occur_nowhere_do_not_fill_a_long_table():
    names = tuple(f"class {n}" for n in range(200))
    text = format_check(check(SegmentationData("mini", (sample("t", picture(0), GOOD),), (), names)))
    table = text[text.index("-----") : text.index("Ignored (255)")].splitlines()[1:]
    assert [line.split()[:2] for line in table] == [["class", "0"], ["class", "1"], ["and", "198"]]


def test_json_holds_everything(report):
    content = json.loads(json.dumps(check_to_dict(report), allow_nan=False))
    assert content["classes"] == list(CLASSES) and list(content["parts"]) == ["labelled", "validation"]
    labeled = content["parts"]["labelled"]
    assert (labeled["images"], labeled["masks"], labeled["usable"]) == (9, 9, 2)
    assert labeled["sizes"] == {"8 x 6": 9} and labeled["pixels"] == {"uint8 x 3": 9}
    # Two good masks of four quarters of 12 pixels: one ground, two of the other class, one ignored.
    assert (labeled["class_pixels"], labeled["class_images"], labeled["ignored_pixels"]) == ([24, 48], [2, 2], 24)
    images = np.stack([picture(n) for n in (0, 1, *range(10, 17))])
    assert labeled["channels"][1]["mean"] == pytest.approx(images[..., 1].mean())
    assert labeled["channels"][2] == {"min": images[..., 2].min(), "max": images[..., 2].max()} | {
        "mean": pytest.approx(images[..., 2].mean())
    }
    wrong = next(f for f in content["findings"] if f["kind"] == "mask-values")
    assert wrong["count"] == 7 and wrong["names"] == [f"/data/wrong{n}-mask.png" for n in range(7)]
    assert wrong["severity"] == "error" and len(wrong["details"]) == 7 and wrong["remedy"]


def test_names_cannot_command_the_terminal():
    image = np.full((4, 4, 3), 5, np.uint8)
    evil = Sample("a", Array(image, "a\x1b[2J\udc80.png"))
    report = check(SegmentationData("mini", (), (), CLASSES, unlabeled=(evil,)))
    text = format_check(report)
    assert "a\\x1b[2J\\udc80.png: value 5/5/5" in text
    text.encode()
    json.dumps(check_to_dict(report), ensure_ascii=False).encode()
