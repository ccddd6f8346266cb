import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hostile_texts import EVIL
from matplotlib.figure import Figure
from pictures import random_picture, two_classes
from PIL import Image

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import default_palette, plots, save_mask_png, save_prediction_sheet
from rankmatch_keras.texts import shown

pytestmark = pytest.mark.once


def test_a_mask_png_holds_ids_and_colors(tmp_path):
    classes = two_classes()
    classes[20, 20] = 254
    save_mask_png(tmp_path / "new" / "mask.png", classes)
    with Image.open(tmp_path / "new" / "mask.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), classes)
        assert np.asarray(picture.convert("RGB"))[10, 10].tolist() == default_palette(2)[1].tolist()


@pytest.mark.parametrize("with_truth", [True, False])
def test_prediction_sheet(tmp_path, with_truth):
    images, classes = [random_picture(), random_picture(40, 20, 1)], [two_classes(), two_classes(40, 20)]
    path = tmp_path / "sheet.png"
    save_prediction_sheet(path, images, classes if with_truth else None, classes, ["ground", "thing"])
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[1] == (1248 if with_truth else 832)
    legend = pixels[-70:]
    for color in default_palette(2):
        assert (abs(legend - color.astype(int)).sum(-1) == 0).any(), f"{color} missing in the legend"


def test_prediction_sheet_with_a_palette_and_a_float_image(tmp_path):
    image = random_picture(channels=5).astype(np.float32) * 1e4
    palette = ((10, 200, 30), (240, 20, 130))
    save_prediction_sheet(tmp_path / "sheet.png", [image], None, [two_classes()], ["a", "b"], palette)
    with Image.open(tmp_path / "sheet.png") as picture:
        legend = np.asarray(picture.convert("RGB")).astype(int)[-70:]
    for color in palette:
        assert (abs(legend - color).sum(-1) == 0).any(), f"{color} missing in the legend"


def test_prediction_sheet_thins_out_large_images(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(plots, "draw_sheet", lambda path, cells, *_: sizes.extend(c.shape for c in cells[0]))
    save_prediction_sheet(tmp_path / "x.png", [random_picture(1000, 3000)], None, [two_classes(1000, 3000)], ["a", "b"])
    assert sizes == [(334, 1000, 3)] * 2


@pytest.mark.parametrize("word", ["name", "WWWWWWWWWWWWWWWW", "a rather long class name " * 5])
@pytest.mark.parametrize("layout", [None, "constrained"])
def test_a_legend_of_many_classes_stays_on_the_canvas(word, layout):
    figure = Figure(figsize=(6.4, 2), dpi=130, layout=layout)
    figure.add_subplot()
    legend = [(shown(f"{k} {word}", "picture"), (0.1, 0.2, 0.3)) for k in range(59)]
    height = plots.legend_below(figure, plots.patches(legend))
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert len(figure.legends) == 1 and len(figure.legends[0].get_texts()) == 59
    assert 0 <= box.x0 and 0 <= box.y0 and box.x1 <= figure.bbox.x1
    assert box.height / figure.dpi == pytest.approx(height, rel=0.02)
    if layout:
        assert box.y1 <= figure.axes[0].get_window_extent().y0


@pytest.mark.parametrize("evil", EVIL)
def test_names_of_classes_mean_nothing_to_a_picture(evil, tmp_path):
    figure = Figure(figsize=(3, 2))
    axes = figure.add_subplot(title=evil[:99], xlabel=evil[:99])
    axes.plot([0, 1], label=shown(evil, "picture"))
    plots.legend_below(figure, axes.get_lines())
    plots.save_figure(figure, tmp_path / "a.png", tmp_path / "a.svg")
    ElementTree.parse(tmp_path / "a.svg")
    save_prediction_sheet(tmp_path / "sheet.png", [random_picture()], [two_classes()], [two_classes()], [evil, evil])
    assert len(figure.legends[0].get_texts()) == 1


def test_a_picture_that_fails_is_a_warning(capsys):
    def draw(number):
        raise OSError(28, f"no space \x1b[2J {number}")

    assert not plots.draw_or_say("curves.png", draw, 3)
    assert plots.draw_or_say("curves.png", abs, 3)
    assert capsys.readouterr().err == r"Warning: no curves.png (OSError: [Errno 28] no space \x1b[2J 3)." + "\n"


def test_mistakes_of_a_prediction_sheet(tmp_path):
    with pytest.raises(UserError, match="2 predictions"):
        save_prediction_sheet(tmp_path / "x.png", [random_picture()], None, [two_classes()] * 2, ["a", "b"])
    with pytest.raises(UserError, match="0 images"):
        save_prediction_sheet(tmp_path / "x.png", [], None, [], ["a"])


def test_matplotlib_is_not_imported_before_a_picture_is_drawn():
    code = (
        "import sys, rankmatch_keras.evaluation; sys.exit('matplotlib' in sys.modules or 'tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
