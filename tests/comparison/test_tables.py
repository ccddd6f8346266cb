"""Tables of a comparison whose numbers are computed by hand from the scores of its runs."""

import csv
import itertools
import re

import numpy as np
import pytest
from hostile_texts import EVIL
from matplotlib.colors import to_rgb
from PIL import Image

from rankmatch_keras.comparison import charts
from rankmatch_keras.comparison.charts import save_class_chart, save_learning_curves
from rankmatch_keras.comparison.csv_files import write_tables
from rankmatch_keras.comparison.latex import to_latex
from rankmatch_keras.comparison.markdown import to_markdown
from rankmatch_keras.comparison.measures import BEST, LAST, Comparison
from rankmatch_keras.comparison.records import read_record, read_runs
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import printable, shown

# Mean IoU after the last step, and at the best epoch.
SCORES = {
    ("supervised", 10, 0): (0.40, 0.41),
    ("supervised", 10, 1): (0.42, 0.43),
    ("rank_match", 10, 0): (0.50, 0.60),
    ("rank_match", 10, 1): (0.54, 0.54),
    ("supervised", 20, 0): (0.60, 0.60),
    ("rank_match", 20, 0): (0.55, 0.58),
}

pytestmark = pytest.mark.once


@pytest.fixture
def comparison(write_run, tmp_path):
    folders = [
        write_run(f"{method}-{labels}-{seed}", method, labels, seed, score=last, best=best)
        for (method, labels, seed), (last, best) in SCORES.items()
    ]
    failed = read_record(tmp_path / "none", "unimatch", 10, 0, "ended by signal 9")
    return Comparison([*read_runs(folders), failed])


def rows_of(text, title):
    section = text.split(title)[1].split("##")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]


def test_markdown(comparison):
    text = to_markdown(comparison)
    # Sample deviations: 0.02 / sqrt 2 and 0.04 / sqrt 2.
    assert rows_of(text, "## After the last step; x val, 7 images, whole") == [
        ["method", "10", "20"],
        ["---", "---", "---"],
        ["supervised", "41.00 ± 1.41", "**60.00** (1)"],
        ["rank_match", "**52.00 ± 2.83**", "55.00 (1)"],
        ["unimatch", "failed", ""],
        ["Δ best other − supervised", "+11.00", "-5.00"],
    ]
    assert rows_of(text, "## Best epoch on 4 validation images")[3] == ["rank_match", "**57.00 ± 4.24**", "58.00 (1)"]
    # Differences 10 and 12: t = 11 / (1.4142 / 1.4142) = 11 with one degree of freedom, p = 2 atan(1 / 11) / pi.
    paired = rows_of(text, "## Paired over seeds")
    assert paired[2] == ["rank_match", "supervised", "10", "2", "+11.00 ± 1.41", "0.0577", "-"]
    assert paired[3][3:6] == ["1", "-5.00", "no test: one seed in common"]
    assert rows_of(text, "## Cost")[2] == ["supervised", "torch", "0.200", "60", "70", "1.50"]
    assert "- unimatch, 10, seed 0: ended by signal 9" in text


def test_latex(comparison):
    text = to_latex(comparison)
    assert r"rank\_match & \textbf{52.00}{\scriptsize$\pm$2.83} & 55.00 \\" in text
    assert r"$\Delta\uparrow$ & +11.00 & -5.00 \\" in text
    assert text.count(r"\begin{tabular}{lcc}") == text.count(r"\bottomrule") == 2
    assert "unimatch & -- & --" in text


def test_csv(comparison, tmp_path):
    write_tables(tmp_path / "out", comparison)
    tables = {}
    for name in ("table", "pairs", "runs"):
        with (tmp_path / "out" / f"{name}.csv").open(newline="") as file:
            tables[name] = list(csv.DictReader(file))
    row = next(r for r in tables["table"] if (r["measure"], r["method"], r["labels"]) == ("last", "rank_match", "10"))
    assert float(row["mean"]) == pytest.approx(52) and float(row["minus_supervised"]) == pytest.approx(11)
    pair = next(r for r in tables["pairs"] if (r["measure"], r["minus"], r["labels"]) == ("last", "supervised", "10"))
    assert float(pair["p_t_test"]) == pytest.approx(0.05772, abs=1e-5) and pair["p_wilcoxon"] == ""
    assert len(tables["runs"]) == 7 and tables["runs"][-1]["error"] == "ended by signal 9"
    assert tables["runs"][0]["split"] == "10-0" and tables["runs"][0]["last"] == "40.0"


