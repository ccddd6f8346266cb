import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from rankmatch_keras.data.masks.mask_files import read_mask
from rankmatch_keras.data.readers import guards as pictures
from rankmatch_keras.data.readers.declared import declared_size
from rankmatch_keras.data.readers.images import image_info, is_animated, read_colors, read_image, read_raw_mask
from rankmatch_keras.errors import UserError

RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)
GRAY = RNG.integers(0, 256, (5, 7)).astype(np.uint8)


def saved(tmp_path, image, name="a.png", **kwargs):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(tmp_path / name, **kwargs)
    return tmp_path / name


def png(path, values, bits, color_type):
    """Write a PNG of any depth: values (H, W) or (H, W, C) below 2**bits."""
    values = values.reshape(*values.shape[:2], -1)
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in values]
    else:
        shifts = np.arange(bits - 1, -1, -1)
        rows = [np.packbits((row.reshape(-1, 1) >> shifts & 1).ravel()).tobytes() for row in values]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, color_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.tiff"])
def test_color_and_gray(tmp_path, name):
    image = read_image(saved(tmp_path, COLOR, name))
    assert image.dtype == np.uint8 and image.flags.writeable
    np.testing.assert_array_equal(image, COLOR)
    np.testing.assert_array_equal(read_image(saved(tmp_path, GRAY, name)), np.stack([GRAY] * 3, -1))
    np.testing.assert_array_equal(read_image(tmp_path / name, channels=1), GRAY[..., None])
    np.testing.assert_array_equal(read_image(tmp_path / name, channels=None), GRAY[..., None])


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_colors_as_one_channel(tmp_path, name):
    flat = np.stack([np.full((8, 8), 77, np.uint8)] * 3, -1)
    assert read_image(saved(tmp_path, flat, name), channels=1).shape == (8, 8, 1)
    assert read_image(tmp_path / name, channels=None).shape == (8, 8, 3)
    with pytest.raises(UserError, match=f"a gray image; found colors in .*{name}"):
        read_image(saved(tmp_path, COLOR, name), channels=1)


def test_wrong_number_of_channels_names_both(tmp_path):
    with pytest.raises(UserError, match=r"4 channels; found 3 in .*a\.png"):
        read_image(saved(tmp_path, COLOR), channels=4)
    with pytest.raises(UserError, match=r"2 channels; found 1 in .*a\.png"):
        read_image(saved(tmp_path, GRAY), channels=2)


def test_alpha_is_dropped(tmp_path):
    alpha = np.concatenate([COLOR, GRAY[..., None]], -1)
    np.testing.assert_array_equal(read_image(saved(tmp_path, alpha)), COLOR)
    np.testing.assert_array_equal(read_raw_mask(tmp_path / "a.png"), COLOR)
    with_gray = saved(tmp_path, Image.merge("LA", [Image.fromarray(GRAY), Image.new("L", (7, 5), 9)]))
    np.testing.assert_array_equal(read_image(with_gray, channels=None), GRAY[..., None])
    np.testing.assert_array_equal(read_raw_mask(with_gray), GRAY)


def test_16_bit_gray_keeps_its_unit(tmp_path):
    deep = np.array([[0, 257, 65535, 32896]], np.uint16)
    for name in ("a.png", "a.tif"):
        image = read_image(saved(tmp_path, deep, name), channels=1)
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image[0, :, 0], [0, 257, 65535, 32896])
        assert image_info(tmp_path / name) == (1, 4, 1, False)


