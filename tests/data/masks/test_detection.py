"""What masks of many programs mean, or why they are refused: each file is judged, and all must agree."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from rankmatch_keras.data.masks.detection import detect_encoding
from rankmatch_keras.data.masks.encodings import IDS, Threshold, TwoValues
from rankmatch_keras.data.masks.surveys import survey_of
from rankmatch_keras.data.sets.loaders import ImageFolder
from rankmatch_keras.errors import Contradiction, UserError

pytestmark = pytest.mark.once

OBJECT = np.zeros((48, 64), np.uint8)
OBJECT[10:30, 20:40] = 1
BLACK, RED, GREEN, BLUE = (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def folder(tmp_path):
    for part in ("images", "masks", "val_images", "val_masks"):
        (tmp_path / part).mkdir()
    for name in "abcd":
        Image.fromarray(np.full((48, 64, 3), ord(name), np.uint8)).save(tmp_path / f"images/{name}.png")
    Image.fromarray(np.full((48, 64, 3), 9, np.uint8)).save(tmp_path / "val_images/v.png")
    return tmp_path


def write(path, values, palette=None):
    picture = Image.fromarray(values)
    if palette:
        picture.putpalette([part for color in palette for part in color])
    picture.save(path)


def opened(folder, val=False, **more):
    where = {"val_images": folder / "val_images", "val_masks": folder / "val_masks"} if val else {}
    return ImageFolder(folder / "images", folder / "masks", **where, **more)


def counts(sample):
    values, pixels = np.unique(sample.read_mask(), return_counts=True)
    return dict(zip(values.tolist(), pixels.tolist(), strict=True))


def soften(binary, how, seed=0):
    picture = Image.fromarray(binary * np.uint8(255))
    height, width = binary.shape
    if how == "blur":
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(2)))
    if how == "noise":  # what JPEG leaves, saved as PNG
        noise = np.rint(np.abs(np.random.default_rng(seed).normal(0, 6, binary.shape)))
        return np.clip(np.where(binary, 255 - noise, noise), 0, 255).astype(np.uint8)
    method = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[how]
    return np.asarray(picture.resize((round(2.3 * width), round(2.7 * height)), method))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["blur", "noise", "bilinear", "bicubic"]),
    st.integers(5, 20),
    st.integers(3, 20),
    st.integers(15, 30),
    st.booleans(),
)
def test_soft_edges_are_refused_and_binarized(how, top, left, side, as_color):
    binary = np.zeros((48, 64), np.uint8)
    binary[top : top + side, left : left + side] = 1
    values = soften(binary, how)
    raw = np.repeat(values[..., None], 3, axis=-1) if as_color else values.astype(np.int32)
    with pytest.raises(Contradiction, match=r"gray values in 'm.png'.* around \d+ and \d+: .*soft edges.*--binarize"):
        detect_encoding([("m.png", raw)])
    middle = survey_of("m.png", raw).soft_peaks
    ids = Threshold(sum(middle) // 2).decode(raw, "m.png")
    assert ids.tolist() == (values > sum(middle) // 2).tolist()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_class_ids_have_no_soft_edges(data):
    """Whatever ids a picture of up to 30 of 2 to 254 classes holds, with or without ignored pixels, it is accepted."""
    num_classes = data.draw(st.integers(2, 254))
    shown = data.draw(st.lists(st.integers(0, num_classes - 1), min_size=2, max_size=12, unique=True))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    shares = rng.dirichlet(np.full(len(shown), 0.5))
    raw = rng.choice([*shown, 255], size=(40, 50), p=[*(shares * 0.95), 0.05])
    every = np.arange(num_classes, dtype=np.int32)[None]
    assert detect_encoding([("a.png", raw.astype(np.int32)), ("every.png", every)])[0] in (IDS, TwoValues(0, 1))


def test_colors_with_soft_edges(folder):
    smooth = Image.fromarray(np.array([BLACK, RED], np.uint8)[OBJECT]).filter(ImageFilter.GaussianBlur(3))
    for name in "abcd":
        smooth.save(folder / f"masks/{name}.png")
    with pytest.raises(UserError, match=r"colors in '.*a\.png', most of them blends of others such as \(0, 0, 0\)"):
        opened(folder)


def test_binarize(folder):
    for name in "abcd":
        soft = Image.fromarray(OBJECT * np.uint8(255)).filter(ImageFilter.GaussianBlur(1))
        soft.save(folder / f"masks/{name}.png")
    write(folder / "val_masks/v.png", OBJECT * np.uint8(255))
    found = opened(folder, val=True, binarize=True, classes=["ground", "cell"])
    assert found.class_names == ("ground", "cell")
    np.testing.assert_array_equal(found.train[0].read_mask(), np.asarray(soft) > 127)
    assert counts(found.val[0]) == {0: 2672, 1: 400}
    for part, above in ((0.0, 0), (0.25, 63), (1.0, 255)):  # from 0 to 255, the values of most pixels
        bright = opened(folder, mask_threshold=part).train[0].read_mask()
        np.testing.assert_array_equal(bright, np.asarray(soft) > above)
    with pytest.raises(UserError, match="mask_threshold from 0 to 1; found 2"):
        opened(folder, mask_threshold=2)
    write(folder / "masks/b.png", OBJECT)
    with pytest.raises(UserError, match=r"0 and 1 in '.*b\.png'"):
        opened(folder, binarize=True)
    with pytest.raises(UserError, match="2 to binarize"):
        opened(folder, binarize=True, classes=3)


@pytest.mark.parametrize("classes", [None, 2])
@pytest.mark.parametrize("strict", [True, False])
def test_0_and_1_in_some_masks_and_0_and_255_in_others(folder, classes, strict):
    for name in "abcd":
        write(folder / f"masks/{name}.png", OBJECT * np.uint8(1 if name < "c" else 255))
    with pytest.raises(Contradiction, match=r"0 and 1 in '.*a\.png', but 0 and 255 in '.*c\.png' \(2 such masks\)"):
        opened(folder, classes=classes, strict=strict)
    # A mask that holds an id beside 255 shows that 255 is to be ignored.
    mixed = OBJECT.copy()
    mixed[0] = 255
    write(folder / "masks/b.png", mixed)
    assert counts(opened(folder, classes=classes, strict=strict).train[3]) == {0: 2672, 255: 400}
    # So does a legend.
    write(folder / "masks/b.png", OBJECT)
    legend = {"ground": (0, 0, 0), "cell": (1, 1, 1), "ignore": (255, 255, 255)}
    assert counts(opened(folder, legend=legend, strict=strict).train[3]) == {0: 2672, 255: 400}


@pytest.mark.parametrize("ids", [[0, 1], [0, 1, 2]])
def test_validation_masks_of_another_coding(folder, ids):
    for name in "abcd":
        values = OBJECT.copy()
        values[0, : len(ids)] = ids
        write(folder / f"masks/{name}.png", values)
    write(folder / "val_masks/v.png", OBJECT * np.uint8(255))
    with pytest.raises(Contradiction, match=r"masks/a\.png', but 0 and 255 in '.*v\.png'"):
        opened(folder, val=True)
    for name in "abcd":
        write(folder / f"masks/{name}.png", OBJECT * np.uint8(255))
    write(folder / "val_masks/v.png", OBJECT)
    with pytest.raises(Contradiction, match=r"val_masks/v\.png', but 0 and 255 in '.*a\.png'"):
        opened(folder, val=True)


def test_ignored_borders_are_no_white_objects(folder):
    """Masks of ids, of which some show nothing but class 0 and ignored borders."""
    for name, value in zip("abcd", (3, 255, 1, 0), strict=True):
        write(folder / f"masks/{name}.png", np.where(OBJECT, value, 0).astype(np.uint8))
    found = opened(folder, classes=4)
    assert counts(found.train[1]) == {0: 2672, 255: 400}


ABOVE = np.roll(OBJECT, -20, 1)


def test_palettes_that_differ_are_read_by_color(folder):
    write(folder / "masks/a.png", (OBJECT * 2) | ABOVE, [BLACK, RED, GREEN])
    for name in "bcd":
        write(folder / f"masks/{name}.png", OBJECT, [BLACK, GREEN])
    write(folder / "val_masks/v.png", OBJECT * 7, [BLACK] + 6 * [BLUE] + [RED])
    found = opened(folder, val=True, classes=["ground", "brick", "grass"])
    assert [counts(sample) for sample in found.train[:2]] == [{0: 2272, 1: 400, 2: 400}, {0: 2672, 2: 400}]
    assert counts(found.val[0]) == {0: 2672, 1: 400}
    assert found.train[0].mask.remarks() == []
    (remark,) = found.train[1].mask.remarks()
    assert remark.kind == "mask-palettes" and "masks/a.png" in remark.text
    write(folder / "masks/c.png", OBJECT, [BLACK, BLUE])
    with pytest.raises(Contradiction, match=r"\(255, 0, 0\) and \(0, 255, 0\) as index 1 in '.*a\.png' and '.*b\.png'"):
        opened(folder)
    write(folder / "masks/c.png", OBJECT)
    with pytest.raises(Contradiction, match=r"no palette in '.*c\.png'"):
        opened(folder)


def test_validation_palettes_that_differ(folder):
    for name in "abcd":
        write(folder / f"masks/{name}.png", (OBJECT * 2) | ABOVE, [BLACK, RED, GREEN])
    write(folder / "val_masks/v.png", OBJECT, [BLACK, GREEN])
    found = opened(folder, val=True)
    assert counts(found.val[0]) == {0: 2672, 2: 400} and found.train[0].mask.encoding == IDS
    write(folder / "val_masks/v.png", OBJECT, [BLACK, BLUE])
    with pytest.raises(Contradiction, match=r"index 1 in '.*a\.png' and '.*v\.png'"):
        opened(folder, val=True)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 9))
def test_equal_colors_are_equal_classes(tmp_path_factory, order, seed):
    """Masks with permuted palettes show the same colors, so they are the same classes."""
    folder = tmp_path_factory.mktemp("palettes")
    colors = [BLACK, RED, GREEN, BLUE, (9, 9, 200)]
    ids = np.random.default_rng(seed).integers(0, 5, (6, 8)).astype(np.uint8)
    ids[0, :5] = range(5)
    for part in ("images", "masks"):
        (folder / part).mkdir()
        for name in "ab":
            Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(folder / f"images/{name}.png")
    write(folder / "masks/a.png", ids, colors)
    place = np.argsort(order)  # index i of the second palette has color order[i]
    write(folder / "masks/b.png", place[ids].astype(np.uint8), [colors[n] for n in order])
    for sample in opened(folder).train:
        np.testing.assert_array_equal(sample.read_mask(), ids)


def test_palettes_of_tiff_files_that_differ(folder):
    """Pillow writes a palette TIFF with 16 bits per color."""
    for name in "abcd":
        picture = Image.fromarray((OBJECT * 2) | ABOVE if name == "a" else OBJECT)
        picture.putpalette(
            [part for color in ([BLACK, RED, GREEN] if name == "a" else [BLACK, GREEN]) for part in color]
        )
        picture.save(folder / f"masks/{name}.tif", compression="tiff_lzw")
    assert [counts(sample) for sample in opened(folder).train[2:]] == 2 * [{0: 2672, 2: 400}]


def test_palettes_that_agree_keep_their_indices(folder):
    """Neither entries that no pixel uses nor repeated colors matter, nor masks without colors."""
    for name, end in zip("abc", (RED, GREEN, BLUE), strict=True):
        write(folder / f"masks/{name}.png", OBJECT * (2 if name == "a" else 5), [BLACK, end, RED, RED, RED, RED])
    write(folder / "masks/d.png", OBJECT)
    found = opened(folder)
    assert [max(counts(sample)) for sample in found.train] == [2, 5, 5, 1]


@pytest.mark.parametrize("first", ["palette", "color"])
def test_a_legend_beside_is_used_for_palettes_and_found_whichever_file_comes_first(folder, first):
    for name in "abcd":
        if (name == "a") == (first == "palette"):
            write(folder / f"masks/{name}.png", OBJECT, [BLACK, GREEN])
        else:
            write(folder / f"masks/{name}.png", np.array([BLACK, GREEN], np.uint8)[OBJECT])
    (folder / "legend.csv").write_text("brick,255,0,0\nground,0,0,0\ngrass,0,255,0\n")
    found = opened(folder)
    assert found.class_names == ("brick", "ground", "grass")
    assert [counts(sample) for sample in found.train] == 4 * [{1: 2672, 2: 400}]


def test_a_legend_of_other_colors_leaves_palettes_alone(folder):
    for name in "abcd":
        write(folder / f"masks/{name}.png", OBJECT, [BLACK, GREEN])
    (folder / "legend.csv").write_text("sky,7,7,7\nsea,0,0,0\n")
    assert counts(opened(folder).train[0]) == {0: 2672, 1: 400}
    (folder / "legend.csv").write_text("no legend at all")
    assert counts(opened(folder).train[0]) == {0: 2672, 1: 400}


def with_alpha(values, alpha):
    return np.dstack([values.astype(np.uint8), alpha.astype(np.uint8)])


@pytest.mark.parametrize("kind", ["rgba.png", "la.png", "la.tif", "rgba.tif"])
def test_what_is_transparent_was_not_drawn(folder, kind):
    """The color goes on below transparent pixels; where the alpha is the same everywhere, it says nothing."""
    colors = kind.startswith("rgba")
    drawn = np.ones((48, 64)) * (np.arange(64) < 50)
    values = np.dstack([255 * drawn, 0 * drawn, 0 * drawn]) if colors else drawn
    path = {name: folder / f"masks/{name}.{kind[-3:]}" for name in "abcd"}

    def save(where, alpha):
        raw = with_alpha(values, alpha)
        if where.suffix == ".png":
            Image.fromarray(raw, "RGBA" if colors else "LA").save(where)
        else:
            photometric = "rgb" if colors else "minisblack"
            tifffile.imwrite(where, raw, photometric=photometric, extrasamples=["unassalpha"], planarconfig="contig")

    for name in "abcd":
        save(path[name], OBJECT * 255)
    save(path["d"], OBJECT * 0 + 255)
    found = opened(folder)
    assert [counts(sample) for sample in found.train[2:]] == [{0: 2672, 1: 400}, {0: 672, 1: 2400}]
    (remark,) = found.train[0].mask.remarks()
    assert remark == ("mask-transparent", "2672 transparent pixels read as not drawn")
    assert found.train[3].mask.remarks() == []
