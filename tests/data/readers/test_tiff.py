import gc
import pickle
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from PIL import Image

from rankmatch_keras.data.masks.mask_files import MaskFile
from rankmatch_keras.data.readers import tiff
from rankmatch_keras.data.readers.folders import pictures_by_name
from rankmatch_keras.data.readers.images import image_info, read_image, read_raw_mask
from rankmatch_keras.data.readers.sources import ImageFile
from rankmatch_keras.data.readers.tiff import count_pages
from rankmatch_keras.errors import UserError

RNG = np.random.default_rng(0)
VOLUME = RNG.integers(0, 60000, (6, 20, 31), dtype=np.uint16)


def written(tmp_path, values, name="a.tif", **options):
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(tmp_path / name, values, **options)
    return tmp_path / name


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"metadata": None},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"truncate": True},
        {"imagej": True},
        {"imagej": True, "truncate": True},
        {"ome": True},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"tile": (16, 16)},
    ],
    ids=str,
)
def test_a_volume_counts_as_its_pages(tmp_path, options):
    path = written(tmp_path, VOLUME, **options)
    assert count_pages(path) == 6
    for page in (5, 0, 3):
        np.testing.assert_array_equal(read_image(path, page, channels=1)[..., 0], VOLUME[page])
        np.testing.assert_array_equal(read_raw_mask(path, page), VOLUME[page])
        assert image_info(path, page) == (20, 31, 1, False)
    for read in (read_image, read_raw_mask, image_info):
        with pytest.raises(UserError, match=r"6 pages in .*a\.tif.*stack itself"):
            read(path)
        for page in (6, -1):
            with pytest.raises(UserError, match=rf"page from 0 to 5; found {page} for .*a\.tif"):
                read(path, page)


def test_a_page_extracted_from_a_volume_is_one_page(tmp_path):
    text = '{"shape": [6, 20, 31], "truncated": true}'
    assert count_pages(written(tmp_path, VOLUME[2], description=text, metadata=None)) == 1


def test_a_volume_under_one_header_that_is_cut_off(tmp_path):
    path = written(tmp_path, VOLUME, truncate=True)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"5 of 6 pages in .*a\.tif"):
        count_pages(path)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32"])
@pytest.mark.parametrize("planar", [False, True])
def test_bands(tmp_path, dtype, planar):
    values = RNG.integers(0, 100, (9, 11, 6)).astype(dtype)
    config = {"planarconfig": "separate" if planar else "contig"}
    path = written(tmp_path, np.moveaxis(values, -1, 0) if planar else values, **config)
    assert count_pages(path) == 1
    for channels in (None, 6):
        image = read_image(path, channels=channels)
        assert image.dtype == (np.uint8 if dtype == "uint8" else np.float32)
        np.testing.assert_array_equal(image, values)
    assert image_info(path) == (9, 11, 6, dtype == "uint8")
    with pytest.raises(UserError, match=r"3 channels; found 6 in .*a\.tif"):
        read_image(path)
    with pytest.raises(UserError, match=rf"6 bands of {dtype}"):
        read_raw_mask(path)


def test_an_array_saved_as_narrow_pages_is_explained(tmp_path):
    path = written(tmp_path, np.zeros((20, 30, 6), np.uint8))
    with pytest.raises(UserError, match=r"20 pages.*planarconfig='contig'"):
        read_image(path, channels=6)


def test_alpha_is_dropped_and_other_bands_are_kept(tmp_path):
    values = RNG.integers(0, 256, (5, 7, 5)).astype(np.uint8)

    def read(bands, photometric, *extra):
        path = written(
            tmp_path, values[..., :bands], photometric=photometric, planarconfig="contig", extrasamples=extra
        )
        assert image_info(path).channels == read_image(path, channels=None).shape[-1]
        return read_image(path, channels=None)

    np.testing.assert_array_equal(read(4, "rgb", "unassalpha"), values[..., :3])
    np.testing.assert_array_equal(read(4, "rgb", "assocalpha"), values[..., :3])
    np.testing.assert_array_equal(read(4, "rgb", "unspecified"), values[..., :4])
    np.testing.assert_array_equal(read(5, "rgb", "unassalpha", "unspecified"), values[..., [0, 1, 2, 4]])
    np.testing.assert_array_equal(read(2, "minisblack", "unassalpha"), values[..., :1])
    np.testing.assert_array_equal(read_raw_mask(tmp_path / "a.tif"), values[..., 0])