@pytest.mark.parametrize("color_type, bands, channels", [(2, 3, 3), (6, 4, 3), (4, 2, 1), (0, 1, 1)])
def test_16_bit_png_keeps_both_bytes(tmp_path, color_type, bands, channels):
    values = RNG.integers(0, 65536, (6, 7, bands))
    path = png(tmp_path / "a.png", values, 16, color_type)
    image = read_image(path, channels=None)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, values[..., :channels])
    assert image_info(path) == (6, 7, channels, False)
    if channels == 1:
        np.testing.assert_array_equal(read_raw_mask(path), values[..., 0])
    else:
        with pytest.raises(UserError, match=r"3 bands of uint16 in .*a\.png"):
            read_raw_mask(path)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_stretched_in_images_and_not_in_masks(tmp_path, bits):
    values = np.arange(6).reshape(2, 3) % 2**bits
    path = png(tmp_path / "a.png", values, bits, 0)
    np.testing.assert_array_equal(read_image(path, channels=1)[..., 0], values * 255 // (2**bits - 1))
    np.testing.assert_array_equal(read_raw_mask(path), values)
    assert image_info(path) == (2, 3, 1, True)


def test_palette_image_is_looked_up_and_palette_mask_is_not(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 255]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90] + [0] * 750 + [1, 2, 3] * 3)
    path = saved(tmp_path, image, transparency=bytes([0, 100, 255]))
    assert read_image(path)[0, 1].tolist() == [40, 50, 60]
    assert read_colors(path)[1, 1].tolist() == [1, 2, 3]
    mask = read_mask(path)
    assert mask.dtype == np.int32 and mask.tolist() == [[0, 1], [2, 255]]
    assert image_info(path) == (2, 2, 3, True)


def test_cmyk_jpeg_and_bilevel(tmp_path):
    white = saved(tmp_path, Image.new("CMYK", (4, 3), (0, 0, 0, 0)), "a.jpg")
    assert read_image(white).shape == (3, 4, 3) and read_image(white).min() > 250
    assert image_info(white) == (3, 4, 3, True)
    with pytest.raises(UserError, match="4 bands"):
        read_raw_mask(white)
    bits = saved(tmp_path, Image.fromarray(np.array([[True, False]])))
    assert read_image(bits)[0, :, 0].tolist() == [255, 0]
    assert read_mask(bits).tolist() == [[1, 0]]


# Row and column of the stored picture that come first in the upright one, by the EXIF standard.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_orientation_is_applied(tmp_path, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif} | ({"quality": 100, "subsampling": 0} if name == "a.jpg" else {})
    corner = np.zeros((16, 24), np.uint8)
    corner[:8, :8] = 200
    path = saved(tmp_path, corner, name, **options)
    expected = UPRIGHT[orientation](corner)
    np.testing.assert_array_equal(read_image(path, channels=1)[..., 0], expected)
    np.testing.assert_array_equal(read_raw_mask(path), expected)
    assert image_info(path) == (*expected.shape, 1, True)


def test_16_bit_mask_keeps_ids(tmp_path):
    assert read_mask(saved(tmp_path, np.array([[0, 300]], np.uint16))).tolist() == [[0, 300]]


def test_color_mask(tmp_path):
    path = saved(tmp_path, COLOR)
    np.testing.assert_array_equal(read_raw_mask(path), COLOR)
    with pytest.raises(UserError, match="one class id per pixel.*colors in .*a.png.*legend"):
        read_mask(path)


def test_gray_mask_as_colors(tmp_path):
    np.testing.assert_array_equal(read_colors(saved(tmp_path, GRAY)), np.stack([GRAY] * 3, -1))
    with pytest.raises(UserError, match="8-bit colors"):
        read_colors(saved(tmp_path, GRAY.astype(np.uint16)))


@pytest.mark.parametrize("read", [read_image, read_mask, image_info])
def test_bad_files_are_named(tmp_path, read):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for name in ("text.png", "empty.png", "missing.png", "folder.png", "loop.png", "nul\0.png"):
        with pytest.raises(UserError, match=name.replace("\0", r"\\x00")) as error:
            read(tmp_path / name)
        assert "\n" not in str(error.value)


