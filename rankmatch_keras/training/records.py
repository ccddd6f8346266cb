"""Records of a run by schema: `config.json`, `scores.json`, `cost.json`, and tables with a row per epoch."""

import csv
import math
import os
from pathlib import Path
from typing import (
    Annotated,
    Any,
    NotRequired,  # those of Python 3.11 are not enough for pydantic
)

import pydantic
from typing_extensions import TypedDict

from rankmatch_keras.data.readers.guards import reading
from rankmatch_keras.data.readers.json_files import fitting, read_json
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.scores import RecordedScores, Scores

CONFIG = "config.json"
REMEDY = "Restore it from a copy, or repeat the run with its run.yaml and a new --out; its .keras files stay of use."
# Older and newer versions have other keys, which stay as they are.
_OPEN = pydantic.ConfigDict(extra="allow")


@pydantic.with_config(_OPEN)
class RecordedOptions(TypedDict, total=False):
    """Options of a run, as far as anything but resuming relies on them."""

    method: str
    seed: int
    set: list[str]
    crop: int | None
    steps: int | None
    interval: int | None
    epochs: int | None
    labels: int | None
    keep: str | None
    data: str | None
    labeled_list: str | None
    val_list: str | None


@pydantic.with_config(_OPEN)
class RecordedData(TypedDict, total=False):
    """How the data set was opened, and its classes."""

    loader: str | None
    arguments: dict[str, Any]
    classes: list[str]
    hierarchy: dict[str, list[str]] | None


@pydantic.with_config(_OPEN)
class RecordedSplit(TypedDict, total=False):
    """Which images were labeled, how many were not, and which were left out."""

    id: str
    labeled: list[str]
    unlabeled: int
    skipped: list[str]


@pydantic.with_config(_OPEN)
class RecordedStart(TypedDict, total=False):
    """The run of a warm start, and its own start."""

    method: str
    split: str | None
    start: "RecordedStart | None"


@pydantic.with_config(pydantic.ConfigDict(extra="forbid"))
class RecordedProtocol(TypedDict, total=False):
    """Arguments of a `data.Protocol`."""

    mode: str
    crop: int | None
    border: str
    flip: bool
    scales: list[float]


@pydantic.with_config(_OPEN)
class Resumption(TypedDict, total=False):
    """What a run was resumed on."""

    backend: str | None


@pydantic.with_config(_OPEN)
class Change(TypedDict):
    """Another duration that a run was resumed with: when, from which optimizer step on, and what was and is."""

    time: NotRequired[str]
    step: int
    was: dict[str, int | None]
    now: dict[str, int | None]


@pydantic.with_config(_OPEN)
class RecordedAugmentation(TypedDict):
    """The file of a person's own augmentation, its function and its hash."""

    file: str
    function: str
    sha256: str


@pydantic.with_config(_OPEN)
class RunRecord(TypedDict):
    """Content of `config.json`."""

    options: RecordedOptions
    backend: NotRequired[str | None]
    versions: NotRequired[dict[str, str | None]]
    data: NotRequired[RecordedData]
    split: NotRequired[RecordedSplit]
    start: NotRequired[RecordedStart | None]
    protocol: NotRequired[RecordedProtocol]
    resumed: NotRequired[list[Resumption]]
    changes: NotRequired[list[Change]]
    augmentation: NotRequired[RecordedAugmentation | None]


@pydantic.with_config(_OPEN)
class CostRecord(TypedDict, total=False):
    """Content of `cost.json`."""

    train_seconds: float | None
    seconds: float | None
    step_seconds: float | None
    peak_memory_gb: float | None


@pydantic.with_config(_OPEN)
class StateRecord(TypedDict):
    """Record in a state: epochs done, best score, digest of the best predictor's file, and the history.

    An interrupt leaves an epoch unfinished: optimizer steps, seconds and running means of that one.
    """

    epochs: int
    steps: NotRequired[int]
    seconds: NotRequired[float]
    metrics: NotRequired[list[float]]
    best: float
    best_file: NotRequired[str | None]
    history: list[dict[str, int | float]]


def _nan_for_empty(cell: Any) -> Any:
    return math.nan if cell in ("", None) else cell


Cell = Annotated[float, pydantic.BeforeValidator(_nan_for_empty)]
_RUN = pydantic.TypeAdapter(RunRecord)
_COST = pydantic.TypeAdapter(CostRecord)
_SCORES = pydantic.TypeAdapter(Annotated[dict[str, RecordedScores], pydantic.Field(min_length=1)])
_STATE = pydantic.TypeAdapter(StateRecord)
_ROWS = pydantic.TypeAdapter(list[dict[str, Cell]])


def read_config(folder: str | Path) -> RunRecord:
    """Read the record of a run.

    Args:
        folder: the run directory.

    Raises:
        UserError: there is no run in that folder, or its record is damaged.
    """
    path = Path(folder) / CONFIG
    if not os.path.lexists(path):
        raise UserError(f"a run directory, with its {CONFIG}", f"none in {folder}", "Give the --out of a training run.")
    return read_json(path, _RUN, "the record of a run", REMEDY)


def read_scores(path: Path) -> dict[str, Scores] | None:
    """Read the scores of a run by label; `None` where there is no file.

    Raises:
        UserError: the file is damaged.
    """
    remedy = "Delete it and resume the run, which scores it again."
    return read_json(path, _SCORES, "the scores of a run", remedy) if os.path.lexists(path) else None


def read_cost(path: Path) -> CostRecord | None:
    """Read the cost of a run; `None` where there is no file.

    Raises:
        UserError: the file is damaged.
    """
    remedy = "Delete it, or resume the run, which writes it again."
    return read_json(path, _COST, "the cost of a run", remedy) if os.path.lexists(path) else None


def as_state(record: Any, path: Path) -> StateRecord:
    """Return the record of a state; NaN and infinity may be text.

    Raises:
        UserError: it is something else.
    """
    return fitting(record, _STATE, path, "the state of a run", "Restore it from a copy, or start a new run.")


def read_rows(path: Path) -> tuple[dict[str, float], ...]:
    """Read a table with a row per epoch: numbers by column, NaN for empty cells; no rows where there is no file.

    Raises:
        UserError: the file is damaged.
    """
    if not os.path.lexists(path):
        return ()
    what, remedy = "a table with a column `epoch` and numbers below", "Resume the run, which writes it again."
    with reading(path, what, remedy), path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        if "epoch" not in (reader.fieldnames or ()):
            raise UserError(what, f"'{path}' without that column", remedy)
    numbers = fitting(rows, _ROWS, path, what, remedy)
    return tuple(numbers)
