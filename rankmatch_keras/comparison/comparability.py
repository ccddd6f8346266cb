"""Checks that runs may share a table: equal data, splits, evaluation and training except for what is compared."""

from collections.abc import Iterable, Sequence
from typing import Any

from rankmatch_keras.comparison.records import ALL, Record
from rankmatch_keras.errors import UserError
from rankmatch_keras.training.catalog import names_where
from rankmatch_keras.training.options import CATALOG

# Options that all runs of a table must agree in; the others are what is compared, or change how a run computes.
SHARED = names_where(CATALOG, in_comparison="same")


def require_comparable(records: Sequence[Record]) -> None:
    """Check the records of runs against each other.

    Runs of the same seed and number of labels must have the same labeled images; all must have the same data, classes,
    evaluation, steps, batch, crop, network and so on. Runs without a record are skipped.

    Raises:
        UserError: if something differs; it names both values and runs.
    """
    known = [record for record in records if record.config]
    _require_equal(known, _common_facts)
    groups: dict[tuple, list[Record]] = {}
    for record in known:
        groups.setdefault((record.labels, record.seed), []).append(record)
    for group in groups.values():
        _require_equal(group, _split_facts)
    if len({record.labels for record in known}) > 1:
        _require_steps(known)
    finished = [record for record in known if record.scores is not None]
    _require_equal(finished, _score_facts)


def _require_equal(records: Iterable[Record], facts) -> None:
    first: dict[str, tuple[Any, Record]] = {}
    for record in records:
        for name, value in facts(record).items():
            other, where = first.setdefault(name, (value, record))
            if other != value:
                raise UserError(
                    f"runs with the same {name}",
                    f"{_short(other)} in {where.folder} and {_short(value)} in {record.folder}",
                    "Compare runs that differ only in the method.",
                )


def _require_steps(records):
    """Check that runs without unlabeled images, whose passes are short ones, are not measured in these."""
    for record in records:
        epochs = record.config.get("options", {}).get("epochs")
        if record.labels == ALL and epochs is not None and not record.config.get("split", {}).get("unlabeled"):
            raise UserError(
                "runs with all labels as long as the others",
                f"{epochs} passes over no unlabeled images in {record.folder}",
                "Train with --steps instead of --epochs.",
            )


def _common_facts(record):
    """Return facts by name; what an older record lacks is not compared."""
    data = record.config.get("data", {})
    arguments = {f"data ({name})": value for name, value in data.get("arguments", {}).items() if name != "seed"}
    options = record.config.get("options", {})
    chosen = {CATALOG[name].flag: options[name] for name in SHARED if name in options}
    protocol = {f"evaluation {name}": value for name, value in record.config.get("protocol", {}).items()}
    changes = [(change.get("step"), change.get("now")) for change in record.config.get("changes", ())]
    chosen["duration after a resume"] = changes or None
    return {"data set": data.get("loader"), **arguments, "classes": data.get("classes"), **protocol, **chosen}


def _split_facts(record):
    split = record.config.get("split", {})
    return {
        f"split (of {record.labels} labels and seed {record.seed})": split.get("id"),
        f"split of the run to start from (of {record.labels} labels and seed {record.seed})": _splits_seen(record),
        "number of unlabeled images": split.get("unlabeled"),
        "images left out": split.get("skipped"),
    }


def _splits_seen(record):
    """Return the split ids of all labels that the network learned from, through the whole chain of warm starts."""
    seen = {record.config.get("split", {}).get("id")}
    start = record.config.get("start")
    while start:
        seen.add(start.get("split"))
        start = start.get("start")
    return ", ".join(sorted(str(split or "unknown") for split in seen))


def _score_facts(record):
    scores = record.scores
    return {"scored set": scores.provenance.get("set"), "scored images": scores.images, "evaluation": scores.mode}


def _short(value):
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