def test_palette(tmp_path):
    indices = np.array([[0, 1, 2]], np.uint8)
    palette = np.zeros((3, 256), np.uint16)
    palette[:, 1], palette[:, 2] = (65535, 256, 0), (0, 0, 128 * 256)
    path = written(tmp_path, indices, photometric="palette", colormap=palette)
    assert read_image(path).tolist() == [[[0, 0, 0], [255, 1, 0], [0, 0, 128]]]
    assert read_raw_mask(path).tolist() == [[0, 1, 2]]
    assert image_info(path) == (1, 3, 3, True)
    path = written(tmp_path, indices, photometric="palette", colormap=palette // 256)
    assert read_image(path).tolist() == [[[0, 0, 0], [255, 1, 0], [0, 0, 128]]]


def test_white_is_zero_and_one_bit(tmp_path):
    path = written(tmp_path, np.array([[0, 55, 255]], np.uint8), photometric="miniswhite")
    assert read_image(path, channels=1)[0, :, 0].tolist() == [255, 200, 0]
    assert read_raw_mask(path).tolist() == [[0, 55, 255]]
    path = written(tmp_path, np.array([[0, 65535, 5]], np.uint16), photometric="miniswhite")
    assert read_image(path, channels=1)[0, :, 0].tolist() == [65535, 0, 65530]
    bits = np.array([[True, False, True]])
    for photometric, expected in (("minisblack", [255, 0, 255]), ("miniswhite", [0, 255, 0])):
        path = written(tmp_path, bits, photometric=photometric)
        assert read_image(path, channels=1)[0, :, 0].tolist() == expected
        assert read_raw_mask(path).tolist() == [[1, 0, 1]]
        assert image_info(path) == (1, 3, 1, True)


def test_cmyk(tmp_path):
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255], [0, 102, 0, 51]]], np.uint8)
    light = [[255, 255, 255], [0, 255, 255], [0, 0, 0], [204, 122, 204]]  # 255 * 0.8, 255 * 0.6 * 0.8
    path = written(tmp_path, inks, photometric="separated")
    assert read_image(path)[0].tolist() == light
    assert image_info(path).channels == 3
    deep = written(tmp_path, inks.astype(np.uint16) * 257, photometric="separated")
    np.testing.assert_allclose(read_image(deep)[0] / 257, light, atol=0.5)


BYTES = RNG.integers(0, 256, (13, 17, 4)).astype(np.uint8)
GRAY = BYTES[..., 0]
PALETTE = Image.fromarray(GRAY, "P")
PALETTE.putpalette(list(range(255, -1, -1)) * 3)  # index i is red = 255 - i; green and blue continue the ramp


