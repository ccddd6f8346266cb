"""Training on several devices, processes or machines.

The engines are the frameworks' own: `tf.distribute`, torch's DistributedDataParallel, `keras.distribution` on JAX, each
in the `distribution` module of its backend. Batch sizes are global. The first process writes files and prints.
"""

import atexit
import contextlib
import hashlib
import os
from collections.abc import Callable
from typing import Any, TypeVar

import keras
import numpy as np

from rankmatch_keras.environment import BACKEND_STRATEGIES
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


_running = Distribution()


def running() -> Distribution:
    """Return the distribution of this process."""
    return _running


def distribute(strategy: str = "auto", replicas: int | None = None) -> Distribution:
    """Start the engine; call it once, before any variable is made.

    Args:
        strategy: "none"; "mirrored" or "multi-worker" (TensorFlow), "ddp" (torch), "data-parallel" (JAX); "auto"
            follows the launcher's variables and the number of accelerators.
        replicas: replicas of this process; by default all accelerators. On a machine without any, the CPU is divided
            into so many logical devices ("mirrored" and "data-parallel").

    Returns:
        The distribution, which `running()` returns from now on.

    Raises:
        UserError: the backend does not have the strategy, the launcher's variables are incomplete or contradict the
            strategy, or there are fewer devices than `replicas`.
    """
    global _running
    backend = keras.backend.backend()
    if strategy not in ("auto", "none", *BACKEND_STRATEGIES[backend]):
        owners = [name for name, names in BACKEND_STRATEGIES.items() if strategy in names]
        raise UserError(
            f"a strategy that {backend} has: auto, none, {', '.join(BACKEND_STRATEGIES[backend])}",
            f"--distribute {strategy}",
            f"Choose one of them, or set KERAS_BACKEND={owners[0]}." if owners else "Choose one of them.",
        )
    if strategy == "none":
        _running = Distribution()
    else:
        if backend == "tensorflow":
            from rankmatch_keras.backend.tensorflow.distribution import start
        elif backend == "torch":
            from rankmatch_keras.backend.torch.distribution import start
        else:
            from rankmatch_keras.backend.jax.distribution import start
        _running = start(strategy, replicas)
        atexit.register(_running.close)
    return _running


def check_divisible(distribution: Distribution, **batch_sizes: int) -> None:
    """Check that global batches can be divided evenly.

    Raises:
        UserError: a size is not a multiple of the number of replicas.
    """
    for name, size in batch_sizes.items():
        if size % distribution.replicas:
            raise UserError(
                f"a {name} that {distribution.replicas} replicas divide evenly",
                f"{size}",
                f"Take {-(-size // distribution.replicas) * distribution.replicas}, or fewer replicas.",
            )


def check_equal_weights(distribution: Distribution, method: Any) -> None:
    """Check that all processes hold the same trained weights, bit by bit; all must call it.

    Raises:
        RuntimeError: the weights differ, so that the processes would train apart.
    """
    if distribution.processes == 1:
        return
    digest = hashlib.sha256()
    for variable in method.trainable_variables:
        digest.update(keras.ops.convert_to_numpy(variable.value).tobytes())
    own = np.frombuffer(digest.digest(), np.uint8)
    different = [n for n, other in enumerate(distribution.gather(own)) if (other != own).any()]
    if different:
        raise RuntimeError(f"Process {distribution.process} holds other weights than processes {different}.")
    print(f" - equal weights in {distribution.processes} processes (sha256 {digest.hexdigest()[:12]})")


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
