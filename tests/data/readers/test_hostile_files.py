"""Hostile files: a reader returns a correct array or names the faulty file in one line."""

import io
import json
import logging
import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from rankmatch_keras.data.masks.coco import read_coco
from rankmatch_keras.data.masks.labelme import LabelMeMask, labelme_classes
from rankmatch_keras.data.masks.legends import read_legend
from rankmatch_keras.data.masks.mask_files import read_mask
from rankmatch_keras.data.readers.guards import reading
from rankmatch_keras.data.readers.images import image_info, read_colors, read_image, read_raw_mask
from rankmatch_keras.data.readers.tiff import count_pages
from rankmatch_keras.errors import UserError

# The same examples every time, so that only a change of the code can make a test fail.
few = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 9, (12, 17)).astype(np.uint8)
COLOR = RNG.integers(0, 256, (12, 17, 3)).astype(np.uint8)


def pillow(values, ending, mode=None, **options):
    buffer = io.BytesIO()
    picture = Image.fromarray(values, "P") if mode == "P" else Image.fromarray(values)
    if mode == "P":
        picture.putpalette(list(range(256)) * 3)
    elif mode:
        picture = picture.convert(mode)
    picture.save(buffer, ending, **options)
    return buffer.getvalue()


def tiff(values, **options):
    buffer = io.BytesIO()
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    return exif


VALID = {
    "gray.png": pillow(GRAY, "png"),
    "color.png": pillow(COLOR, "png"),
    "alpha.png": pillow(COLOR, "png", "RGBA"),
    "gray_alpha.png": pillow(GRAY, "png", "LA"),
    "palette.png": pillow(GRAY, "png", "P", bits=4, transparency=bytes(range(16))),
    "bits.png": pillow(GRAY > 4, "png"),
    "deep.png": pillow(GRAY.astype(np.uint16) * 999, "png"),
    "turned.png": pillow(COLOR, "png", exif=turned()),
    "animated.png": pillow(
        GRAY, "png", save_all=True, append_images=[Image.fromarray(GRAY + np.uint8(1)), Image.fromarray(GRAY)]
    ),
    "gray.jpg": pillow(GRAY, "jpeg"),
    "color.jpg": pillow(COLOR, "jpeg", exif=turned()),
    "cmyk.jpg": pillow(COLOR, "jpeg", "CMYK"),
    "progressive.jpg": pillow(COLOR, "jpeg", progressive=True),
    "several.mpo": pillow(COLOR, "mpo", save_all=True, append_images=[Image.fromarray(COLOR)]),
    "color.bmp": pillow(COLOR, "bmp"),
    "palette.bmp": pillow(GRAY, "bmp", "P"),
    "color.webp": pillow(COLOR, "webp", lossless=True),
    "palette.gif": pillow(GRAY, "gif", "P"),
    "moving.gif": pillow(GRAY, "gif", save_all=True, append_images=[Image.fromarray(GRAY + np.uint8(1))]),
    "gray.tif": tiff(GRAY),
    "deflate.tif": tiff(COLOR, photometric="rgb", compression="zlib", predictor=True),
    "tiles.tif": tiff(GRAY.astype(np.float32), tile=(16, 16), compression="zlib"),
    "bands.tif": tiff(np.repeat(GRAY[None], 5, 0).astype(np.int16), planarconfig="separate"),
    "stack.tif": tiff(np.repeat(GRAY[None], 4, 0)),
    "imagej.tif": tiff(np.repeat(GRAY[None], 4, 0), imagej=True, truncate=True),
    "ome.tif": tiff(np.repeat(GRAY[None], 2, 0), ome=True),
    "big.tif": tiff(GRAY, bigtiff=True, byteorder=">"),
    "palette.tif": tiff(GRAY, photometric="palette", colormap=RNG.integers(0, 65536, (3, 256)).astype(np.uint16)),
    "bits.tif": tiff(GRAY > 4),
    "lzw.tif": pillow(COLOR, "tiff", compression="tiff_lzw", tiffinfo={274: 3}),
    "fax.tif": pillow(GRAY > 4, "tiff", compression="group4"),
    "jpeg.tif": pillow(COLOR, "tiff", compression="jpeg"),
    "nan.tif": tiff(np.array([[np.nan, 1, np.inf, 0.5]], np.float32)),
}
READERS = {
    "colors": read_image,
    "as in the file": lambda path: read_image(path, channels=None),
    "page": lambda path: read_image(path, page=1, channels=None),
    "one channel": lambda path: read_image(path, channels=1),
    "mask": read_raw_mask,
    "mask page": lambda path: read_raw_mask(path, page=0),
    "ids": read_mask,
    "mask colors": read_colors,
    "info": image_info,
    "pages": count_pages,
}


