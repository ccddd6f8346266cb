"""The part of the gap between few and all labels that a method closes, computed by hand."""

import csv
import re

import pytest

from rankmatch_keras.comparison import charts
from rankmatch_keras.comparison.charts import save_class_chart, save_learning_curves
from rankmatch_keras.comparison.csv_files import write_tables
from rankmatch_keras.comparison.latex import to_latex
from rankmatch_keras.comparison.markdown import to_markdown
from rankmatch_keras.comparison.measures import LAST, Comparison
from rankmatch_keras.comparison.records import ALL, read_record, read_runs
from rankmatch_keras.errors import UserError

pytestmark = pytest.mark.once


@pytest.fixture
def compare(write_run):
    """Return a function from `{(method, labels): {seed: mean IoU in %}}` to a comparison of such runs."""

    def make(cells, **options):
        folders = [
            write_run(f"{method}-{labels}-{seed}-{score}", method, labels, seed, score=score / 100, **options)
            for (method, labels), scores in cells.items()
            for seed, score in scores.items()
        ]
        return Comparison(read_runs(folders))

    return make


# Seed 0: (25 - 20) / (30 - 20) = 50 %; seed 1: (27 - 22) / (30 - 22) = 62.5 %.
# Mean 56.25, sample deviation 12.5 / sqrt 2 = 8.84; gaps 10 and 8: mean 9, deviation sqrt 2.
CELLS = {
    ("supervised", 10): {0: 20, 1: 22},
    ("rank_match", 10): {0: 25, 1: 27},
    ("supervised", ALL): {0: 30, 1: 30},
}