@pytest.mark.parametrize(
    "picture, compression, stored, shown",
    [
        (Image.fromarray(GRAY), "tiff_lzw", GRAY, GRAY),
        (Image.fromarray(BYTES[..., :3]), "tiff_lzw", BYTES[..., :3], BYTES[..., :3]),
        # What is transparent in a mask was not drawn.
        (Image.fromarray(BYTES), "tiff_lzw", BYTES[..., :3] * (BYTES[..., 3:] > 0), BYTES[..., :3]),
        (PALETTE, "tiff_lzw", GRAY, np.asarray(PALETTE.convert("RGB"))),
        (Image.fromarray(GRAY > 99), "group4", GRAY > 99, (GRAY > 99) * np.uint8(255)),
        (Image.fromarray(GRAY * np.uint16(257)), "tiff_lzw", GRAY * np.uint16(257), GRAY * np.float32(257)),
        (Image.fromarray(GRAY * np.float32(3)), "tiff_lzw", GRAY * 3.0, GRAY * np.float32(3)),
        (Image.fromarray(BYTES[..., :3]), "packbits", BYTES[..., :3], BYTES[..., :3]),
        (Image.fromarray(BYTES[..., :3]), "tiff_adobe_deflate", BYTES[..., :3], BYTES[..., :3]),
    ],
)
def test_compressions(tmp_path, picture, compression, stored, shown):
    path = tmp_path / "a.tif"
    flipped = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    picture.save(path, compression=compression, save_all=True, append_images=[flipped])
    assert count_pages(path) == 2
    for number in (1, 0, 1):
        upright = slice(None, None, -1 if number else 1)
        np.testing.assert_array_equal(read_raw_mask(path, number), stored[upright])
        image = read_image(path, number, channels=None)
        np.testing.assert_array_equal(image, shown.reshape(13, 17, -1)[upright])
        assert image.dtype == shown.dtype
        assert image_info(path, number) == (*image.shape, shown.dtype == np.uint8)


@pytest.mark.parametrize("photometric, shown", [("minisblack", [0, 17, 255, 34]), ("miniswhite", [255, 238, 0, 221])])
def test_four_bits(tmp_path, photometric, shown):
    path = written(tmp_path, np.array([[0x01, 0xF2]], np.uint8), metadata=None, photometric=photometric)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages.first.tags["BitsPerSample"].overwrite(4)
        file.pages.first.tags["ImageWidth"].overwrite(4)
    assert read_raw_mask(path).tolist() == [[0, 1, 15, 2]]
    assert read_image(path, channels=1)[0, :, 0].tolist() == shown
    assert image_info(path) == (1, 4, 1, True)


def test_white_is_zero_with_lzw(tmp_path):
    for values in (np.array([[0, 55, 255]], np.uint8), np.array([[True, False, True]])):
        Image.fromarray(values).save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo={262: 0})
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            assert file.pages.first.photometric == 0
        stored = read_raw_mask(tmp_path / "a.tif")
        shown = read_image(tmp_path / "a.tif", channels=1)[..., 0]
        np.testing.assert_array_equal(shown, values * np.uint8(255) if values.dtype == bool else values)
        np.testing.assert_array_equal(stored, ~values if values.dtype == bool else 255 - values)


def test_orientation_with_lzw_is_applied_once(tmp_path):
    values = RNG.integers(0, 256, (5, 9)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo={274: 6})
    np.testing.assert_array_equal(read_raw_mask(tmp_path / "a.tif"), np.rot90(values, -1))
    assert image_info(tmp_path / "a.tif")[:2] == (9, 5)


def test_jpeg_in_tiff(tmp_path):
    ramp = np.stack([np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))] * 3, -1)
    Image.fromarray(ramp).save(tmp_path / "a.tif", compression="jpeg", quality=95)
    assert np.abs(read_image(tmp_path / "a.tif").astype(int) - ramp).max() < 6


def test_thumbnails_and_masks_are_no_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in VOLUME[:3]:
            file.write(page, photometric="minisblack")
            file.write(page[::4, ::4], photometric="minisblack", subfiletype=1)
    assert count_pages(tmp_path / "a.tif") == 3
    np.testing.assert_array_equal(read_raw_mask(tmp_path / "a.tif", 2), VOLUME[2])
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(VOLUME[0], photometric="minisblack")
        file.write(VOLUME[0] > 0, photometric="mask", subfiletype=4)
    np.testing.assert_array_equal(read_raw_mask(tmp_path / "b.tif"), VOLUME[0])


