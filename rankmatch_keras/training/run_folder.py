"""Run directory: the record of a training run and its files."""

import csv
import dataclasses
import datetime
import errno
import importlib.metadata
import json
import math
import os
import platform
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

from rankmatch_keras.errors import UserError
from rankmatch_keras.files import replacing
from rankmatch_keras.training.catalog import names_where
from rankmatch_keras.training.options import CATALOG

PACKAGES = ("rankmatch-keras", "keras", "keras-cv", "tensorflow-cpu", "tensorflow", "torch", "jax", "numpy", "pillow")
LOCK = ".lock"
STAGES = "stages"  # directory of the earlier stages of a self-training run

_locks: dict[Path, int] = {}  # kept open: the system releases a lock when its process ends, however it does


@dataclasses.dataclass(frozen=True)
class Run:
    """Files of one run.

    Attributes:
        folder: the run directory; `create` makes it.
    """

    folder: Path

    @property
    def config(self) -> Path:
        """Options, versions, split and seed, as JSON."""
        return self.folder / "config.json"

    @property
    def options(self) -> Path:
        """Configuration file that repeats the run."""
        return self.folder / "run.yaml"

    @property
    def state(self) -> Path:
        """Weights, optimizer, random streams and history, for resuming."""
        return self.folder / "state.npz"

    @property
    def history(self) -> Path:
        """One row per epoch."""
        return self.folder / "history.csv"

    @property
    def last(self) -> Path:
        """Predictor after the last epoch."""
        return self.folder / "last.keras"

    @property
    def best(self) -> Path:
        """Predictor after the epoch with the best score."""
        return self.folder / "best.keras"

    @property
    def chosen(self) -> Path:
        """Predictor that the run is scored by, and that `evaluate` and `predict` take by default."""
        return self.best if self.kept == "best" else self.last

    @property
    def kept(self) -> str:
        """Name of that predictor, `best` or `last`, as the run's option `keep` says; `last` in older runs."""
        return read_config(self.folder)["options"].get("keep") or "last"

    def snapshot(self, number: int) -> Path:
        """Return the file of the predictor after a third of the training; kept only where a later stage needs it."""
        return self.folder / f"snapshot-{number}.keras"

    @property
    def tensorboard(self) -> Path:
        """Directory of the TensorBoard log."""
        return self.folder / "tensorboard"

    @property
    def scores(self) -> Path:
        """Scores after the last epoch; the run is finished where this file exists."""
        return self.folder / "scores.json"

    @property
    def pseudo_labels(self) -> Path:
        """Accuracy of pseudo-labels, one row per epoch, see `callbacks.PseudoLabelHealth`."""
        return self.folder / "pseudo_labels.csv"

    @property
    def cost(self) -> Path:
        """Seconds and memory of the whole run, see `training.cost`."""
        return self.folder / "cost.json"

    @classmethod
    def create(
        cls, folder, options: dict[str, Any], facts: dict[str, Any] | None = None, resume: bool = False
    ) -> "Run":
        """Make the directory of a new run, or open that of a run to resume.

        Args:
            folder: the run directory.
            options: all options by name, fit for JSON.
            facts: the rest of the record: split id, class names, backend, ...
            resume: whether to continue a run that is there already.

        Returns:
            The run.

        Raises:
            UserError: the folder holds something else, or `resume` with other data or options than the run began with.
        """
        run = cls(Path(folder))
        content = {"options": options, **(facts or {}), "versions": versions()}
        run.require_new(resume)
        if run.config.exists():
            before = read_config(run.folder)
            _check_same_run(run, before, content)
            _lock(run)
            run._write_config({**before, "resumed": [*before.get("resumed", ()), _resumption(content)]})
            return run
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
            _lock(run)
        except OSError as error:
            raise _unusable(run.folder, error) from None
        run._write_config(content)
        return run

    def read_history(self) -> tuple[dict[str, float], ...]:
        """Return the rows of `history.csv`, see `read_rows`."""
        return read_rows(self.history)

    def require_new(self, resume: bool = False):
        """Check that a run may go into the folder.

        Args:
            resume: whether to accept a run that is there already.

        Raises:
            UserError: the folder holds another run, or something else.
        """
        try:
            self.folder.exists()
        except OSError as error:  # e.g. a name that is too long
            raise _unusable(self.folder, error) from None
        if not self.config.exists() and self.folder.exists() and not _is_free(self.folder):
            raise UserError("a new or empty output folder", f"{self.folder} with other files", "Choose another --out.")
        if self.config.exists() and not resume:
            raise UserError(
                "an output folder without a run",
                f"another run in {self.folder}",
                "Choose another --out, or continue that run with --resume.",
            )

    def _write_config(self, content):
        with replacing(self.config) as temporary:
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_config(folder) -> dict[str, Any]:
    """Read the record of a run.

    Args:
        folder: the run directory.

    Returns:
        Content of `config.json`.

    Raises:
        UserError: there is no run in that folder.
    """
    path = Run(Path(folder)).config
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not isinstance(content.get("options"), dict):
            raise ValueError
        return content
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            "a run directory, with its config.json", f"none in {folder}", "Give the --out of a training run."
        ) from error


def read_rows(path: Path) -> tuple[dict[str, float], ...]:
    """Return the rows of a CSV file as numbers by column, NaN for other cells; none where there is no file."""
    if not path.is_file():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        return tuple({name: _number(value) for name, value in row.items()} for row in csv.DictReader(file))


def _number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _is_free(folder):
    """Whether a folder holds nothing but the lock of a process that stopped early, or earlier stages."""
    return folder.is_dir() and all(path.name in (LOCK, STAGES) for path in folder.iterdir())


def _lock(run):
    """Keep other processes out of the directory until this one ends."""
    place = run.folder.resolve()
    if fcntl is None or place in _locks:
        return
    descriptor = os.open(run.folder / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return  # a file system without locks
        raise UserError(
            "an output folder that no other process writes to",
            f"{run.folder}, which another process is using",
            "Wait for it, choose another --out, or start the processes of one run by their launcher.",
        ) from error
    _locks[place] = descriptor


def _resumption(content):
    """Return the facts that may differ from when the run began."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    names = names_where(CATALOG, on_resume="free")
    free = {name: content["options"].get(name) for name in names if name in content["options"]}
    return {"time": now, "backend": content.get("backend"), "options": free, "versions": content["versions"]}


def _unusable(folder, error):
    return UserError(
        "an output folder that can be written", f"{str(folder)[:80]} ({error.strerror})", "Choose another --out."
    )


def _check_same_run(run, before, now):
    # Facts and options that a record lacks are younger than the run.
    options, chosen = before["options"], now["options"]
    names = ({*options} & {*chosen}) - {*names_where(CATALOG, on_resume="free")}
    pairs = [(name, options[name], chosen[name]) for name in sorted(names)]
    if isinstance(before.get("data"), dict) and "data" in now:
        pairs += [("data set", before["data"].get("loader"), now["data"].get("loader"))]
    changed = [f"{name} was {old}, is {new}" for name, old, new in pairs if old != new]
    if changed:
        raise UserError(
            "the options that the run was started with",
            f"{', '.join(changed)} in {run.folder}",
            "Resume without changes.",
        )
