"""Every kind of finding, provoked in a miniature set, with its exact names and details."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from rankmatch_keras.check import check, remarks_of
from rankmatch_keras.check.kinds import ERROR, KINDS, NOTE, WARNING
from rankmatch_keras.data.readers.folders import Picture
from rankmatch_keras.data.readers.slices import image_files
from rankmatch_keras.data.readers.sources import Array, Remark
from rankmatch_keras.data.sets.samples import Sample, SegmentationData

CLASSES = ("ground", "cell", "edge")
MASK = [[0, 1, 2, 255], [0, 1, 2, 255], [0, 0, 1, 1]]


def picture(seed, channels=3, dtype=np.uint8):
    """Make a 12 x 12 picture like no other, with a coarse structure of its seed."""
    values = np.random.default_rng(seed).integers(0, 200, (3, 4, channels))
    return np.repeat(np.repeat(values, 4, 0), 3, 1).astype(dtype)


def sample(name, image, mask=None):
    if mask is not None:
        # Each value of a mask covers 4 x 3 pixels.
        mask = Array(np.repeat(np.repeat(np.array(mask, np.int32), 4, 0), 3, 1), f"{name}-mask")
    return Sample(name, Array(image, name), mask)


def data(train, val=(), unlabeled=(), test=()):
    return SegmentationData("mini", tuple(train), tuple(val), CLASSES, tuple(unlabeled), tuple(test))


def found(dataset):
    return {finding.kind: finding for finding in check(dataset).findings}


def clean():
    return {
        "train": [sample(f"t{n}", picture(n), MASK) for n in range(3)],
        "val": [sample(f"v{n}", picture(10 + n), MASK) for n in range(2)],
        "unlabeled": [sample(f"u{n}", picture(20 + n)) for n in range(3)],
        "test": [sample("x0", picture(30), MASK)],
    }


def test_a_clean_set_has_no_findings():
    report = check(data(**clean()))
    assert report.findings == () and report.faults == () and report.trainable
    assert (len(report.inspections), report.num_masks) == (9, 6)
    assert report.class_pixels == tuple(6 * 12 * n for n in (4, 4, 2)) and report.ignored_pixels == 6 * 12 * 2


def bad(image=None, mask=None):
    return sample("bad", picture(99) if image is None else image, MASK if mask is None else mask)


BACKGROUND = np.zeros((3, 4), int)
FAULTS = {
    "mask-size": (bad(mask=[[0, 1], [1, 2]]), "bad-mask", "6 x 8 in 'bad-mask'"),
    "mask-values": (bad(mask=[*MASK[:2], [0, 0, 3, 9]]), "bad-mask", "3, 9 at 24 pixels of 'bad-mask'"),
    "mixed-channels": (bad(picture(99, channels=5)), "bad", "5 channels"),
    "mixed-depth": (bad(picture(99, dtype=np.float32)), "bad", "float32"),
    "ignored-mask": (bad(mask=BACKGROUND + 255), "bad-mask", ""),
    "background-mask": (bad(mask=BACKGROUND), "bad-mask", "only ground"),
    "shared-images": (bad(picture(11)), "v1", "validation, like labeled bad"),
    "near-duplicates": (bad(picture(11) + np.uint8(9)), "v1", "validation, like labeled bad"),
    "plain-image": (bad(np.full((12, 12, 3), 7, np.uint8)), "bad", "value 7/7/7"),
    "labeled-and-unlabeled": (bad(picture(21)), "u1", "unlabeled, like labeled bad"),
    "repeated-images": (bad(picture(1)), "bad", "labeled, like labeled t1"),
    "similar-images": (bad(picture(1) + np.uint8(9)), "bad", "labeled, like labeled t1"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_one_bad_labeled_sample_is_one_finding(kind):
    one, name, detail = FAULTS[kind]
    parts = clean()
    parts["train"].append(one)
    findings = found(data(**parts))
    assert findings.keys() == {kind}
    assert (findings[kind].names, findings[kind].details) == ((name,), (detail,))
    assert findings[kind].severity == KINDS[kind][0] and findings[kind].remedy == KINDS[kind][2]


def test_undefined_pixels():
    train = [sample(f"t{n}", picture(n, dtype=np.float32), MASK) for n in range(3)]
    train[1].image.values[0, 0] = np.inf
    findings = found(data(train))
    assert findings.keys() == {"image-values"} and findings["image-values"].names == ("t1",)


@pytest.mark.parametrize(
    "size, of_image, of_mask, found_it",
    [
        ((24, 16), 3, 1, True),
        ((24, 16), 2, 1, True),
        ((16, 16), 6, 1, True),
        ((24, 16), 1, 3, True),
        ((24, 16), 3, 3, False),
        ((24, 16), 1, 1, False),
        ((24, 16), 6, 1, False),  # the size shows that the mask is upright
    ],
)
def test_image_and_mask_that_are_turned_differently(tmp_path, size, of_image, of_mask, found_it):
    pixels = np.random.default_rng(0).integers(0, 2, size[::-1], dtype=np.uint8)

    def save(name, orientation, values):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(values).save(tmp_path / name, exif=exif)
        return tmp_path / name

    # Where only the image's sides are exchanged, a fitting mask has the upright size.
    mask = pixels.T.copy() if of_image > 4 and of_mask < 5 else pixels
    files = Sample("a", save("a.png", of_image, pixels * 200), save("m.png", of_mask, mask))
    findings = found(data([files, sample("b", picture(1, channels=1), MASK)]))
    assert ("turned-differently" in findings) == found_it
    if found_it:
        assert findings["turned-differently"].details == (f"orientation {of_image}, its mask {of_mask}",)


def test_pixels_without_data_and_values_that_stand_for_it():
    train = [sample(f"t{n}", picture(n, dtype=np.float32), MASK) for n in range(4)]
    train[1].image.values[0] = np.nan
    train[2].image.values[0] = -9999
    train[3].image.values[:] = np.nan
    findings = found(data(train))
    assert findings.keys() >= {"far-value", "no-data", "nothing-but-no-data"}
    assert findings["nothing-but-no-data"].names == ("t3",)
    assert findings["no-data"].names == ("t1",) and findings["far-value"].names == ("t2",)
    assert "-9999 at " in findings["far-value"].details[0]


def test_missing_files(tmp_path):
    parts = clean()
    parts["train"].append(Sample("a", tmp_path / "größe.png", tmp_path / "マスク.png"))
    findings = found(data(**parts))
    assert findings.keys() == {"image-unreadable", "mask-unreadable"}
    assert findings["image-unreadable"].names == (str(tmp_path / "größe.png"),)
    assert findings["mask-unreadable"].names == (str(tmp_path / "マスク.png"),)


def test_images_without_mask():
    parts = clean()
    parts["train"].append(sample("t9", picture(77)))
    parts["val"].append(sample("v9", picture(78)))
    findings = found(data(**parts))
    assert findings.keys() == {"mask-missing"} and findings["mask-missing"].names == ("t9", "v9")
    assert [str(error) for error in findings["mask-missing"].errors] == [
        f"Expected a mask for every labeled image; found none for '{name}'. Add it." for name in ("t9", "v9")
    ]


def test_black_and_white_masks():
    train = [sample(f"t{n}", picture(n), [[0, 0, 255, 255]] * 3) for n in range(3)]
    findings = found(data(train))
    assert findings.keys() == {"black-and-white", "background-mask", "absent-class"}
    assert findings["black-and-white"].names == ("t0-mask", "t1-mask", "t2-mask")
    assert "only 0 and 255" in str(findings["black-and-white"].errors[0])


def test_validation_or_test_masks_that_are_black_and_white():
    """Only 0 and 255 there, where labeled masks hold ids and never both: scores would leave out every object."""
    ids, white = [[0, 1, 2, 0]] * 3, [[0, 0, 255, 255]] * 3
    for part, name in (("val", "validation"), ("test", "test")):
        parts = clean() | {
            "train": [sample("t0", picture(0), ids), sample("t1", picture(1), ids)],
            "val": [],
            "test": [],
        }
        parts[part] = [sample("w0", picture(50), white), sample("w1", picture(51), white)]
        (error,) = found(data(**parts))["black-and-white"].errors
        assert f"only 0 and 255 (ignore) in all 2 {name} masks" in str(error)
        parts["train"][1] = sample("t1", picture(1), MASK)  # holds an id beside 255, which therefore means ignore
        assert "black-and-white" not in found(data(**parts))


def test_what_masks_say_about_how_they_are_read():
    class Talking(Array):
        def remarks(self):
            return [Remark("mask-transparent", "7 transparent pixels read as not drawn")]

    parts = clean()
    mask = Talking(parts["train"][1].mask.values, "talking")
    parts["train"][1] = Sample("t1", parts["train"][1].image, mask)
    report = check(data(**parts))
    (finding,) = report.findings
    assert (finding.kind, finding.severity, finding.names) == ("mask-transparent", WARNING, ("talking",))
    (line,) = remarks_of(report)
    assert line.startswith("Masks with transparent pixels") and "talking (7 transparent pixels read as" in line


def test_an_alpha_band_of_an_image_that_varies(tmp_path):
    """Near infrared tagged as alpha would be lost without a word; a constant alpha says nothing."""
    bands = np.random.default_rng(0).integers(0, 9000, (12, 12, 4)).astype(np.uint16)
    options = {"photometric": "rgb", "extrasamples": ["unassalpha"], "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", bands, **options)
    tifffile.imwrite(
        tmp_path / "b.tif", np.dstack([bands[::-1, ::2].repeat(2, 1)[..., :3], bands[..., 3] * 0 + 9]), **options
    )
    mask = sample("t", picture(0), MASK).mask
    parts = {"train": [Sample(name, tmp_path / f"{name}.tif", mask) for name in "ab"]}
    finding = found(data(**parts))["image-alpha"]
    assert finding.names == (str(tmp_path / "a.tif"),)
    assert finding.details == (f"values {bands[..., 3].min()} to {bands[..., 3].max()}",)


def test_absent_classes_are_named_with_their_part():
    parts = clean()
    parts["val"] = [sample("v0", picture(10), [[0, 1, 1, 1]] * 3)]
    parts["test"] = [sample("x0", picture(30), [[2, 2, 2, 2]] * 3)]
    absent = found(data(**parts))["absent-class"]
    assert list(zip(absent.names, absent.details, strict=True)) == [
        ("edge", "in none of the 1 validation masks"),
        ("ground", "in none of the 1 test masks"),
        ("cell", "in none of the 1 test masks"),
    ]


def test_classes_in_no_labeled_mask_cannot_be_learned():
    parts = clean()
    assert check(data(**parts)).never_labeled == ()
    parts["train"] = [sample(f"t{n}", picture(n), [[0, 2, 2, 255]] * 3) for n in range(3)]
    assert check(data(**parts)).never_labeled == ("cell",)
    parts["train"] = [sample("t0", picture(0), [[0, 0, 0, 255]] * 3)]
    assert check(data(**parts)).never_labeled == ("cell", "edge")


def test_a_class_in_a_single_labeled_mask_is_noted():
    parts = clean()
    for n in (0, 2):
        parts["train"][n] = sample(f"t{n}", picture(n), [[0, 1, 1, 255]] * 3)
    rare = found(data(**parts))["rare-class"]
    assert (rare.names, rare.details, rare.severity) == (("edge",), ("only in t1-mask",), NOTE)


def test_leaks_are_found_between_all_parts():
    parts = clean()
    parts["val"][0] = sample("v0", picture(22), MASK)  # as u2
    parts["test"] += [sample("x1", picture(2), MASK), sample("x2", picture(11), MASK)]  # as t2 and v1
    shared = found(data(**parts))["shared-images"]
    assert list(zip(shared.names, shared.details, strict=True)) == [
        ("v0", "validation, like unlabeled u2"),
        ("x1", "test, like labeled t2"),
        ("x2", "test, like validation v1"),
    ]


@pytest.mark.parametrize("context", [0, 1])
def test_slices_of_one_stack_are_no_near_copies_of_each_other(tmp_path, context):
    pages = [picture(1, 1)[..., 0] + np.uint8(9 * n) for n in range(4)]
    for name, stack in (("a", pages[:2]), ("b", pages[2:])):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.stack(stack), photometric="minisblack")
    paths = {name: tmp_path / f"{name}.tif" for name in "ab"}
    slices = image_files({f"{name}{n}": Picture(paths[name], n) for name in "ab" for n in (0, 1)}, 1, context)
    first, second, other, _ = (Sample(name, source) for name, source in slices.items())
    assert "similar-images" not in found(data([first], unlabeled=[second]))
    # In another file it is a copy, and so it is across the split.
    assert found(data([first, second, other]))["similar-images"].names == (str(other.image),)
    assert found(data([first], val=[second]))["near-duplicates"].names == (str(second.image),)


def test_masks_of_unlabeled_images_are_not_read():
    parts = clean()
    parts["unlabeled"].append(sample("u9", picture(29), [[9, 9]]))
    assert found(data(**parts)) == {}


def test_findings_come_in_one_order_errors_first():
    parts = clean()
    parts["train"] += [fault for fault, *_ in FAULTS.values()]
    findings = check(data(**parts)).findings
    assert [f.kind for f in findings] == [kind for kind in KINDS if kind in {f.kind for f in findings}]
    severities = [f.severity for f in findings]
    assert severities == sorted(severities, key=[ERROR, WARNING, NOTE].index)
    assert [(f.kind, f.names, f.details) for f in findings] == [
        (f.kind, f.names, f.details) for f in check(data(**parts)).findings
    ]


def test_severities_in_the_table_come_in_order():
    severities = [severity for severity, *_ in KINDS.values()]
    assert severities == sorted(severities, key=[ERROR, WARNING, NOTE].index)


@pytest.mark.parametrize(
    ("factor", "offset", "grow", "what"),
    [(1, 0, 1, None), (1, 120, 1, "brightness or color"), (0.2, 0, 1, "contrast"), (1, 0, 3, "short side in pixels")],
)
def test_unlabeled_images_of_another_kind_are_named(factor, offset, grow, what):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 100, (40, 50, 1)) for _ in range(8)]
    labeled = [sample(f"t{n}", one.astype("uint8"), np.zeros((10, 16), int)) for n, one in enumerate(noise[:4])]
    labeled = [replace(one, mask=Array(np.zeros((40, 50), np.int32), f"{one.name}-mask")) for one in labeled]
    others = [(factor * (one - 50.0) + 50.0 + offset).clip(0, 255).astype("uint8") for one in noise[4:]]
    unlabeled = [sample(f"u{n}", np.tile(one, (grow, grow, 1))) for n, one in enumerate(others)]
    finding = found(data(labeled, unlabeled=[*unlabeled, sample("another format", picture(0))])).get("other-source")
    assert (finding is not None) == (what is not None)
    if finding is not None:
        assert (finding.severity, finding.names) == (WARNING, (what,)) and "on average" in finding.details[0]