def test_pictures_that_are_not_read(tmp_path):
    path = written(tmp_path, np.zeros((32, 32, 32), np.uint8), volumetric=True, tile=(16, 16, 16))
    with pytest.raises(UserError, match=r"32 pictures deep in .*a\.tif"):
        read_image(path)
    path = written(tmp_path, np.zeros((4, 4), np.complex64))
    with pytest.raises(UserError, match=r"complex64.* in .*a\.tif"):
        read_image(path)
    path = written(tmp_path, np.zeros((4, 4, 3), np.uint8), photometric="cielab")
    with pytest.raises(UserError, match=r"CIELAB colors in .*a\.tif"):
        image_info(path)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"rowsperstrip": 4}], ids=str)
def test_cut_off_files_are_errors_wherever_they_end(tmp_path, options):
    whole = written(tmp_path, VOLUME, **options).read_bytes()
    cut = tmp_path / "cut.tif"
    for length in range(0, len(whole) - 1, max(1, len(whole) // 97)):
        cut.write_bytes(whole[:length])
        for page in range(6):
            try:
                values = read_raw_mask(cut, page)
            except UserError as error:
                assert "cut.tif" in str(error)
            else:
                np.testing.assert_array_equal(values, VOLUME[page])
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cut.tif"):
        for page in range(6):
            read_raw_mask(cut, page)


@pytest.mark.parametrize("options", [{}, {"metadata": None}, {"truncate": True}, {"imagej": True}, {"bigtiff": True}])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_stack_cut_inside_its_second_page_is_never_one_picture(tmp_path, options, compression):
    if compression and ("truncate" in options or "imagej" in options):
        pytest.skip("volumes under one header are not compressed")
    first = len(written(tmp_path, VOLUME[:1], **options, compression=compression).read_bytes())
    whole = written(tmp_path, VOLUME, **options, compression=compression).read_bytes()
    second = len(written(tmp_path, VOLUME[:2], **options, compression=compression).read_bytes())
    for length in range(first + 60, second - 20, 97):
        cut = tmp_path / "cut.tif"
        cut.write_bytes(whole[:length])
        for read in (read_image, read_raw_mask, image_info, lambda path: list(pictures_by_name(path))):
            with pytest.raises(UserError, match="cut.tif"):
                read(cut)


def test_a_circular_chain_of_pages(tmp_path):
    path = written(tmp_path, VOLUME, metadata=None)
    with tifffile.TiffFile(path) as file:
        offsets = [page.offset for page in file.pages]
        after = offsets[3] + 2 + 12 * len(file.pages[3].tags)
    content = bytearray(path.read_bytes())
    assert int.from_bytes(content[after : after + 4], "little") == offsets[4]
    content[after : after + 4] = offsets[1].to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"circle in .*a\.tif"):
        count_pages(path)


def test_size_is_refused_by_the_header(tmp_path):
    path = written(tmp_path, np.zeros((8, 8), np.uint8), metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        for tag in ("ImageWidth", "ImageLength"):
            file.pages.first.tags[tag].overwrite(60000)
    for read in (read_image, read_raw_mask, image_info):
        with pytest.raises(UserError, match=r"60000 x 60000 pixels in .*a\.tif"):
            read(path)


def test_packed_data_that_is_longer_than_the_picture(tmp_path):
    import zlib

    path = written(tmp_path, np.zeros((8, 8), np.uint8), metadata=None, compression="zlib")
    bomb = zlib.compress(RNG.bytes(2**21))
    with tifffile.TiffFile(path, mode="r+b") as file:
        page = file.pages.first
        page.tags["StripOffsets"].overwrite(path.stat().st_size)
        page.tags["StripByteCounts"].overwrite(len(bomb))
    path.write_bytes(path.read_bytes() + bomb)
    with pytest.raises(UserError, match=r"more packed data than pixels in .*a\.tif"):
        read_image(path)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"truncate": True}], ids=str)
