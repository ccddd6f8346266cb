import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.check import check
from rankmatch_keras.check.plots import DPI, save_class_chart, save_contact_sheet
from rankmatch_keras.data.readers.sources import Array
from rankmatch_keras.data.sets.samples import Sample, SegmentationData
from rankmatch_keras.errors import UserError

pytestmark = pytest.mark.once

RED = ((10, 10, 10), (255, 0, 0))


def make_report(count, size=(40, 60), channels=3, dtype=np.uint8):
    rng = np.random.default_rng(0)
    mask = np.zeros(size, np.int32)
    mask[:, size[1] // 2 :] = 1
    mask[:2] = 255
    samples = tuple(
        Sample(f"s{n}", Array(rng.integers(0, 99, (*size, channels)).astype(dtype), f"s{n}"), Array(mask, f"m{n}"))
        for n in range(count)
    )
    return check(SegmentationData("mini", samples, samples[:1], ("ground", "cell")))


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def near(image, color, tolerance=40):
    return (np.abs(image.astype(int) - color).max(-1) < tolerance).sum()


def test_chart(tmp_path):
    save_class_chart(tmp_path / "new" / "chart.png", make_report(3), RED)
    chart = pixels(tmp_path / "new" / "chart.png")
    assert chart.shape[1] == 10 * DPI and chart.shape[0] == int((1.3 + 0.17 * 2 * 3) * DPI)
    # The red class has half of the pixels and is in every image: bars in its color, and paler for validation.
    assert near(chart, (255, 0, 0)) > 1000 and near(chart, (255, 102, 102)) > 1000
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["chart.png"]


@pytest.mark.parametrize(("count", "columns", "rows"), [(2, 2, 1), (7, 6, 2), (60, 6, 4)])
def test_sheet_shows_up_to_24_images(tmp_path, count, columns, rows):
    save_contact_sheet(tmp_path / "sheet.png", make_report(count), RED)
    sheet = pixels(tmp_path / "sheet.png")
    assert sheet.shape[1] == round(columns * 2.4 * DPI)
    assert sheet.shape[0] == pytest.approx(((2.4 * 40 / 60 + 0.2) * rows + 0.6) * DPI, abs=2)
    # Each cell is half noise with a red tint.
    shown = (sheet[..., 0].astype(int) - sheet[..., 1] > 40).sum() / sheet[..., 0].size
    assert shown > 0.2 * min(count, 24) / (rows * columns)


@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, np.uint8), (2, np.uint8), (5, np.uint8), (1, np.float32), (4, np.float32)]
)
def test_sheet_of_any_image(tmp_path, channels, dtype):
    save_contact_sheet(tmp_path / "sheet.png", make_report(1, channels=channels, dtype=dtype), RED)
    assert pixels(tmp_path / "sheet.png").std() > 10


def test_large_images_are_made_small(tmp_path):
    save_contact_sheet(tmp_path / "sheet.png", make_report(1, size=(3000, 2000)))
    sheet = pixels(tmp_path / "sheet.png")
    assert sheet.shape[1] == round(2.4 * DPI) and sheet.shape[0] < 500


def test_nothing_to_draw_is_refused(tmp_path):
    bare = check(SegmentationData("mini", (), (), ("ground", "cell")))
    for save in (save_class_chart, save_contact_sheet):
        with pytest.raises(UserError, match="findings"):
            save(tmp_path / "a.png", bare)
    assert not list(tmp_path.iterdir())