def outcomes(path):
    """Read a file in every way, check that each result is an array or a clear error, and return the results."""
    found = {}
    for name, read in READERS.items():
        try:
            found[name] = read(path)
        except UserError as error:
            message = str(error)
            assert path.name.isprintable() is (path.name in message) or path.name in message
            assert message.isprintable() and len(message) < 700 + len(str(path)) * 2, message
    for name, values in found.items():
        if name in ("colors", "as in the file", "page", "one channel"):
            assert values.ndim == 3 and values.dtype in (np.uint8, np.float32) and np.isfinite(values).all()
        elif name in ("mask", "mask page", "ids"):
            assert (values.ndim, values.dtype) in ((2, np.int32), (3, np.uint8))
    if "as in the file" in found:
        image, info = found["as in the file"], found["info"]
        assert (*image.shape, image.dtype == np.uint8) == info
        if "mask" in found:
            assert found["mask"].shape[:2] == image.shape[:2]
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(autouse=True)
def silence(request, capfd, caplog):
    """Check that no library, nor its C code, prints or logs anything."""
    yield
    printed = capfd.readouterr()
    assert not printed.out
    # What libtiff says of damaged pixels goes past Python; it only reads what tifffile cannot.
    assert not printed.err or ".tif" in request.node.name
    assert not [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING]


def write(place, name, content):
    path = place / name
    # A new file each time: one that is open is never changed under the reader.
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", VALID)
def test_the_files_to_be_damaged_are_read(place, name):
    found = outcomes(write(place, name, VALID[name]))
    if name == "animated.png":
        assert set(found) == {"pages"}
    elif name in ("stack.tif", "imagej.tif", "ome.tif"):
        assert set(found) == {"page", "mask page", "pages"}
        np.testing.assert_array_equal(found["page"][..., 0], GRAY)
    elif name == "nan.tif":
        assert set(found) == {"info", "pages"}
    else:
        assert "as in the file" in found and found["info"][:2] in ((12, 17), (17, 12))


@pytest.mark.parametrize("name", VALID)
@few
@given(part=st.floats(0, 1))
def test_truncated(place, name, part):
    content = VALID[name]
    outcomes(write(place, name, content[: int(part * len(content))]))


@pytest.mark.parametrize("name", VALID)
@few
@given(data=st.data())
def test_flipped_bytes(place, name, data):
    content = bytearray(VALID[name])
    # Headers decide most, so they get most of the damage; TIFF has its tags at the start or at the end.
    ends = (min(len(content), 400), len(content))
    for _ in range(data.draw(st.integers(1, 6), "flips")):
        position = data.draw(st.integers(0, data.draw(st.sampled_from(ends)) - 1), "position")
        if data.draw(st.booleans(), "from the end"):
            position = len(content) - 1 - position
        content[position] = data.draw(st.sampled_from([0, 1, 2, 4, 5, 7, 8, 127, 128, 254, 255]), "value")
    outcomes(write(place, name, bytes(content)))


@few
@given(
    head=st.sampled_from(
        [
            *(b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0"),
            *(b"GIF89a", b"BM", b"RIFF\x20\0\0\0WEBP"),
        ]
    ),
    content=st.binary(max_size=300),
)
def test_random_bytes(place, head, content):
    outcomes(write(place, "random.png", head + content))


@few
@given(size=st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1)), bits=st.sampled_from([1, 8, 16]))
def test_sizes_in_the_header_of_a_small_file(place, size, bits):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    path = write(place, "bomb.png", b"\x89PNG\r\n\x1a\n" + header + pixels)
    if size[0] * size[1] <= 100_000_000:
        assert image_info(path) == (size[1], size[0], 1, bits <= 8)
    else:
        for read in (read_image, read_raw_mask, image_info):
            with pytest.raises(UserError, match=rf"{size[0]} x {size[1]} pixels in .*bomb\.png"):
                read(path)


