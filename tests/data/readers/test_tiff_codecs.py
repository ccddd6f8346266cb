"""Compressed TIFF: the values that were written, or a refusal that names the compression; never much memory."""

import io
import itertools
import lzma
import struct
import subprocess
import sys
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from rankmatch_keras.data.readers.images import read_image, read_raw_mask
from rankmatch_keras.errors import UserError

RNG = np.random.default_rng(0)
TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float16", "float32", "float64")
EXACT = (None, "lzw", "zlib", "deflate", "packbits", "zstd", "lzma", "lerc", "png", "jpeg2000")


def ramp(dtype, shape):
    """Smooth values, for lossy compressions, that differ in their bytes."""
    values = np.add.outer(np.arange(shape[-2]), np.arange(shape[-1])) * 2 + np.zeros(shape)
    return (values + 0.5 if np.dtype(dtype).kind == "f" else values).astype(dtype)


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("compression", EXACT)
def test_what_was_written_is_read_or_refused_by_name(tmp_path, compression, byteorder):
    path = tmp_path / "a.tif"
    read = refused = 0
    layouts = ({"rowsperstrip": 5}, {"tile": (16, 16)})
    # LZMA takes a while to set up.
    types = ("uint8", "int16", "float32") if compression == "lzma" else TYPES
    colors = [{"photometric": "rgb", "planarconfig": config} for config in ("contig", "separate")]
    planes = ({"photometric": "minisblack"}, *colors)
    for dtype, predictor, layout, plane in itertools.product(types, (False, True), layouts, planes):
        values = ramp(dtype, (3, 21, 18) if "planarconfig" in plane else (21, 18))
        expected = values[..., None] if values.ndim == 2 else np.moveaxis(values, 0, -1)
        written = expected if plane.get("planarconfig") == "contig" else values
        try:
            options = {"compression": compression, "predictor": predictor or None, "byteorder": byteorder}
            tifffile.imwrite(path, written, **options, **layout, **plane)
        except Exception:  # not all combinations can be written
            continue
        try:
            found = read_image(path, channels=None)
        except UserError as error:
            assert compression.upper() in str(error) and "a.tif" in str(error)
            refused += 1
        else:
            np.testing.assert_array_equal(found, expected.astype(found.dtype), str((dtype, predictor, layout, plane)))
            read += 1
    assert read >= (60 if compression in (None, "packbits") else 4)
    assert not refused or compression in ("lerc", "jpeg2000")


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("bits", [8, 12])
def test_jpeg_is_close_to_what_was_written(tmp_path, byteorder, bits):
    for layout, bands in itertools.product(({"rowsperstrip": 16}, {"tile": (16, 16)}), (1, 3)):
        values = ramp("uint16" if bits == 12 else "uint8", (40, 35))
        values = values if bands == 1 else np.stack([values] * 3, -1)
        kind = {"photometric": "minisblack" if bands == 1 else "rgb", "byteorder": byteorder}
        options = {"compression": "jpeg", "compressionargs": {"level": 98}}
        if bits == 12:
            options["compressionargs"]["bitspersample"] = 12
        try:
            tifffile.imwrite(tmp_path / "a.tif", values, **kind, **layout, **options)
        except ValueError:
            continue
        found = read_image(tmp_path / "a.tif", channels=None)
        assert np.abs(found.astype(float) - values.reshape(found.shape)).max() < 6


def tiff_of(packed, values, compression, byteorder=">", tags=()):
    """Write a TIFF of one strip by hand: nothing here is from the library that reads it."""
    order, kinds = byteorder, {"u": 1, "i": 2, "f": 3}
    fields = {256: values.shape[1], 257: values.shape[0], 258: 8 * values.dtype.itemsize, 259: compression, 262: 1}
    fields |= {273: 8, 277: 1, 278: values.shape[0], 279: len(packed), 339: kinds[values.dtype.kind]} | dict(tags)
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, fields[tag]) for tag in sorted(fields))
    start = 8 + len(packed) + len(packed) % 2
    head = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, start)
    count = struct.pack(f"{order}H", len(fields))
    return head + packed + b"\0" * (len(packed) % 2) + count + entries + b"\0" * 4


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("predictor", [1, 2])
def test_files_by_hand_are_read_in_their_byte_order(tmp_path, byteorder, dtype, predictor):
    values = RNG.integers(0, 100, (9, 7)).astype(dtype) + np.asarray(0.5).astype(dtype)
    stored = values
    if predictor == 2:
        if values.dtype.kind == "f":
            pytest.skip("the horizontal predictor is for integers")
        stored = np.diff(values, axis=1, prepend=np.zeros((9, 1), dtype))
    raw = stored.astype(stored.dtype.newbyteorder(byteorder)).tobytes()
    packbits = b"".join(bytes([len(raw[i : i + 128]) - 1]) + raw[i : i + 128] for i in range(0, len(raw), 128))
    packed = {1: raw, 8: zlib.compress(raw), 32773: packbits, 34925: lzma.compress(raw), 5: lzw(raw)}
    for compression, data in packed.items():
        if compression == 1 and predictor == 2:
            continue
        (tmp_path / "a.tif").write_bytes(tiff_of(data, values, compression, byteorder, {317: predictor}.items()))
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels=1)[..., 0], values)


