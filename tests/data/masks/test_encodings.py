import pickle

import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.data.masks.detection import detect_encoding
from rankmatch_keras.data.masks.encodings import IDS, Ids, Lookup, TwoValues
from rankmatch_keras.data.masks.legends import Legend, legend_of, read_legend
from rankmatch_keras.data.masks.mask_files import MaskFile
from rankmatch_keras.errors import UserError

RED, GREEN, BLUE, BLACK, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)


def gray(*values):
    return np.array([values], np.int32)


def colored(*colors):
    return np.array([colors], np.uint8)


def decoded(encoding, raw):
    ids = encoding.decode(raw, "m.png")
    assert ids.dtype == np.int32 and ids.ndim == 2
    return ids.tolist()[0]


def test_ids():
    assert decoded(IDS, gray(0, 7, 255)) == [0, 7, 255]
    with pytest.raises(UserError, match=r"colors in 'm.png'.*legend"):
        IDS.decode(colored(RED), "m.png")


def test_two_values():
    assert decoded(TwoValues(0, 255), gray(255, 0, 255)) == [1, 0, 1]
    assert decoded(TwoValues(255, 0, 128), gray(255, 0, 128)) == [0, 1, 255]
    with pytest.raises(UserError, match=r"values 0 and 255; found 3 and 1 others at 3 pixels of 'm.png'"):
        TwoValues(0, 255).decode(gray(0, 3, 255, 4, 3), "m.png")
    with pytest.raises(UserError, match="colors in 'm.png'"):
        TwoValues(0, 255).decode(colored(BLACK), "m.png")
    for same in ((1, 1), (0, 1, 1)):
        with pytest.raises(UserError, match="different values"):
            TwoValues(*same)


def test_legend():
    legend = Legend((BLACK, (RED, (254, 0, 0)), GREEN), ignore=(WHITE,))
    assert decoded(legend, colored(RED, BLACK, GREEN, WHITE, (254, 0, 0))) == [1, 0, 2, 255, 1]
    assert decoded(legend, gray(0, 255)) == [0, 255]
    with pytest.raises(UserError, match=r"found \(1, 2, 3\) at 2 pixels of 'm.png'. Add the color"):
        legend.decode(colored((1, 2, 3), RED, (1, 2, 3)), "m.png")
    with pytest.raises(UserError, match=r"\(0, 0, 1\) and 1 other colors at 2 pixels"):
        legend.decode(colored((0, 0, 1), RED, (1, 2, 3)), "m.png")
    with pytest.raises(UserError, match="values beyond 0..255 in 'm.png'"):
        legend.decode(gray(0, 256), "m.png")


def test_legend_twin():
    """Compare every color, including channels that differ in one bit, with a slow search."""
    rng = np.random.default_rng(0)
    colors = tuple({tuple(map(int, color)) for color in rng.integers(0, 3, (40, 3))})
    legend = Legend(colors)
    choice = rng.integers(0, len(colors), (9, 11))
    raw = np.array(colors, np.uint8)[choice]
    np.testing.assert_array_equal(legend.decode(raw, "m"), choice)
    assert [colors.index(tuple(color)) for color in raw.reshape(-1, 3).tolist()] == choice.ravel().tolist()


def test_a_mask_with_many_colors_looks_like_jpeg():
    ramp = np.zeros((1, 300, 3), np.uint8)
    ramp[0, :, 0], ramp[0, :, 1] = np.arange(300) % 256, np.arange(300) // 256
    with pytest.raises(UserError, match="300 colors look like a JPEG-compressed mask"):
        Legend((BLACK, RED)).decode(ramp, "m.png")


@pytest.mark.parametrize(
    "colors, ignore",
    [
        ((), ()),
        (((0, 0),), ()),
        (((0, 0, 256),), ()),
        (((0, 0, -1),), ()),
        (((0, 0, 0.5),), ()),
        (("red",), ()),
        ((7,), ()),
        ((RED, RED), ()),
        ((RED,), (RED,)),
        (((RED, GREEN), GREEN), ()),
    ],
)
def test_bad_legends(colors, ignore):
    with pytest.raises(UserError):
        Legend(colors, ignore)