def test_a_bomb_of_60000_pixels_square(place):
    rows = zlib.compressobj(9)
    pixels = b"".join(rows.compress(b"\0" * 60001) for _ in range(60)) + rows.flush()

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    path = write(place, "bomb.png", b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    for read in READERS.values():
        if read is not count_pages:
            with pytest.raises(UserError, match="60000 x 60000 pixels|page|1 for"):
                read(path)


@few
@given(
    size=st.sampled_from([(1, 1), (1, 5000), (5000, 1), (2, 3)]),
    bands=st.sampled_from([1, 3, 4]),
    ending=st.sampled_from(["png", "tif", "jpg"]),
    seed=st.integers(0, 99),
)
def test_odd_sizes(place, size, bands, ending, seed):
    bands = 3 if ending == "jpg" and bands == 4 else bands
    values = np.random.default_rng(seed).integers(0, 256, (*size, bands)).astype(np.uint8)
    values = values[..., 0] if bands == 1 else values
    path = write(place, f"odd.{ending}", pillow(values, {"tif": "tiff", "jpg": "jpeg"}.get(ending, ending)))
    found = outcomes(path)
    assert found["colors"].shape == (*size, 3)
    if ending != "jpg":
        expected = values[..., None].repeat(3, -1) if bands == 1 else values[..., :3]
        np.testing.assert_array_equal(found["colors"], expected)


@pytest.mark.parametrize(
    "name",
    [
        "straße 猫.png",
        "line\nbreak.png",
        "tab\t\x1b[31mred.png",
        "quote'\".png",
        "ümlaut.jpg",
        "no ending",
        "\udcff.png",
    ],
)
def test_names(place, name):
    good = write(place, name, VALID["color.png"])
    np.testing.assert_array_equal(read_image(good), COLOR)
    bad = write(place, name, VALID["color.png"][:20])
    for read in (read_image, read_raw_mask, image_info):
        with pytest.raises(UserError) as error:
            read(bad)
        assert str(error.value).isprintable()
        assert name.split("\n")[0].split("\t")[0].split("\udcff")[0] in str(error.value)


def test_flawed_headers_that_do_no_harm(place):
    """Pillow warns about both; the pixels are fine."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0" + b"\x0f\x01\x02\0\xff\0\0\0\x99\0\0\0" * 2
    control = struct.pack(">I", 8) + b"acTL" + b"\0" * 8 + struct.pack(">I", zlib.crc32(b"acTL" + b"\0" * 8))
    png = VALID["color.png"]
    files = {"exif.jpg": pillow(COLOR, "jpeg", exif=exif), "actl.png": png[:33] + control + png[33:]}
    for name, content in files.items():
        path = write(place, name, content)
        with pytest.warns(UserWarning), Image.open(path) as picture:
            picture.getexif()
        assert outcomes(path)["colors"].shape == (12, 17, 3)


def test_messages_are_one_line_of_text():
    with pytest.raises(UserError) as error, reading("a.png"):
        raise KeyError("two\nlines \x1b[31m " + "long " * 1000)
    assert str(error.value).isprintable() and 200 < len(str(error.value)) < 400


@pytest.mark.parametrize("wrong", [".tif", ".jpg", ".JPEG", ".bmp", ""])
def test_the_content_decides_and_not_the_ending(place, wrong):
    np.testing.assert_array_equal(read_image(write(place, f"a{wrong}", VALID["color.png"])), COLOR)


def test_not_a_file(place):
    (place / "folder.png").mkdir()
    (place / "loop.png").symlink_to(place / "loop2.png")
    (place / "loop2.png").symlink_to(place / "loop.png")
    (place / "dangling.png").symlink_to(place / "nothing")
    os.mkfifo(place / "pipe.png")
    for name in ("folder.png", "loop.png", "dangling.png", "pipe.png", "missing.png", "folder.png/in.png", "n" * 300):
        for read in (*READERS.values(), read_legend, read_coco, LabelMeMask(place / name, ("a", "b")).read):
            with pytest.raises(UserError, match=name):
                read(place / name) if read in (*READERS.values(), read_legend, read_coco) else read()
    for path in ("/dev/zero", "/dev/null"):
        with pytest.raises(UserError, match=path):
            read_image(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may read every file")
def test_unreadable_files(place):
    path = write(place, "secret.png", VALID["color.png"])
    path.chmod(0)
    assert not outcomes(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
LABELME = {
    "imageHeight": 5,
    "imageWidth": 6,
    "shapes": [{"label": "a", "shape_type": "polygon", "points": [[0, 0], [3, 1], [2, 2]]}],
}
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 5, "width": 6}],
    "categories": [{"id": 2, "name": "a"}],
    "annotations": [
        {"image_id": 1, "category_id": 2, "segmentation": [[0, 0, 3, 1, 2, 2]]},
        {"image_id": 1, "category_id": 2, "segmentation": {"size": [5, 6], "counts": [10, 5, 15]}, "iscrowd": 1},
    ],
}


def replaced(record, path, value):
    """Return the record with the value at one place, chosen by numbers, replaced or removed."""
    if not path or not isinstance(record, dict | list) or not record:
        return value
    keys = list(record) if isinstance(record, dict) else list(range(len(record)))
    key = keys[path[0] % len(keys)]
    copy = record.copy()
    copy[key] = replaced(record[key], path[1:], value)
    return copy


@settings(few, max_examples=250)
@given(record=st.sampled_from([LABELME, COCO]), path=st.lists(st.integers(0, 9), max_size=6), value=json_values)
def test_annotations(place, record, path, value):
    file = write(place, "a.json", json.dumps(replaced(record, path, value)).encode())

    def coco_masks():
        return [mask.read() for mask in read_coco(file).masks().values()]

    for read in (LabelMeMask(file, ("background", "a")).read, coco_masks, lambda: labelme_classes([file])):
        try:
            masks = read()
        except UserError as error:
            assert "a.json" in str(error) and str(error).isprintable()
        else:
            for mask in masks:
                if isinstance(mask, np.ndarray) and mask.ndim == 2:
                    assert mask.dtype == np.int32 and set(np.unique(mask)) <= {0, 1, 255}


@few
@given(content=st.binary(max_size=100) | st.text('a,# \n\t"1', max_size=60).map(str.encode))
def test_legends(place, content):
    try:
        named = read_legend(write(place, "legend.txt", content))
    except UserError as error:
        assert "legend.txt" in str(error) and str(error).isprintable()
    else:
        assert named and all(isinstance(name, str) for name in named)
