"""Run directory: the record of a training run and its files."""

import contextlib
import dataclasses
import errno
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.scores import write_json
from rankmatch_keras.files import TEMPORARY, remove_temporaries, replacing
from rankmatch_keras.training import fingerprints
from rankmatch_keras.training.records import CONFIG, read_config, read_rows
from rankmatch_keras.training.resumed_record import continued_record, require_same

PACKAGES = ("rankmatch-keras", "keras", "keras-cv", "tensorflow-cpu", "tensorflow", "torch", "jax", "numpy", "pillow")
LOCK = ".lock"
STAGES = "stages"  # directory of the earlier stages of a self-training run

_begun: set[Path] = set()  # directories that `Run.create` made or opened
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
        return self.folder / CONFIG

    @property
    def images(self) -> Path:
        """Fingerprints of the images and masks, see `fingerprints`."""
        return self.folder / "images.csv"

    @property
    def val_list(self) -> Path:
        """Copy of the list of validation images, where options name one."""
        return self.folder / "val_list.txt"

    @property
    def legend(self) -> Path:
        """Copy of the legend of the masks, where options name one."""
        return self.folder / "legend.csv"

    @property
    def options(self) -> Path:
        """Configuration file that repeats the run."""
        return self.folder / "run.yaml"

    @property
    def state(self) -> Path:
        """Weights, optimizer, random streams and history, for resuming."""
        return self.folder / "state.npz"

    @property
    def previous_state(self) -> Path:
        """The state before that, in case it cannot be read."""
        return self.folder / "previous.npz"

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
    def previous_best(self) -> Path:
        """The best predictor before that, which a run that goes back to the previous state needs."""
        return self.folder / "previous-best.keras"

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
        cls,
        folder,
        options: dict[str, Any],
        facts: dict[str, Any] | None = None,
        resume: bool = False,
        images: fingerprints.Fingerprints | None = None,
        step: int = 0,
    ) -> "Run":
        """Make the directory of a new run, or open that of a run to resume.

        Args:
            folder: the run directory.
            options: all options by name, fit for JSON.
            facts: the rest of the record: split id, class names, backend, ...
            resume: whether to continue a run that is there already.
            images: fingerprints of the images; a run that is resumed must have the same.
            step: optimizer steps done; another duration counts from there.

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
            require_same(before, content, run.folder)
            if images is not None:
                fingerprints.require_same(run.images, images)
            lock(run.folder)
            remove_temporaries(run.folder, below=True)
            record = continued_record(before, content, step)
            if record.get("changes") != before.get("changes"):
                run.scores.unlink(missing_ok=True)  # with another duration it is no longer finished
            write_json(run.config, record)
            run._write_images(images)
            _begun.add(run.folder)
            return run
        try:
            lock(run.folder)
            remove_temporaries(run.folder, below=True)
            write_json(run.config, content)
            run._write_images(images)
        except OSError as error:
            raise _unusable(run.folder, error) from None
        _begun.add(run.folder)
        return run

    def _write_images(self, images):
        if images is not None and not self.images.exists():
            fingerprints.write(self.images, images)

    def replacing(self, path: Path, keep: Path | None = None) -> contextlib.AbstractContextManager[Path]:
        """Return `files.replacing` for a file of this run, whose directory must still be there.

        Raises:
            UserError: see `require_there`.
        """
        self.require_there()
        return replacing(path, keep)

    def require_there(self) -> None:
        """Check that nobody has removed the directory since the run began: the half of a run would take its place.

        Raises:
            UserError: somebody has.
        """
        if self.folder in _begun and not self.config.exists():
            raise UserError(
                f"the run directory in place until the run ends, with its {CONFIG}",
                f"none at {self.folder}: it was removed or renamed",
                "Move it back and continue with --resume, or start again.",
            )

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
            with contextlib.suppress(FileNotFoundError):
                self.folder.stat()
            free, there = is_free(self.folder, STAGES), self.config.exists()
        except (OSError, ValueError) as error:  # e.g. a name that is too long, or one with a NUL
            raise _unusable(self.folder, error) from None
        if not there and not free:
            raise UserError("a new or empty output folder", f"{self.folder} with other files", "Choose another --out.")
        if there and not resume:
            raise UserError(
                "an output folder without a run",
                f"another run in {self.folder}",
                "Choose another --out, or continue that run with --resume.",
            )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def is_free(folder: Path, *known: str) -> bool:
    """Return whether a folder is missing or holds nothing but known names and what a process that was killed left.

    Raises:
        OSError: the folder cannot be read.
    """
    if not folder.exists():
        return True
    left = (LOCK, *known)
    return folder.is_dir() and all(path.name in left or path.name.startswith(TEMPORARY) for path in folder.iterdir())


def lock(folder: Path) -> None:
    """Keep other processes out of a folder, which is made if needed, until this one ends.

    Raises:
        UserError: another process uses it.
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder.resolve()
    held = place in _locks and os.fstat(_locks[place]).st_nlink > 0  # a new folder may have taken its place
    if fcntl is None or held:
        return
    descriptor = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return  # a file system without locks
        raise UserError(
            "an output folder that no other process writes to",
            f"{folder}, which another process is using",
            "Wait for it, choose another --out, or start the processes of one run by their launcher.",
        ) from error
    _locks[place] = descriptor


def _unusable(folder, error):
    reason = getattr(error, "strerror", None) or error
    return UserError(
        "an output folder that can be written", f"{str(folder)[:80]!r} ({reason})", "Choose another --out."
    )