def test_truncated_file(tmp_path):
    whole = saved(tmp_path, np.tile(GRAY, (20, 20)), "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for read in (read_image, read_mask):
        with pytest.raises(UserError, match="cut.png"):
            read(tmp_path / "cut.png")


@pytest.mark.parametrize("ending, name", [("avif", "AVIF"), ("jp2", "JPEG 2000"), ("pdf", "PDF")])
def test_other_formats_are_refused_by_name(tmp_path, ending, name):
    saved(tmp_path, COLOR, f"a.{ending}").rename(tmp_path / "a.png")
    with pytest.raises(UserError, match=rf"JPEG, PNG, TIFF, BMP, WebP or GIF file; found a {name} file at .*a\.png"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("ending", ["bmp", "webp", "gif", "jfif", "jpe"])
def test_what_pillow_reads_is_read(tmp_path, ending):
    options = {"webp": {"lossless": True}, "jfif": {"quality": 100}, "jpe": {"quality": 100}}.get(ending, {})
    flat = np.zeros((16, 24), np.uint8)
    flat[:8, :8] = 200
    path = saved(tmp_path, flat, f"a.{ending}", **options)
    np.testing.assert_array_equal(read_image(path, channels=1)[..., 0], flat)
    assert image_info(path)[:2] == (16, 24) and image_info(path).eight_bit
    if ending != "webp":  # has no gray
        np.testing.assert_array_equal(read_raw_mask(path), flat)
    path = saved(tmp_path, COLOR, f"b.{ending}", **options)
    if options.get("quality"):
        assert read_image(path).shape == COLOR.shape
    else:
        np.testing.assert_array_equal(read_image(path), COLOR)  # few colors: a palette of GIF holds them
    if ending == "gif":
        palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
        palette.putpalette([9, 9, 9, 80, 0, 0, 0, 70, 0])
        path = saved(tmp_path, palette, "p.gif", transparency=0)
        assert read_raw_mask(path)[0].tolist() == [[9, 9, 9], [80, 0, 0], [0, 70, 0]]
        assert read_image(path)[0].tolist() == [[9, 9, 9], [80, 0, 0], [0, 70, 0]]


def test_of_an_animated_gif_the_first_frame_is_read(tmp_path):
    frames = [Image.fromarray(GRAY // n) for n in (1, 2, 3)]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(path, channels=1)[..., 0], GRAY)
    assert is_animated(path) and not is_animated(saved(tmp_path, GRAY, "b.gif"))
    with pytest.raises(UserError, match=r"3 frames, in .*a\.webp"):
        read_image(saved(tmp_path, frames[0], "a.webp", save_all=True, append_images=frames[1:]))


def test_a_webp_file_is_bounded_before_it_is_opened(tmp_path):
    for options in ({"lossless": True}, {}, {"exif": b"Exif"}):
        path = saved(tmp_path, COLOR, "a.webp", **options)
        assert declared_size(path.read_bytes()) == (5, 7)
    large = bytearray(saved(tmp_path, COLOR, "a.webp", exif=b"Exif").read_bytes())
    large[24:30] = b"\xff\xff\0\xff\xff\0"
    path.write_bytes(large)
    with pytest.raises(UserError, match=r"65536 x 65536 pixels in .*a\.webp"):
        image_info(path)


def picture_as(values, mode):
    if mode != "P":
        return Image.fromarray(values).convert(mode)
    picture = Image.fromarray(values // 32, "P")
    picture.putpalette([shade for k in range(8) for shade in (k * 31, 255 - k * 31, k)])
    return picture


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_no_flipped_bit_of_a_png_gives_other_pixels(tmp_path, mode):
    path = saved(tmp_path, picture_as(GRAY, mode))
    whole, right, shown = path.read_bytes(), read_raw_mask(path), read_image(path, channels=None)
    refused = 0
    bits = np.random.default_rng(0).permutation(8 * len(whole))[:300]
    for bit in bits.tolist():
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            np.testing.assert_array_equal(read_raw_mask(path), right)
            np.testing.assert_array_equal(read_image(path, channels=None), shown)
        except UserError as error:
            assert "a.png" in str(error)
            refused += 1
    assert refused > 0.97 * len(bits)


def test_damaged_texts_of_a_png_do_no_harm(tmp_path):
    path = saved(tmp_path, GRAY)
    text = struct.pack(">I", 6) + b"tEXt" + b"who\0me" + b"crc!"
    path.write_bytes(path.read_bytes()[:-12] + text + path.read_bytes()[-12:])
    np.testing.assert_array_equal(read_raw_mask(path), GRAY)


def test_wrong_ending_is_fine(tmp_path):
    saved(tmp_path, COLOR, "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), COLOR)
    saved(tmp_path, COLOR, "a.tif").rename(tmp_path / "b.png")
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), COLOR)


def test_animations_are_refused(tmp_path):
    frames = [Image.fromarray(COLOR), Image.fromarray(255 - COLOR), Image.fromarray(COLOR // 2)]
    path = saved(tmp_path, frames[0], save_all=True, append_images=frames[1:])
    for read in (read_image, read_raw_mask, image_info):
        with pytest.raises(UserError, match=r"animated, 3 frames, in .*a\.png"):
            read(path)


def test_pages_of_files_without_pages(tmp_path):
    path = saved(tmp_path, COLOR)
    np.testing.assert_array_equal(read_image(path, page=0), COLOR)
    for page in (1, -1):
        with pytest.raises(UserError, match=rf"{page} for .*a\.png"):
            read_image(path, page=page)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_size_is_bounded_before_decoding(tmp_path, monkeypatch, name):
    path = saved(tmp_path, COLOR, name)
    assert image_info(path) == (5, 7, 3, True)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 34)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda self: pytest.fail("decoded"))
    for read in (read_image, read_raw_mask, image_info):
        with pytest.raises(UserError, match=f"7 x 5 pixels.*{name}"):
            read(path)


def test_10000_pixels_square_are_read_without_warning(tmp_path):
    path = saved(tmp_path, Image.new("1", (10000, 10000)))
    assert image_info(path) == (10000, 10000, 1, True)
    assert read_raw_mask(path).shape == (10000, 10000)


def test_float_masks(tmp_path):
    def mask(*values):
        tifffile.imwrite(tmp_path / "m.tif", np.array([values], np.float32))
        return tmp_path / "m.tif"

    assert read_raw_mask(mask(0, 3, 255)).tolist() == [[0, 3, 255]]
    with pytest.raises(UserError, match=r"at 2 pixels in .*m\.tif"):
        read_raw_mask(mask(0, 0.5, np.nan))
    with pytest.raises(UserError, match=r"beyond 32 bits at 1 pixel in .*m\.tif"):
        read_raw_mask(mask(0, 1, np.inf))


def test_float_images(tmp_path):
    values = np.array([[[0.25, -3e5, 1e30]]], np.float64)
    tifffile.imwrite(tmp_path / "f.tif", values, photometric="rgb")
    image = read_image(tmp_path / "f.tif")
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, values, rtol=1e-6)
    for bad in (np.inf, -np.inf, 1e300):
        tifffile.imwrite(tmp_path / "f.tif", np.array([[1.0, bad, bad]]), photometric="minisblack")
        with pytest.raises(UserError, match=r"2 values that are infinite in .*f\.tif"):
            read_image(tmp_path / "f.tif")


@pytest.mark.parametrize(
    "dtype, mark, tag",
    [
        ("float32", -9999, "-9999"),
        ("float32", -9999.9, "-9999.9"),
        ("float64", 1e20, "1e+20"),
        ("int16", -32768, "-32768"),
        ("uint16", 0, "0 "),
        ("uint16", 65535, "65535.0"),
        ("int64", 2**53 + 1, str(2**53 + 1)),
        ("float32", np.nan, "nan"),
        ("float32", np.nan, None),
        ("float32", np.finfo("float32").min, None),
        ("float32", np.finfo("float32").min, "-3.40282346638529e+38"),
        ("float64", np.finfo("float32").min, None),
        ("float64", np.finfo("float64").min, None),
    ],
)
def test_pixels_without_data_are_nan(tmp_path, dtype, mark, tag):
    values = np.arange(1, 61).reshape(4, 5, 3).astype(dtype)
    values[1, 2], values[3, 4, 1] = mark, mark
    tags = [(42113, "s", 0, tag, True)] if tag else []
    tifffile.imwrite(tmp_path / "f.tif", values, photometric="rgb", extratags=tags)
    image = read_image(tmp_path / "f.tif")
    missing = np.zeros(values.shape, bool)
    missing[1, 2], missing[3, 4, 1] = True, True
    np.testing.assert_array_equal(np.isnan(image), missing)
    np.testing.assert_array_equal(image[~missing], values[~missing].astype(np.float32))


@pytest.mark.parametrize("tag", ["none", "", "70000", "0.5", "-1", "inf", "1e999"])
def test_a_mark_that_the_samples_cannot_hold_marks_nothing(tmp_path, tag):
    values = np.array([[0, 1, 65535]], np.uint16)
    tifffile.imwrite(tmp_path / "f.tif", values, extratags=[(42113, "s", 0, tag, True)])
    np.testing.assert_array_equal(read_image(tmp_path / "f.tif", channels=1)[..., 0], values)