def table_of(text, title):
    section = text.split(title)[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return rows, [line for line in section.splitlines() if line.startswith(("The gap", "No seed"))]


def test_by_hand(compare):
    comparison = compare(CELLS)
    assert comparison.labels == [10, ALL] and comparison.gap(LAST, 10) == pytest.approx({0: 10, 1: 8})
    closed = comparison.gap_closed(LAST, "rank_match", 10)
    assert (closed.n, closed.mean, closed.sd) == (2, pytest.approx(56.25), pytest.approx(12.5 / 2**0.5))
    rows, notes = table_of(to_markdown(comparison), "## After the last step")
    assert rows[0] == ["method", "10", "all (40)", "gap closed, %"]
    assert rows[2] == ["supervised", "21.00 ± 1.41", "30.00 ± 0.00", ""]
    assert rows[3] == ["rank_match", "**26.00 ± 1.41**", "", "56.2 ± 8.8"]
    assert rows[4] == ["Δ best other − supervised", "+5.00", "", ""]
    assert notes == ["The gap between 10 and all labels is 9.00 ± 1.41 points (2 seeds)."]


def test_latex(compare):
    text = to_latex(compare(CELLS))
    assert r"Method & 10 & all (40) & Gap closed, \% \\" in text and r"\begin{tabular}{lccc}" in text
    assert r"rank\_match & \textbf{26.00}{\scriptsize$\pm$1.41} & -- & 56.2 $\pm$ 8.8 \\" in text
    assert r"\par{\footnotesize The gap between 10 and all labels is 9.00 $\pm$ 1.41 points (2 seeds).}" in text
    widths = {len(re.split(r"(?<!\\)&", line)) for line in text.splitlines() if line.endswith(r"\\")}
    assert widths == {4}


def test_csv(compare, tmp_path):
    write_tables(tmp_path / "out", compare(CELLS))
    tables = {}
    for name in ("table", "pairs", "runs"):
        with (tmp_path / "out" / f"{name}.csv").open(newline="") as file:
            tables[name] = list(csv.DictReader(file))
    rows = {(row["method"], row["labels"]): row for row in tables["table"] if row["measure"] == "last"}
    assert {*rows} == {*((method, str(labels)) for method, labels in CELLS)}
    row = rows["rank_match", "10"]
    assert [float(row[name]) for name in ("gap", "gap_closed", "gap_closed_sd")] == pytest.approx([9, 56.25, 8.838835])
    assert row["gap_closed_seeds"] == "2" and "9.00" in row["gap_note"]
    assert rows["supervised", "10"]["gap_closed"] == rows["supervised", "all"]["gap"] == ""
    assert [row["labels"] for row in tables["pairs"]] == ["10", "10", "10"]
    assert tables["runs"][-1]["labels"] == "all" and tables["runs"][-1]["labeled_images"] == "40"


def test_seeds_count_only_with_all_three_runs(compare):
    cells = {
        ("supervised", 10): {0: 20, 1: 22, 2: 10},
        ("fixmatch", 10): {1: 27, 3: 99},
        ("unimatch", 10): {3: 50},
        ("supervised", ALL): {0: 30, 1: 30, 4: 80},
    }
    comparison = compare(cells)
    rows, notes = table_of(to_markdown(comparison), "## After the last step")
    assert [row[-1] for row in rows[2:]] == ["", "62.5 (1)", "", ""]
    assert notes == ["The gap between 10 and all labels is 9.00 ± 1.41 points (2 seeds)."]
    other = compare({("supervised", 11): {0: 20}, ("fixmatch", 11): {0: 25}, ("supervised", ALL): {5: 30}})
    rows, notes = table_of(to_markdown(other), "## After the last step")
    assert rows[3][-1] == "" and notes == ["No seed has a score of supervised with 11 and with all labels: no gap."]


def test_a_small_gap_is_no_basis(compare):
    cells = {("supervised", 10): {0: 20, 1: 22}, ("fixmatch", 10): {0: 25, 1: 27}, ("supervised", ALL): {0: 23, 1: 25}}
    comparison = compare(cells)
    assert comparison.gap_closed(LAST, "fixmatch", 10) is None
    rows, notes = table_of(to_markdown(comparison), "## After the last step")
    assert rows[3][-1] == "-"
    assert notes == ["The gap between 10 and all labels is only 3.00 points: no basis to compare methods."]
    assert r"fixmatch & \textbf{26.00}{\scriptsize$\pm$1.41} & -- & - \\" in to_latex(comparison)
    # A gap of exactly 4 points is one, as floats too: 100 * 0.3 - 100 * 0.26.
    exact = compare({("supervised", 11): {0: 26}, ("fixmatch", 11): {0: 28}, ("supervised", ALL): {2: 30, 0: 30}})
    assert exact.gap_closed(LAST, "fixmatch", 11).mean == pytest.approx(50)


def test_a_seed_with_a_small_gap_is_left_out(compare):
    cells = {("supervised", 10): {0: 20, 1: 29}, ("fixmatch", 10): {0: 25, 1: 39}, ("supervised", ALL): {0: 30, 1: 30}}
    rows, notes = table_of(to_markdown(compare(cells)), "## After the last step")
    assert rows[3][-1] == "50.0 (1)"
    end = "is 5.50 ± 6.36 points (2 seeds). Left out as too small: that of seed 1."
    assert notes == [f"The gap between 10 and all labels {end}"]


def test_several_numbers_of_labels(compare):
    cells = {**CELLS, ("supervised", 20): {0: 29, 1: 29}, ("rank_match", 20): {0: 30, 1: 30}}
    rows, notes = table_of(to_markdown(compare(cells)), "## After the last step")
    assert rows[0][1:] == ["10", "20", "all (40)", "gap closed at 10, %", "gap closed at 20, %"]
    assert rows[3][-2:] == ["56.2 ± 8.8", "-"] and len(notes) == 2


def test_without_runs_of_all_labels_there_is_no_column(compare, tmp_path):
    few = {cell: scores for cell, scores in CELLS.items() if cell[1] != ALL}
    comparison = compare(few)
    assert "gap" not in to_markdown(comparison).lower() + to_latex(comparison).lower()
    write_tables(tmp_path / "out", comparison)
    assert "gap" not in (tmp_path / "out/table.csv").read_text()
    failed = read_record(tmp_path / "none", "supervised", ALL, 0, "ended by signal 9")
    text = to_markdown(Comparison([*comparison.records, failed]))
    assert "gap closed" not in text and "- supervised, all, seed 0: ended by signal 9" in text


def test_all_labels_are_a_dashed_line_in_the_panels_of_fewer(compare, monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(charts, "_save", lambda figure, folder, name: figures.append(figure) or [])
    comparison = compare(CELLS)
    save_learning_curves(tmp_path, comparison)
    save_class_chart(tmp_path, comparison)
    assert [[ax.get_title() for ax in figure.axes] for figure in figures] == 2 * [["10 labeled images"]]
    lines = {line.get_label(): line.get_linestyle() for line in figures[0].axes[0].lines}
    assert lines == {"supervised": "-", "rank_match": "-", "supervised, all labels": "--"}
    names = [text.get_text() for text in figures[1].legends[0].get_texts()]
    assert names == ["supervised", "rank_match", "supervised, all labels"]


def test_the_record_says_all(compare):
    comparison = compare({**CELLS, ("supervised", 40): {0: 30}})
    assert comparison.labels == [10, 40, ALL] and comparison.num_all == 40
    assert comparison.gap(LAST, 40) == {0: 0}


def test_passes_over_no_unlabeled_images_are_refused(compare):
    with pytest.raises(UserError, match="3 passes over no unlabeled images in .*Train with --steps"):
        compare(CELLS, epochs=3)
