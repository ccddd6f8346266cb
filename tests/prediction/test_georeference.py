import numpy as np
import pytest
import tifffile

from rankmatch_keras.prediction.georeference import NO_DATA, TAGS, read_georeference

pytestmark = pytest.mark.once

TEXT = "WGS 84 / UTM zone 33N|WGS 84|"
KEYS = (1, 1, 0, 4, 1024, 0, 1, 1, 1025, 0, 1, 1, 1026, 34737, len(TEXT), 0, 3072, 0, 1, 32633)
UTM = [
    (33550, "d", 3, (10.0, 10.0, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, 500000.0, 5400000.0, 0.0), True),
    (34735, "H", len(KEYS), KEYS, True),
    (34737, "s", len(TEXT) + 1, TEXT, True),
]


def write(path, tags, **options):
    tifffile.imwrite(
        path, np.zeros((8, 9), np.uint8), photometric="minisblack", extratags=tags, metadata=None, **options
    )
    return path


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True}], ids=str)
def test_tags_are_copied_as_they_are(tmp_path, options):
    place = read_georeference(write(tmp_path / "a.tif", UTM, **options))
    write(tmp_path / "b.tif", place.extra_tags("255"))
    with tifffile.TiffFile(tmp_path / "a.tif") as one, tifffile.TiffFile(tmp_path / "b.tif") as other:
        for code in TAGS:
            assert one.pages[0].tags.valueof(code) == other.pages[0].tags.valueof(code)
            assert (code in one.pages[0].tags) == (code in {tag[0] for tag in UTM})
        assert other.pages[0].tags.valueof(NO_DATA) == "255"
    assert place.epsg == 32633
    np.testing.assert_array_equal(
        place.to_map(np.array([[0.0, 0.0], [9.0, 8.0]])), [[5e5, 54e5], [5e5 + 90, 54e5 - 80]]
    )


def test_a_matrix_and_tie_points_in_the_middle_of_pixels(tmp_path):
    matrix = (2.0, 0, 0, 100, 0, -2.0, 0, 200, 0, 0, 0, 0, 0, 0, 0, 1)
    place = read_georeference(write(tmp_path / "a.tif", [(34264, "d", 16, matrix, True)]))
    assert place.to_map(np.array([[1.0, 3.0]])).tolist() == [[102.0, 194.0]] and place.epsg is None
    keys = (1, 1, 0, 2, 1025, 0, 1, 2, 2048, 0, 1, 4326)
    place = read_georeference(write(tmp_path / "b.tif", [*UTM[:2], (34735, "H", 12, keys, True)]))
    assert place.to_map(np.array([[0.5, 0.5]])).tolist() == [[500000.0, 5400000.0]] and place.epsg == 4326


def test_many_control_points_are_copied_without_a_matrix(tmp_path):
    points = tuple(float(number) for number in range(12))
    place = read_georeference(write(tmp_path / "a.tif", [(33922, "d", 12, points, True)]))
    assert place.matrix is None and place.tags[33922][2] == points


def test_images_without_a_place(tmp_path):
    assert read_georeference(write(tmp_path / "a.tif", [])) is None
    assert read_georeference(write(tmp_path / "b.tif", [*UTM, (274, "H", 1, 6, True)])) is None
    (tmp_path / "c.png").write_bytes(b"\x89PNG")
    assert read_georeference(tmp_path / "c.png") is None
    (tmp_path / "d.tif").write_bytes(b"II*\0 cut off")
    assert read_georeference(tmp_path / "d.tif") is None
