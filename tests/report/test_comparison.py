"""The report of a comparison: its numbers, the images where methods differ most, and that nobody's text is more."""

import html
import json
import re

import keras
import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import data, evaluation
from rankmatch_keras.comparison.measures import Comparison
from rankmatch_keras.comparison.records import Record
from rankmatch_keras.evaluation import Scores
from rankmatch_keras.report.side_by_side import fewest_labels, most_different, pair_of

pytestmark = pytest.mark.once

NAMES = ["ground", "<script>alert(1)</script>"]
METHODS = ("supervised", "rankmatch", "unimatch")


def scores_of(mean):
    return Scores(tuple(NAMES), (mean, mean), mean, 0.9, 6, 6, mean_iou_interval=(mean - 0.1, mean + 0.1))


@pytest.fixture
def run_folders(tmp_path):
    """Runs of three methods, networks that look at single pixels, on six images."""
    rng = np.random.default_rng(0)
    arguments = {"classes": NAMES}
    for place, high in (("images", 256), ("masks", 2), ("val_images", 256), ("val_masks", 2)):
        (tmp_path / place).mkdir()
        arguments[place] = str(tmp_path / place)
        for name in "abcdef":
            pixels = rng.integers(0, high, (20, 30, 3) if "images" in place else (20, 30))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / place / f"{name}.png")
    folders = []
    for number, method in enumerate(METHODS):
        folder = tmp_path / f"{method} <b>"
        folder.mkdir()
        image = keras.Input((None, None, 3))
        convolution = keras.layers.Conv2D(2, 1, use_bias=False)
        output = keras.layers.Softmax()(convolution(keras.layers.Rescaling(1 / 127.5, -1)(image)))
        convolution.set_weights([rng.normal(size=(1, 1, 3, 2))])
        keras.Model(image, output).save(folder / "last.keras")
        record = {
            "options": {"keep": "last", "method": method, "seed": 0, "labels": 4, "labeled_list": None},
            "data": {"loader": "ImageFolder", "arguments": arguments, "classes": NAMES},
            "split": {"id": "abc", "labeled": list("abcd"), "unlabeled": 2},
        }
        (folder / "config.json").write_text(json.dumps(record))
        (folder / "history.csv").write_text("epoch,loss,mean_iou\n1,2.0,0.1\n2,1.0,0.2\n")
        evaluation.write_json(folder / "scores.json", {"IoU %": scores_of(0.3 + 0.1 * number).to_dict()})
        folders.append(folder)
    return folders


def test_the_page_has_the_tables_and_the_images_that_differ_most(run_folders, tmp_path, rankmatch):
    code, out, err = rankmatch("compare", *run_folders, "--out", tmp_path / "table")
    assert code == 0 and out.splitlines()[-1] == f"The report is {tmp_path / 'table/report.html'}", err
    page = (tmp_path / "table" / "report.html").read_text(encoding="utf-8")
    assert "3 methods, 1 number of labels, 1 seed: 3 runs." in page
    assert re.search(r"<td>unimatch</td><td><b>50.00</b></td>", page)
    assert "<td>rankmatch</td><td>4</td><td>0</td><td>40.00</td><td>30.0 to 50.0</td><td>abc</td>" in page
    assert "unimatch gains most over supervised" in page and "unimatch loses most to supervised" in page

    dataset = data.ImageFolder(tmp_path / "val_images", tmp_path / "val_masks", classes=NAMES)
    single = {}
    for method, folder in zip(METHODS, run_folders, strict=True):
        evaluator = evaluation.Evaluator(dataset.train, NAMES)
        evaluator.evaluate(keras.saving.load_model(folder / "last.keras"))
        single[method] = {one.name: 100 * one.mean_iou for one in evaluator.image_scores}
    gain = {name: single["unimatch"][name] - single["supervised"][name] for name in "abcdef"}
    order = sorted(gain, key=gain.get)
    expected = [name for name in order[::-1] if gain[name] > 0][:3] + [name for name in order if gain[name] < 0][:3]
    assert re.findall(r"<p>(\w): ([+-][\d.]+) points</p>", page) == [(name, f"{gain[name]:+.1f}") for name in expected]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    wanted = [f"{method}: {single[method][expected[0]]:.1f} %" for method in METHODS]
    assert captions[:5] == ["Image", "Truth", *wanted]

    assert "<script>alert" not in page and " <b>/" not in page and html.escape(NAMES[1]) in page
    assert page.count("<script>") == 1 and not re.search(r"(src|href)=[\"'](?!data:)", page)
    code, _, err = rankmatch("report", tmp_path / "table", "--out", tmp_path / "again.html", "--shown", 3)
    again = (tmp_path / "again.html").read_text(encoding="utf-8")
    figures = r"data:image/svg[^\"]*"  # with the time in them
    assert code == 0 and re.sub(figures, "", again) == re.sub(figures, "", page), err


def test_without_its_images_it_has_the_tables(run_folders, tmp_path, rankmatch):
    for mask in (tmp_path / "val_masks").iterdir():
        mask.unlink()
    code, out, err = rankmatch("compare", *run_folders, "--out", tmp_path / "table")
    page = (tmp_path / "table" / "report.html").read_text(encoding="utf-8")
    assert code == 0 and len(err.splitlines()) == 1 and err.startswith("No images in the report: Expected")
    assert "<p>No images: Expected" in page and "<td>unimatch</td>" in page


@pytest.mark.parametrize("content", [None, "", "method\n", "method,labels,seed,folder,error\na,x,0,b,\n", "\0"])
def test_a_comparison_without_its_runs_is_one_line(content, tmp_path, rankmatch):
    (tmp_path / "table.md").write_text("# Comparison")
    if content is not None:
        (tmp_path / "runs.csv").write_text(content)
    code, _, err = rankmatch("report", tmp_path)
    assert code == 2 and "runs.csv" in err and len(err.splitlines()) == 1 and not (tmp_path / "report.html").exists()


def test_the_networks_that_are_shown(tmp_path):
    cells = [("supervised", 5, 1), ("a", 5, 0), ("a", 5, 1), ("b", 5, 1), ("a", 2, 0), ("b", "all", 1)]
    records = [
        Record(tmp_path, name, labels, seed, scores=scores_of(0.5 if name == "b" else 0.4))
        for name, labels, seed in cells
    ]
    comparison = Comparison(records)
    place, runs = fewest_labels(comparison)  # 2 labels have one method, seed 0 of 5 labels as well
    assert place == (5, 1) and list(runs) == ["supervised", "a", "b"]
    assert pair_of(comparison, 5, list(runs)) == ("b", "supervised") and pair_of(comparison, 5, ["a", "b"]) == (
        "b",
        "a",
    )
    assert fewest_labels(Comparison(records[:1])) is None


def test_the_largest_gains_and_losses():
    differences = np.array([0.1, -0.2, np.nan, 0.3, 0.0, -0.1])
    assert most_different(differences, 1) == ([3], [1]) and most_different(differences, 9) == ([3, 0], [1, 5])
