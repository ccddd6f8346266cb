"""A run's folder: what was run, with what, and where its files are."""

import dataclasses
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from rankmatch_keras.errors import UserError
from rankmatch_keras.files import replacing

PACKAGES = ("rankmatch-keras", "keras", "keras-cv", "tensorflow-cpu", "tensorflow", "torch", "jax", "numpy", "pillow")
FREE_ON_RESUME = ("out", "resume")


@dataclasses.dataclass(frozen=True)
class Run:
    """The files of one run.

    Args:
        folder: the run's folder; `create` makes it.
    """

    folder: Path

    @property
    def config(self) -> Path:
        """Options, versions, split and seed, as JSON."""
        return self.folder / "config.json"

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
        """The predictor after the last epoch."""
        return self.folder / "last.keras"

    @property
    def best(self) -> Path:
        """The predictor after the epoch with the best score."""
        return self.folder / "best.keras"

    @property
    def tensorboard(self) -> Path:
        """Folder of the TensorBoard log."""
        return self.folder / "tensorboard"

    @classmethod
    def create(
        cls, folder, options: dict[str, Any], facts: dict[str, Any] | None = None, resume: bool = False
    ) -> "Run":
        """Makes the folder of a new run, or opens that of one to resume.

        Args:
            folder: where the run goes.
            options: all options by name, fit for JSON.
            facts: what else belongs to the record: split id, class names, backend, ...
            resume: whether a run that is there already is continued.

        Returns:
            The run.

        Raises:
            UserError: the folder holds something else, or `resume` with other options than the run was started with.
        """
        run = cls(Path(folder))
        content = {"options": options, **(facts or {}), "versions": versions()}
        if run.config.exists():
            if not resume:
                raise UserError(
                    "an output folder without a run",
                    f"another run in {run.folder}",
                    "Choose another --out, or continue that run with --resume.",
                )
            _check_same_options(run, read_config(run.folder)["options"], options)
            return run
        if run.folder.exists() and (not run.folder.is_dir() or any(run.folder.iterdir())):
            raise UserError("a new or empty output folder", f"{run.folder} with other files", "Choose another --out.")
        with replacing(run.config) as temporary:
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return run


def read_config(folder) -> dict[str, Any]:
    """Reads the record of a run.

    Args:
        folder: the run's folder.

    Returns:
        The content of `config.json`.

    Raises:
        UserError: there is no run in that folder.
    """
    path = Run(Path(folder)).config
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            "the folder of a run, with its config.json", f"none in {folder}", "Give the --out of a training run."
        ) from error


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _check_same_options(run, before, now):
    changed = [name for name in sorted({*before, *now} - {*FREE_ON_RESUME}) if before.get(name) != now.get(name)]
    if changed:
        listed = ", ".join(f"{name} was {before.get(name)}, is {now.get(name)}" for name in changed)
        raise UserError(
            "the options that the run was started with", f"{listed} in {run.folder}", "Resume without changes."
        )