def lzw(raw):
    codes = [c for i, b in enumerate(raw) for c in ([256] if i % 200 == 0 else []) + [b]] + [257]
    bits = "".join(f"{code:09b}" for code in codes)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


@pytest.mark.parametrize("compression", ["zlib", "packbits", "lzw", "zstd", "lzma"])
def test_a_last_strip_as_high_as_the_others(tmp_path, compression):
    values = RNG.integers(0, 256, (21, 37)).astype(np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, compression=compression, rowsperstrip=5, metadata=None)
    encode = getattr(imagecodecs, f"{compression}_encode")
    last = encode(np.concatenate([values[20:], np.zeros((4, 37), np.uint8)]).tobytes())
    with tifffile.TiffFile(path, mode="r+b") as file:
        page = file.pages.first
        offsets, counts = [*page.dataoffsets[:-1], path.stat().st_size], [*page.databytecounts[:-1], len(last)]
        page.tags["StripOffsets"].overwrite(offsets)
        page.tags["StripByteCounts"].overwrite(counts)
    path.write_bytes(path.read_bytes() + last)
    np.testing.assert_array_equal(read_raw_mask(path), values)


@pytest.mark.parametrize(
    "options, name",
    [
        ({"compression": "jpegxl"}, "JPEGXL"),
        ({"compression": "jpegxr"}, "JPEGXR"),
        ({"compression": "jpeg2000", "byteorder": ">"}, "JPEG2000 of 16 bits in big-endian order"),
        ({"compression": "lerc", "predictor": True}, "LERC with a predictor"),
    ],
)
def test_what_is_not_read_is_refused_by_name(tmp_path, options, name):
    tifffile.imwrite(tmp_path / "a.tif", ramp("uint16", (32, 32)), photometric="minisblack", **options)
    with pytest.raises(UserError, match=rf"{name} in .*a\.tif.*Deflate or LZW"):
        read_image(tmp_path / "a.tif", channels=1)


def jpeg_of(size, *, scans=0, **options):
    buffer = io.BytesIO()
    Image.new("L", size, 99).save(buffer, "jpeg", **options)
    data = buffer.getvalue()
    last = data[data.rfind(b"\xff\xc4", 0, data.rfind(b"\xff\xda")) : -2]
    return data[:-2] + last * scans + data[-2:]


def bombs():
    """Small files that would take gigabytes or minutes."""
    page = np.zeros((16, 16), np.uint8)
    empty = bytes(2**20)
    deflate = zlib.compressobj(9)
    packed = b"".join(deflate.compress(empty) for _ in range(200)) + deflate.flush()
    yield "deflate.tif", tiff_of(packed, page, 8)
    packer = lzma.LZMACompressor(preset=1)
    packed = b"".join(packer.compress(empty) for _ in range(96)) + packer.flush()
    yield "lzma.tif", tiff_of(packed, page, 34925)
    yield "zstd.tif", tiff_of(imagecodecs.zstd_encode(bytes(2**27)), page, 50000)
    yield "tile.tif", tiff_of(zlib.compress(empty), page, 8, tags={322: 60000, 323: 60000, 324: 8, 325: 99}.items())
    yield "jpeg.tif", tiff_of(jpeg_of((8000, 8000)), page, 7)
    yield "lerc.tif", tiff_of(imagecodecs.lerc_encode(np.zeros((8000, 8000), np.uint8)), page, 34887)
    large = io.BytesIO()
    Image.new("L", (8000, 8000)).save(large, "png")
    yield "png.tif", tiff_of(large.getvalue(), page, 34933)
    yield "scans.tif", tiff_of(jpeg_of((2048, 2048), scans=600, progressive=True), np.zeros((2048, 2048), np.uint8), 7)
    yield "scans.jpg", jpeg_of((2048, 2048), scans=600, progressive=True)


def test_bombs_are_refused_in_little_memory_and_time(tmp_path):
    code = (
        "import sys, time, resource; from rankmatch_keras.data.readers.images import read_image\n"
        "from rankmatch_keras.errors import UserError\n"
        "for path in sys.argv[1:]:\n"
        "    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    try:\n        read_image(path, channels=None)\n        found = 'read'\n"
        "    except UserError as error:\n        found = 'refused' if path in str(error) else str(error)\n"
        "    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "    print(found, more < 60_000, time.process_time() - start < 5)\n"
    )
    paths = []
    for name, content in bombs():
        (tmp_path / name).write_bytes(content)
        paths.append(str(tmp_path / name))
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    found = dict(zip((path.rpartition("/")[2] for path in paths), done.stdout.splitlines(), strict=True))
    # LZMA gives what there is room for; the rest is never unpacked.
    assert found == dict.fromkeys(found, "refused True True") | {"lzma.tif": "read True True"}


def test_scans_of_usual_files_are_read(tmp_path):
    values = RNG.integers(0, 256, (40, 40, 3)).astype(np.uint8)
    for mode in ("L", "RGB", "CMYK"):
        Image.fromarray(values).convert(mode).save(tmp_path / "a.jpg", progressive=True)
        assert read_image(tmp_path / "a.jpg", channels=None).shape[:2] == (40, 40)
    (tmp_path / "a.jpg").write_bytes(jpeg_of((40, 40), scans=100, progressive=True))
    assert read_image(tmp_path / "a.jpg", channels=1).shape == (40, 40, 1)