def test_one_page_of_a_large_volume_needs_memory_for_one_page(tmp_path, options):
    pages = np.zeros((200, 512, 512), np.uint8)
    pages[117] = np.arange(512) % 251
    path = written(tmp_path, pages, **options)
    del pages
    read_raw_mask(path, 0)  # opens the file
    tracemalloc.start()
    values = read_image(path, 117, channels=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert values[3, 300, 0] == 300 - 251
    assert peak < 4 * 512 * 512


def test_the_chain_of_pages_is_walked_once(tmp_path, monkeypatch):
    path = written(tmp_path, np.zeros((300, 4, 4), np.uint8))
    tiff._open_stack.cache_clear()
    walks = []
    monkeypatch.setattr(tiff, "_chain", lambda *args, chain=tiff._chain: walks.append(1) or chain(*args))
    headers = []
    original = tifffile.TiffPage.__init__
    monkeypatch.setattr(tifffile.TiffPage, "__init__", lambda *a, **k: headers.append(1) or original(*a, **k))
    assert count_pages(path) == 300
    opening = len(headers)
    for page in range(0, 300, 10):
        read_raw_mask(path, page)
    assert len(walks) == 1
    assert len(headers) - opening == 30


def test_other_pictures_called_tif_have_one_page(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.tif")
    assert count_pages(tmp_path / "a.tif") == 1
    np.testing.assert_array_equal(read_raw_mask(tmp_path / "a.tif"), GRAY)
    (tmp_path / "b.tif").write_bytes(b"nothing")
    with pytest.raises(UserError, match="b.tif"):
        count_pages(tmp_path / "b.tif")


def test_few_files_stay_open(tmp_path, monkeypatch):
    paths = [written(tmp_path, VOLUME, f"{n}.tif") for n in range(tiff.OPEN_FILES + 8)]
    tiff._open_stack.cache_clear()
    gc.collect()
    closed = []
    monkeypatch.setattr(
        tifffile.TiffFile, "close", lambda self, close=tifffile.TiffFile.close: closed.append(1) or close(self)
    )
    for path in paths:
        read_raw_mask(path, 1)
    assert len(closed) == 8
    np.testing.assert_array_equal(read_raw_mask(paths[0], 1), VOLUME[1])


def test_a_replaced_file_is_read_again(tmp_path):
    path = written(tmp_path, VOLUME)
    assert count_pages(path) == 6
    written(tmp_path, VOLUME[:2] + 1)
    assert count_pages(path) == 2
    np.testing.assert_array_equal(read_raw_mask(path, 1), VOLUME[1] + 1)


@pytest.mark.parametrize("compression", [None, "zlib", "tiff_lzw"])
def test_threads_read_one_stack(tmp_path, compression):
    volume = RNG.integers(0, 200, (40, 64, 64)).astype(np.uint8)
    if compression == "tiff_lzw":
        pages = [Image.fromarray(page) for page in volume]
        pages[0].save(tmp_path / "a.tif", compression=compression, save_all=True, append_images=pages[1:])
    else:
        written(tmp_path, volume, compression=compression)
    tiff._open_stack.cache_clear()
    start = threading.Barrier(8)
    order = RNG.permutation(np.tile(np.arange(40), 8)).reshape(8, -1)

    def read(pages):
        start.wait()
        return [read_raw_mask(tmp_path / "a.tif", int(page)) for page in pages]

    with ThreadPoolExecutor(8) as executor:
        for pages, masks in zip(order, executor.map(read, order), strict=True):
            for page, mask in zip(pages, masks, strict=True):
                np.testing.assert_array_equal(mask, volume[page])


def test_sources_of_pages_travel_by_path(tmp_path):
    path = written(tmp_path, VOLUME)
    source, mask = ImageFile(path, 4, channels=1), MaskFile(path, 4)
    source.read()
    copies = pickle.loads(pickle.dumps((source, mask)))
    assert copies == (source, mask)
    np.testing.assert_array_equal(copies[0].read()[..., 0], VOLUME[4])
    np.testing.assert_array_equal(copies[1].read(), VOLUME[4])