def test_charts(comparison, tmp_path):
    paths = [*save_learning_curves(tmp_path, comparison), *save_class_chart(tmp_path, comparison)]
    assert [path.name for path in paths] == ["curves.png", "curves.svg", "classes.png", "classes.svg"]
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert min(picture.size) > 300
        else:
            assert path.read_text().lstrip().startswith("<?xml")


def test_long_names_fit_on_the_chart(write_run, monkeypatch, tmp_path):
    options = ["similarity=cosine", "temperature=0.1", "agent_gradient=false"]
    runs = read_runs([write_run("a", "supervised"), write_run("b", "rankmatch", set=options)])
    figures = []
    monkeypatch.setattr(charts, "_save", lambda figure, folder, name: figures.append(figure) or [])
    save_learning_curves(tmp_path, Comparison(runs))
    (figure,) = figures
    figure.canvas.draw()
    (legend,) = figure.legends
    assert len(legend.get_texts()[-1].get_text()) > 50
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 < figure.axes[0].get_window_extent().y0


def test_every_method_has_its_own_color(write_run, monkeypatch, tmp_path):
    names = ["supervised", "fixmatch", "unimatch", "augseg", "cps", "u2pl", "css", "esl", "daw", "ael", "rankmatch"]
    figures = []
    monkeypatch.setattr(charts, "_save", lambda figure, folder, name: figures.append(figure) or [])
    save_learning_curves(tmp_path, Comparison(read_runs([write_run(name, name) for name in names])))
    colors = [to_rgb(line.get_color()) for line in figures[0].axes[0].lines]
    assert len(colors) == len(names)
    for one, other in itertools.combinations(colors, 2):
        assert np.abs(np.subtract(one, other)).max() > 0.1


def test_measures(comparison):
    assert comparison.values(BEST, "rank_match", 10) == pytest.approx({0: 60.0, 1: 54.0})
    assert comparison.best(LAST, 20) == "supervised" and comparison.has_baseline
    assert comparison.pairs() == [
        ("rank_match", "supervised"),
        ("unimatch", "supervised"),
        ("unimatch", "rank_match"),
    ]
    assert comparison.pairs(most=2) == [("rank_match", "supervised"), ("unimatch", "supervised")]


def test_a_comparison_without_finished_runs(tmp_path):
    comparison = Comparison([read_record(tmp_path / "none", "unimatch", None, 0, "no method")])
    text = to_markdown(comparison)
    assert "| unimatch | failed |" in text and "no method" in text and "No finished run." in text
    assert save_learning_curves(tmp_path, comparison) == save_class_chart(tmp_path, comparison) == []
    with pytest.raises(UserError, match="runs to compare"):
        Comparison([])


def test_the_title_says_which_network_was_scored(write_run):
    comparison = Comparison(read_runs([write_run("a", keep="best"), write_run("b", "supervised", keep="best")]))
    assert "\n## Best network on validation images; x val, 7 images, whole\n" in to_markdown(comparison)


@pytest.mark.parametrize("evil", [text for text in EVIL if len(text) < 99])
def test_names_of_methods_mean_nothing_to_a_table(evil, write_run, tmp_path):
    runs = read_runs([write_run("a", "supervised"), write_run("b", evil, changes={"backend": evil})])
    comparison = Comparison([*runs, read_record(tmp_path / "none", evil, 10, 1, evil)])
    text, latex = to_markdown(comparison), to_latex(comparison)
    assert printable(text, keep="\n") == text and printable(latex, keep="\n") == latex
    assert "<" not in text and f"\n{shown(evil, 'latex')} & " in latex
    like = to_markdown(Comparison([*runs, read_record(tmp_path / "none", "plain", 10, 1, "plain")]))
    assert _columns(text) <= _columns(like)
    write_tables(tmp_path, comparison)
    for name in ("table.csv", "pairs.csv", "runs.csv"):
        with (tmp_path / name).open(newline="", encoding="utf-8") as file:
            cells = {row[column] for row in csv.DictReader(file) for column in {"method", "minus", "error"} & {*row}}
        assert shown(evil, "csv") in cells and cells <= {shown(evil, "csv"), "supervised", ""}


def _columns(table):
    return {len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines() if line.startswith("|")}