def test_lookup_by_pairs():
    table = Lookup(((0, 0), (1, 1), (255, 1), (9, 255)))
    assert decoded(table, gray(255, 0, 1, 9)) == [1, 0, 1, 255]
    with pytest.raises(UserError, match=r"values 0..1, 9, 255; found 7 and 2 others at 4 pixels of 'm.png'"):
        table.decode(gray(7, -1, 300, 7, 0), "m.png")
    assert decoded(Lookup(((7, 0), (8, 1)), others=255), gray(7, 8, 0, 9, -1, 70000)) == [0, 1, 255, 255, 255, 255]


def test_lookup_by_position():
    table = Lookup((255, *range(150)))
    assert decoded(table, gray(0, 1, 150)) == [255, 0, 149]
    with pytest.raises(UserError, match="found 151 at 1 pixels"):
        table.decode(gray(151), "m.png")
    assert Lookup([255, 0]) == Lookup((255, 0)) and Lookup({3: 1}) == Lookup(((3, 1),))
    for bad in ((), ((1, 0), (1, 2)), ((-1, 0),), ((70000, 0),), ((0, 256),), ((0, -1),)):
        with pytest.raises(UserError):
            Lookup(bad)


@pytest.mark.parametrize(
    "encoding", [IDS, TwoValues(0, 255), Legend([list(BLACK), [list(RED), GREEN]]), Lookup(((0, 0), (5, 1)))]
)
def test_encodings_are_values(encoding):
    copy = pickle.loads(pickle.dumps(encoding))
    assert copy == encoding and hash(copy) == hash(encoding) and str(copy) == str(encoding)


def detect(*raws, classes=None, ending="png"):
    encoding, count = detect_encoding(((f"{n}.{ending}", raw) for n, raw in enumerate(raws)), classes)
    return encoding, count


@pytest.mark.parametrize(
    "values, classes, encoding, count",
    [
        ([0, 255], None, TwoValues(0, 255), 2),
        ([255, 0], 2, TwoValues(0, 255), 2),
        ([3, 7], None, TwoValues(3, 7), 2),
        ([1, 255], None, TwoValues(1, 255), 2),
        ([0, 1], None, Ids(), 2),
        ([0, 1], 2, Ids(), 2),
        ([0, 1], 5, Ids(), 5),
        ([0, 1, 255], None, Ids(), 2),
        ([0, 2, 5], None, Ids(), 6),
        ([0, 2, 5, 255], 21, Ids(), 21),
        ([0, 15], 21, Ids(), 21),
    ],
)
def test_detection_of_gray_values(values, classes, encoding, count):
    assert detect(gray(*values), classes=classes) == (encoding, count)
    # The same seen over all masks, none of which holds more than one value.
    assert detect(*(gray(value) for value in values), classes=classes) == (encoding, count)


@pytest.mark.parametrize(
    "values, classes, message",
    [
        ([0], None, "only 0 in all 1 mask"),
        ([255], 2, "only 255 in all 1 mask"),
        ([0, 255], 3, "only 0 and 255 in all of them. Give two --classes"),
        ([5, 255], 21, "only 5 and 255"),
        ([0, 1, 2], 2, r"class ids 0..1 or 255 \(ignore\); found 2 in '0.png'"),
        ([0, 128, 255], 2, "found 128"),
        ([0, 128, 255], None, r"0, 128 in '0.png'.*Give --classes"),
        ([0, 85, 170, 255], None, "0, 85, 170"),
        ([-1, 0, 1], None, "found -1"),
        ([0, 1, 300], None, "found 300"),
        (list(range(257)), None, "more up to '0.png'"),
    ],
)
def test_gray_values_that_are_no_classes(values, classes, message):
    with pytest.raises(UserError, match=message):
        detect(gray(*values), classes=classes)


