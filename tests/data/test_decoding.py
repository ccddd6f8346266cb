import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.data import decoding
from rankmatch_keras.data.decoding import read_image, read_mask
from rankmatch_keras.errors import UserError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)
GREY = RNG.integers(0, 256, (5, 7)).astype(np.uint8)


def saved(tmp_path, image, name="a.png", **kwargs):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(tmp_path / name, **kwargs)
    return tmp_path / name


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.tiff"])
def test_colour_and_grey(tmp_path, name):
    image = read_image(saved(tmp_path, COLOUR, name))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, COLOUR)
    np.testing.assert_array_equal(read_image(saved(tmp_path, GREY, name)), np.stack([GREY] * 3, -1))


def test_alpha_is_dropped(tmp_path):
    alpha = np.concatenate([COLOUR, GREY[..., None]], -1)
    np.testing.assert_array_equal(read_image(saved(tmp_path, alpha)), COLOUR)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    deep = np.array([[0, 257, 65535, 32896]], np.uint16)
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read_image(saved(tmp_path, deep, name))[0, :, 1], [0, 1, 255, 128])


def test_palette_image_is_looked_up_and_palette_mask_is_not(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 255]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90] + [0] * 750 + [1, 2, 3] * 3)
    path = saved(tmp_path, image)
    assert read_image(path)[0, 1].tolist() == [40, 50, 60]
    mask = read_mask(path)
    assert mask.dtype == np.int32 and mask.tolist() == [[0, 1], [2, 255]]


def test_cmyk_jpeg_and_bilevel(tmp_path):
    white = saved(tmp_path, Image.new("CMYK", (4, 3), (0, 0, 0, 0)), "a.jpg")
    assert read_image(white).shape == (3, 4, 3) and read_image(white).min() > 250
    bits = saved(tmp_path, Image.fromarray(np.array([[True, False]])))
    assert read_image(bits)[0, :, 0].tolist() == [255, 0]
    assert read_mask(bits).tolist() == [[1, 0]]


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to the right
    path = saved(tmp_path, COLOUR, exif=exif)
    np.testing.assert_array_equal(read_image(path), np.rot90(COLOUR, -1))


def test_16_bit_mask_keeps_ids(tmp_path):
    assert read_mask(saved(tmp_path, np.array([[0, 300]], np.uint16))).tolist() == [[0, 300]]


def test_colour_mask_is_refused(tmp_path):
    with pytest.raises(UserError, match="one class id per pixel.*mode RGB.*a.png"):
        read_mask(saved(tmp_path, COLOUR))


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_bad_files_are_named(tmp_path, read):
    whole = saved(tmp_path, np.tile(GREY, (20, 20)), "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").touch()
    for name in ("cut.png", "text.png", "empty.png", "missing.png"):
        with pytest.raises(UserError, match=name):
            read(tmp_path / name)


def test_size_is_bounded_before_decoding(tmp_path, monkeypatch):
    path = saved(tmp_path, COLOUR)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 34)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(UserError, match="7 x 5 pixels"):
        read_image(path)


def test_float_and_many_pages_are_refused(tmp_path):
    with pytest.raises(UserError, match="floating point"):
        read_image(saved(tmp_path, GREY.astype(np.float32), "a.tif"))
    pages = [Image.fromarray(GREY)] * 2
    with pytest.raises(UserError, match="2 pages"):
        read_image(saved(tmp_path, pages[0], "b.tif", save_all=True, append_images=pages[1:]))
