"""Windows of a scene are those of the picture as it is read whole."""

import numpy as np
import pytest
import tifffile

from rankmatch_keras.data.readers import scenes
from rankmatch_keras.data.readers.images import read_image
from rankmatch_keras.data.readers.scenes import Scene, open_scene
from rankmatch_keras.data.readers.sources import ImageFile
from rankmatch_keras.errors import UserError

pytestmark = pytest.mark.once

SIZE = (70, 91)
RGB = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
DEEP = RGB.astype(np.uint16) * 200
BANDS = np.moveaxis(np.concatenate([DEEP, DEEP[::-1]], -1), -1, 0)
NO_DATA = [(42113, "s", 2, "0", True)]
KINDS = {
    "tiles": (RGB, {"photometric": "rgb", "tile": (16, 32), "compression": "zlib"}),
    "tiles of JPEG": (RGB, {"photometric": "rgb", "tile": (32, 32), "compression": "jpeg"}),
    "strips": (RGB, {"photometric": "rgb", "rowsperstrip": 7, "compression": "lzw", "predictor": True}),
    "strips of bytes": (RGB, {"photometric": "rgb", "rowsperstrip": 9, "byteorder": ">"}),
    "16 bits without data": (
        np.where(DEEP < 9000, 0, DEEP),
        {"photometric": "rgb", "tile": (16, 16), "extratags": NO_DATA},
    ),
    "planes": (BANDS, {"photometric": "minisblack", "planarconfig": "separate", "tile": (32, 16), "byteorder": ">"}),
    "gray": (RGB[..., 0], {"photometric": "minisblack", "tile": (16, 16)}),
    "palette": (RGB[..., 0], {"photometric": "palette", "colormap": DEEP.reshape(-1, 3)[:256].T, "tile": (16, 16)}),
}


@pytest.mark.parametrize("name", KINDS)
def test_windows_are_those_of_the_whole_picture(name, tmp_path):
    values, options = KINDS[name]
    tifffile.imwrite(tmp_path / "a.tif", values, metadata=None, **options)
    channels = 6 if name == "planes" else 3
    whole = read_image(tmp_path / "a.tif", channels=channels)
    scene = Scene(ImageFile(tmp_path / "a.tif", None, channels))
    assert scene.shape == whole.shape and scene.dtype == whole.dtype
    for rows, columns in ((slice(0, 70), slice(0, 91)), (slice(15, 33), slice(31, 32)), (slice(60, 99), slice(80, 99))):
        np.testing.assert_array_equal(scene[rows, columns], whole[rows, columns])


def test_only_large_pictures_are_scenes(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb")
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert open_scene(ImageFile(tmp_path / "a.tif")) is None and open_scene(ImageFile(tmp_path / "a.png")) is None
    monkeypatch.setattr(scenes, "MAX_PIXELS", 6000)
    assert open_scene(ImageFile(tmp_path / "a.tif")).shape == (*SIZE, 3)
    assert open_scene(ImageFile(tmp_path / "a.tif", 0)) is None


def test_scenes_that_windows_cannot_be_read_from(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    with pytest.raises(UserError, match="turned by its orientation tag"):
        Scene(ImageFile(tmp_path / "a.tif"))
    tifffile.imwrite(tmp_path / "b.tif", RGB, photometric="rgb", tile=(16, 16))
    (tmp_path / "b.tif").write_bytes((tmp_path / "b.tif").read_bytes()[:9000])
    with pytest.raises(UserError, match=r"b\.tif"):
        Scene(ImageFile(tmp_path / "b.tif"))[:, :]
    monkeypatch.setattr(scenes, "SEGMENT_VALUES", 1000)
    tifffile.imwrite(tmp_path / "c.tif", RGB, photometric="rgb", rowsperstrip=70, compression="zlib")
    with pytest.raises(UserError, match=r"c\.tif', in large pieces. Save it in tiles"):
        Scene(ImageFile(tmp_path / "c.tif"))