def test_lossy_gray_masks_are_refused():
    noisy = gray(0, 1, 2, 3, 253, 254, 255)
    with pytest.raises(UserError, match="JPEG changes values"):
        detect(noisy, ending="jpg")
    with pytest.raises(UserError, match="found 253"):
        detect(noisy, ending="jpg", classes=5)


def test_the_mask_with_the_wrong_value_is_named():
    with pytest.raises(UserError, match=r"found 9 in '1.png'"):
        detect(gray(0, 1), gray(2, 9), gray(9), classes=3)


def test_detection_of_colors():
    assert detect(colored(RED, BLACK), colored(GREEN)) == (Legend((BLACK, GREEN, RED)), 3)
    assert detect(colored(RED, BLACK), classes=2) == (Legend((BLACK, RED)), 2)
    with pytest.raises(UserError, match=r"5 classes; found 2 colors, as \(0, 0, 0\) in '1.png'.*legend"):
        detect(colored(RED), colored(BLACK), classes=5)
    with pytest.raises(UserError, match=r"only \(255, 0, 0\) in all 2 masks"):
        detect(colored(RED), colored(RED))
    with pytest.raises(UserError, match="colors in '0.png', gray or palette values in '1.png'"):
        detect(colored(RED), gray(0, 1))
    many = np.zeros((1, 300, 3), np.uint8)
    many[0, :, 1], many[0, :, 2] = np.arange(300) % 256, 1 + np.arange(300) // 256
    with pytest.raises(UserError, match="at most 256 different colors.*more up to '1.png'.*JPEG"):
        detect(colored(RED), many)
    assert detect(many[:, :255])[1] == 255
    with pytest.raises(UserError, match="at most 255 classes; found 256 colors"):
        detect(many[:, :256])


def test_shades_of_gray_saved_as_color():
    def shades(*values):
        return colored(*((v, v, v) for v in values))

    def read(raw, classes=None):
        encoding, count = detect(raw, classes=classes)
        return decoded(encoding, raw), count

    assert read(shades(0, 255)) == ([0, 1], 2)
    assert read(shades(0, 1, 2, 255)) == ([0, 1, 2, 255], 3)
    assert read(shades(0, 2), 4) == ([0, 2], 4)
    # No ids, but three colors of classes.
    assert read(shades(0, 128, 255)) == ([0, 1, 2], 3)
    assert read(shades(0, 128, 255), 3) == ([0, 1, 2], 3)


def test_no_masks_and_no_classes():
    with pytest.raises(UserError, match="at least one mask"):
        detect()
    for classes in (0, 1, 256):
        with pytest.raises(UserError, match="2 to 255 classes"):
            detect(gray(0, 1), classes=classes)


def test_masks_are_iterated_once_and_not_kept():
    def masks():
        for n in range(3):
            yield f"{n}.png", gray(n)

    assert detect_encoding(masks()) == (IDS, 3)


def legend_file(tmp_path, text):
    path = tmp_path / "legend.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "sky,1,2,3\nroad mark,4,5,6\nvoid,0,0,0\n",
        "name,r,g,b\nsky,1,2,3\nroad mark,4,5,6\nvoid,0,0,0",
        '\ufeffname, red, green, blue\r\nsky, 1, 2, 3\r\n\r\n"road mark", 4, 5, 6\r\nvoid,0,0,0\r\n',
        "1 2 3\tsky\n4 5 6\t\troad mark\n0 0 0\tvoid\n",
        "# r g b name\n1 2 3 sky\n4 5 6 road mark\n0 0 0 void",
        "sky 1 2 3\nroad mark 4 5 6\nvoid 0 0 0",
        "1,2,3,sky\n4,5,6,road mark\n0,0,0,void",
    ],
)
def test_legend_files(tmp_path, text):
    named = read_legend(legend_file(tmp_path, text))
    assert list(named.items()) == [("sky", (1, 2, 3)), ("road mark", (4, 5, 6)), ("void", (0, 0, 0))]
    assert legend_of(named) == (Legend(((1, 2, 3), (4, 5, 6)), ((0, 0, 0),)), ("sky", "road mark"))


