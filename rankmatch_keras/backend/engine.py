"""Base of the distribution engines: one process on one device, and the launcher's variables."""

import contextlib
import os
from collections.abc import Callable
from typing import Any, TypeVar

import keras
import numpy as np

from rankmatch_keras.errors import UserError

Result = TypeVar("Result")


class Distribution:
    """One process on one device; the engines derive theirs from it.

    Attributes:
        name: the strategy.
        replicas: number of parts of a batch, over all processes.
        process: number of this process, 0 to processes - 1.
        processes: number of processes.
        restarted: whether a launcher started the processes again after a failure.
    """

    name = "none"
    replicas = 1
    process = 0
    processes = 1
    restarted = False

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.process == 0

    def rows(self, batch_size: int) -> np.ndarray:
        """Return the rows of the global batch that this process feeds, in their order: int64, without overlap.

        Args:
            batch_size: images of the global batch, a multiple of `replicas`.
        """
        return np.arange(batch_size)

    def scope(self) -> contextlib.AbstractContextManager:
        """Return the context in which segmenter, method and optimizer are made."""
        return contextlib.nullcontext()

    def prepare(self, method: Any, sync_batch_norm: bool = True) -> None:
        """Let a compiled method train on all replicas.

        Args:
            method: a compiled `Method`.
            sync_batch_norm: whether batch normalization takes its statistics over all replicas.
        """

    def batches(self, batches: Any) -> Any:
        """Return what `fit` takes for this process's batches, which `data.training_batches` made."""
        return batches

    def local(self, predictor: keras.Model) -> keras.Model:
        """Return a predictor with the current weights that this process can run by itself, on one device."""
        return predictor

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Collect an array from every process; all must call it, with equal shapes.

        Args:
            values: numeric numpy array (...).

        Returns:
            numpy array (processes, ...).
        """
        return np.asarray(values)[None]

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Add up an array over the processes; all must call it, with equal shapes."""
        return self.gather(np.asarray(values)).sum(axis=0)

    def on_main(self, function: Callable[[], Result]) -> Result | None:
        """Run a function on the first process while the others wait.

        Returns:
            Its result on the first process, None on the others.

        Raises:
            UserError: the function raised one; the other processes raise one that says so.
        """
        result, failure = None, None
        if self.is_main:
            try:
                result = function()
            except UserError as error:
                failure = error
        failed = self.sum(np.array([failure is not None], np.int32))[0]
        if failure is not None:
            raise failure
        if failed:
            raise UserError("the first process to begin", "an error there", "See its message.")
        return result

    def describe(self, batch_size: int) -> str:
        """Return one line on how a batch is divided."""
        return f"{self.name}: one replica of {batch_size} images, {keras.backend.backend()}"

    def close(self) -> None:
        """Leave the other processes; nothing can be gathered afterwards."""


def launcher_variables(names: tuple[str, ...]) -> dict[str, str] | None:
    """Read the environment variables by which a launcher tells a process its place.

    Args:
        names: variables that belong together.

    Returns:
        Their values by name; None if none is set.

    Raises:
        UserError: some are set and some are not.
    """
    found = {name: os.environ[name] for name in names if os.environ.get(name)}
    if not found:
        return None
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(
            f"all of the launcher's variables {', '.join(names)}",
            f"{', '.join(found)} without {', '.join(missing)}",
            "Start by the launcher, or unset them all.",
        )
    return found


def whole_number(variables: dict[str, str], name: str, low: int, high: int | None = None) -> int:
    """Return one of the launcher's variables as a whole number.

    Raises:
        UserError: it is not one, or out of range.
    """
    text = variables[name]
    number = int(text) if text.strip().isdigit() else -1
    if number < low or (high is not None and number > high):
        limits = f"{low} to {high}" if high is not None else f"{low} or more"
        raise UserError(f"{name}, a whole number of {limits}", f"{text!r}", "Start by the launcher, or unset it.")
    return number
