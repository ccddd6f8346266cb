"""Folder of a comparison: how it was started, and which runs it is made of."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NotRequired

import pydantic
from typing_extensions import TypedDict

from rankmatch_keras.comparison.measures import Comparison
from rankmatch_keras.comparison.records import Labels, Record, recorded
from rankmatch_keras.data.readers.guards import reading
from rankmatch_keras.data.readers.json_files import fitting, read_json
from rankmatch_keras.evaluation.scores import write_json
from rankmatch_keras.training.records import CONFIG

PLAN = "compare.json"
TABLE = "table.md"
RUNS = "runs.csv"


class Plan(TypedDict):
    """How a comparison was started: the recipe and flags that all runs share, and what was compared."""

    words: list[str]
    methods: NotRequired[str]
    labels: NotRequired[str | None]
    seeds: NotRequired[str]


@pydantic.with_config(pydantic.ConfigDict(extra="allow"))
class _Row(TypedDict):
    """What identifies a run in `runs.csv`."""

    method: str
    labels: Annotated[Labels, pydantic.BeforeValidator(lambda cell: cell or None)]
    seed: int
    folder: str
    error: str


_PLAN = pydantic.TypeAdapter(Plan)
_ROWS = pydantic.TypeAdapter(Annotated[list[_Row], pydantic.Field(min_length=1)])


def is_comparison(folder: Path) -> bool:
    """Return whether a folder holds a comparison, finished or not."""
    return any((folder / name).is_file() for name in (PLAN, TABLE))


def read_plan(folder: Path) -> Plan | None:
    """Read how a comparison was started; `None` where it was made of runs that were there.

    Raises:
        UserError: the record is damaged.
    """
    path = folder / PLAN
    remedy = "Restore it, or choose another --out."
    return read_json(path, _PLAN, "the record of a comparison", remedy) if path.is_file() else None


def write_plan(folder: Path, plan: Plan) -> None:
    """Record how a comparison was started."""
    write_json(folder / PLAN, dict(plan))


def read_comparison(folder: Path) -> Comparison:
    """Read a finished comparison again, by its `runs.csv`.

    Args:
        folder: its folder, which may have moved with the runs in it.

    Raises:
        UserError: it is not finished, or its runs can no longer be compared.
    """
    path = folder / RUNS
    what, remedy = "a finished comparison, with the list of its runs", "Start the same `rankmatch compare` again."
    with reading(path, what, remedy), path.open(newline="", encoding="utf-8") as file:
        content = list(csv.DictReader(file))
    rows = fitting(content, _ROWS, path, what, remedy)
    return Comparison([_record(folder, row) for row in rows])


def command_of(folder: Path, records: Sequence[Record]) -> list[str] | None:
    """Return the command that repeats a comparison; `None` where its record is too old to know.

    Args:
        folder: its folder.
        records: its runs.
    """
    start, end = ["rankmatch", "compare"], ["--out", "NEW"]
    plan = read_plan(folder)
    if plan is None:
        return [*start, *(str(record.folder) for record in records), *end]
    if "methods" not in plan or "seeds" not in plan:
        return None
    labels = plan.get("labels")
    flags = ["--methods", plan["methods"], *(["--labels", labels] if labels else []), "--seeds", plan["seeds"]]
    return [*start, *plan["words"], *flags, *end]


def _record(folder, row):
    own = folder / "runs" / Path(row["folder"]).name
    place = own if (own / CONFIG).is_file() else Path(row["folder"])
    return recorded(place, row["method"], row["labels"], row["seed"], row["error"] or None)
