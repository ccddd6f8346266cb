"""The tables of a comparison as CSV files."""

import csv
import math
from pathlib import Path

from rankmatch_keras.comparison.measures import MEASURES, Comparison, summarize
from rankmatch_keras.comparison.records import BASELINE
from rankmatch_keras.comparison.tables import gap_note
from rankmatch_keras.files import replacing
from rankmatch_keras.texts import shown


def write_tables(folder: Path, comparison: Comparison) -> None:
    """Write `table.csv` (means), `pairs.csv` (tests) and `runs.csv` (single runs), in percent throughout.

    Args:
        folder: output folder; made if needed.
        comparison: the runs.
    """
    _write_csv(folder / "table.csv", _mean_rows(comparison))
    _write_csv(folder / "pairs.csv", _pair_rows(comparison))
    _write_csv(folder / "runs.csv", _run_rows(comparison))


def _mean_rows(comparison):
    for measure in MEASURES:
        for method in comparison.methods:
            for count in comparison.labels:
                if not comparison.runs_of(method, count):
                    continue
                summary = comparison.summary(measure, method, count)
                difference = comparison.paired(measure, method, BASELINE, count) if comparison.has_baseline else None
                yield {
                    "measure": measure.name,
                    "method": method,
                    "labels": count,
                    "seeds": summary.n,
                    "mean": summary.mean,
                    "sd": summary.sd,
                    "minus_supervised": math.nan if difference is None else difference.difference,
                    **_gap_cells(comparison, measure, method, count),
                    "failed": sum(record.scores is None for record in comparison.runs_of(method, count)),
                    "measured_on": comparison.describe(measure),
                }


def _gap_cells(comparison, measure, method, count):
    counts = comparison.labels_with_gap
    if not counts:
        return {}
    closed = comparison.gap_closed(measure, method, count) if count in counts and method != BASELINE else None
    return {
        "gap": summarize(list(comparison.gap(measure, count).values())).mean if count in counts else math.nan,
        "gap_closed": None if closed is None else closed.mean,
        "gap_closed_sd": None if closed is None else closed.sd,
        "gap_closed_seeds": None if closed is None else closed.n,
        "gap_note": gap_note(comparison, measure, count) if count in counts else "",
    }


def _pair_rows(comparison):
    for measure in MEASURES:
        for first, second in comparison.pairs():
            for count in comparison.labels:
                if not comparison.runs_of(first, count) or not comparison.runs_of(second, count):
                    continue
                test = comparison.paired(measure, first, second, count)
                yield {
                    "measure": measure.name,
                    "method": first,
                    "minus": second,
                    "labels": count,
                    "seeds": test.n,
                    "difference": test.difference,
                    "sd": test.sd,
                    "p_t_test": test.t_test,
                    "p_wilcoxon": test.wilcoxon,
                    "note": test.note,
                }


def _run_rows(comparison):
    for record in comparison.records:
        yield {
            "method": record.label,
            "labels": record.labels,
            "labeled_images": record.num_labeled,
            "seed": record.seed,
            **{measure.name: measure.of(record) for measure in MEASURES},
            "split": record.config.get("split", {}).get("id"),
            "backend": record.backend,
            **{name: record.cost.get(name) for name in ("step_seconds", "train_seconds", "seconds", "peak_memory_gb")},
            "folder": str(record.folder),
            "error": record.error,
        }


def _write_csv(path, rows):
    rows = [{name: _plain(value) for name, value in row.items()} for row in rows]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def _plain(value):
    """Round to six decimals; unknown values become empty, and texts such as a spreadsheet takes for what they are."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return shown(value, "csv")
    return round(value, 6) if isinstance(value, float) else value
