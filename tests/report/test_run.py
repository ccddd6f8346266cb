"""The report of a run: its numbers, what it shows, and that nobody's text is more than text."""

import base64
import html
import io
import json
import re

import keras
import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import data, evaluation
from rankmatch_keras.layers import ChannelNormalization
from rankmatch_keras.models.backbones import IMAGENET
from rankmatch_keras.report.images import chosen, most_wrong

pytestmark = pytest.mark.once

NAMES = ["ground", "<script>alert(1)</script>", "a & \x1b[31mb"]


@pytest.fixture
def run_folder(tmp_path):
    """A run of a network that looks at single pixels, on eight images with masks."""
    rng = np.random.default_rng(0)
    for name in "abcdefgh":
        for place, values in (("images", rng.integers(0, 256, (20, 30, 3))), ("masks", rng.integers(0, 3, (20, 30)))):
            (tmp_path / place).mkdir(exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / place / f"{name}.png")
    folder = tmp_path / "runs" / "first <b>"
    folder.mkdir(parents=True)
    image = keras.Input((None, None, 3))
    convolution = keras.layers.Conv2D(3, 1, use_bias=False)
    output = keras.layers.Softmax()(convolution(ChannelNormalization(**IMAGENET)(image)))
    convolution.set_weights([rng.normal(size=(1, 1, 3, 3))])
    keras.Model(image, output).save(folder / "last.keras")
    places = {name: str(tmp_path / place) for name, place in (("images", "images"), ("masks", "masks"))}
    places |= {f"val_{name}": place for name, place in places.items()}
    arguments = {**places, "images": str(tmp_path / "others"), "masks": str(tmp_path / "other_masks"), "classes": NAMES}
    for place, source in (("others", "images"), ("other_masks", "masks")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "z.png").write_bytes((tmp_path / source / "a.png").read_bytes())
    record = {
        "options": {"keep": "last", "method": "rankmatch", "crop": 33},
        "data": {"loader": "ImageFolder", "arguments": arguments, "classes": NAMES},
        "split": {"id": "abc", "labeled": ["z"], "unlabeled": 5},
    }
    (folder / "config.json").write_text(json.dumps(record))
    rows = ("epoch,loss,mean_iou,train_seconds,step_seconds", "1,2.0,0.1,60,0.5", "2,1.0,0.2,60,0.5")
    (folder / "history.csv").write_text("\n".join(rows))
    (folder / "pseudo_labels.csv").write_text("epoch,threshold,kept,accuracy,accuracy_all\n1,0.9,0.5,0.8,0.7\n")
    return folder


def test_a_report_shows_the_scores_and_needs_nothing_else(run_folder, tmp_path, rankmatch):
    code, out, err = rankmatch("report", run_folder, "--shown", 1)
    assert code == 0, err
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    dataset = data.ImageFolder(tmp_path / "images", tmp_path / "masks", classes=NAMES)
    evaluator = evaluation.Evaluator(dataset.train, NAMES)
    scores = evaluator.evaluate(keras.saving.load_model(run_folder / "last.keras"))
    assert f"<b>{100 * scores.mean_iou:.1f} %</b>" in page and f"{100 * scores.mean_iou:.1f} %" in out
    for name, iou, recall in zip(NAMES, scores.iou, scores.recall, strict=True):
        shown = html.escape(name.replace("\x1b", r"\x1b"))
        (row,) = [line for line in page.splitlines() if f"</span>{shown}</td>" in line]
        assert f"<b>{100 * iou:.1f}</b>" in row and row.endswith(f"<td>{100 * recall:.1f}</td></tr>")
    shares = evaluator.matrix.counts / evaluator.matrix.counts.sum(axis=1, keepdims=True)
    assert f">{100 * shares[0, 0]:.0f}</td>" in page
    assert "2.0 min, 0.50 s a step" in page and "split abc" in page
    # Nothing is loaded from elsewhere, and what the pictures show is in the page.
    assert not re.search(r"(src|href)=[\"'](?!data:)", page) and "http" not in page.replace("http-equiv", "")
    order = sorted(evaluator.image_scores, key=lambda one: one.mean_iou)
    names = re.findall(r"<figcaption>(\w+):", page)
    assert "among the 8 images with the most wrong pixels" in page and page.count("taken for") == 1 + 2
    assert "Pseudo-labels kept and right" in page
    assert names[0] == order[0].name and names[-1] == order[-1].name and len(names) == 3
    pictures = re.findall(r'<img src="data:image/webp;base64,([^"]+)" alt="Image of (\w+)">', page)
    first = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[0][0]))), float)
    image = np.asarray(Image.open(tmp_path / "images" / f"{pictures[0][1]}.png"), float)
    assert first.shape == image.shape and abs(first.mean() - image.mean()) < 5


def test_nobodys_text_is_more_than_text(run_folder, rankmatch):
    assert rankmatch("report", run_folder)[0] == 0
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "first <b>" not in page and "\x1b" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("<script>") == 1  # its own


def test_mistakes_are_one_line(run_folder, tmp_path, rankmatch):
    for arguments, found in (
        ((tmp_path / "nowhere",), "config.json"),
        ((run_folder, "--part", "test"), "a test set"),
        ((run_folder, "--out", tmp_path), "the folder"),
    ):
        code, _, err = rankmatch("report", *arguments)
        assert code == 2 and found in err and "Traceback" not in err and len(err.splitlines()) == 1
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize(
    ("number", "expected"),
    [(1, ["a", "c", "e"]), (2, ["ab", "c", "ed"]), (3, ["abc", "ed"]), (9, ["abcde"])],
)
def test_each_image_is_shown_once(number, expected):
    names, scores = "edxcba", (0.9, 0.8, np.nan, 0.5, 0.2, 0.1)
    assert ["".join(names[place] for place in places) for _, places in chosen(scores, number)] == expected


def test_the_images_with_the_most_wrong_pixels():
    right, truth = np.array([[5, 0], [3, 3], [1, 0]]), np.array([[5, 0], [4, 4], [1, 9]])  # 0, 2 and 9 wrong ones
    counts = np.stack([right, truth, truth], axis=1)
    assert most_wrong(counts, 5) == [2, 1] and most_wrong(counts, 1) == [2]