def test_legend_file_with_several_colors_per_class(tmp_path):
    named = read_legend(legend_file(tmp_path, "car,1,1,1\nVoid,9,9,9\ncar,2,2,2\n#00ff00,0,255,0\nIGNORE,8,8,8"))
    assert named["car"] == ((1, 1, 1), (2, 2, 2)) and named["#00ff00"] == (0, 255, 0)
    legend, names = legend_of(named)
    assert names == ("car", "#00ff00")
    assert decoded(legend, colored((2, 2, 2), (0, 255, 0), (9, 9, 9), (8, 8, 8), (1, 1, 1))) == [0, 1, 255, 255, 0]


@pytest.mark.parametrize(
    "text, message",
    [
        ("sky,1,2,3\nroad,4,5\n", r"'road,4,5' in line 2 of .*legend\.txt"),
        ("sky,1,2,3\nroad,4,5,six\n", "line 2"),
        ("sky,1,2,3\n4,5,6\n", "line 2"),
        ("name,r,g,b\nsky,one,two,three\nroad,4,5,6", "'sky,one,two,three' in line 2"),
        ("sky,1,2,300\n", "1, 2, 300 in line 1"),
        ("sky,1,2,-3\n", "line 1"),
        ("sky,1,2,3\nroad,1,2,3\n", r"\(1, 2, 3\) in lines 1 and 2"),
        ("", "none in"),
        ("name,r,g,b\n", "none in"),
        ("a,1,2,99999999999999999999999", "line 1"),
        (b"\xff\xfe\x00sky", "legend.txt"),
        (b"x" * 1_000_001, "more than a megabyte"),
        ("x" * 140_000 + ",1,2,3\n", "field larger than .* in line 1 of"),
    ],
)
def test_bad_legend_files(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_legend(legend_file(tmp_path, text))


def test_missing_legend_file(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            read_legend(path)


def test_legend_reads_colors_of_every_kind_of_file(tmp_path):
    """Read palette, gray and color files of one data set by what they look like."""
    legend = Legend((BLACK, RED, WHITE))
    palette = Image.fromarray(np.array([[2, 0, 1]], np.uint8), "P")
    palette.putpalette([*RED, *WHITE, *BLACK])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(np.array([[0, 255, 255]], np.uint8)).save(tmp_path / "gray.png")
    Image.fromarray(np.array([[False, True, True]])).save(tmp_path / "bits.png")
    # What is transparent was not drawn: black, if black has a meaning.
    Image.fromarray(np.array([[(*WHITE, 0), (*RED, 9), (*WHITE, 255)]], np.uint8)).save(tmp_path / "rgba.png")
    expected = {"palette": [0, 1, 2], "gray": [0, 2, 2], "bits": [0, 2, 2], "rgba": [0, 1, 2]}
    for name, ids in expected.items():
        assert MaskFile(tmp_path / f"{name}.png", encoding=legend).read().tolist() == [ids]
    assert MaskFile(tmp_path / "palette.png").read().tolist() == [[2, 0, 1]]
    with pytest.raises(UserError, match=r"\(255, 0, 0\) at 1 pixels of '.*palette\.png'"):
        MaskFile(tmp_path / "palette.png", encoding=Legend((BLACK, WHITE))).read()
    assert MaskFile(tmp_path / "rgba.png", encoding=Legend((RED, WHITE))).read().tolist() == [[1, 0, 1]]


def test_an_unlisted_value_names_the_listed_ones():
    encoding = Lookup(((0, 0), (1, 1), (2, 1), (7, 2), (255, 255)))
    with pytest.raises(UserError, match=r"mask values 0\.\.2, 7, 255; found 9 at 1 pixels of 'm.png'"):
        encoding.decode(np.array([[0, 9]]), "m.png")
