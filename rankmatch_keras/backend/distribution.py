"""Training on several devices, processes or machines.

The engines are the frameworks' own: `tf.distribute`, torch's DistributedDataParallel, `keras.distribution` on JAX, each
in the `distribution` module of its backend. Batch sizes are global. The first process writes files and prints.
"""

import atexit
import hashlib
from typing import Any

import keras
import numpy as np

from rankmatch_keras.backend.engine import Distribution as Distribution
from rankmatch_keras.environment import BACKEND_STRATEGIES
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import say

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
    say(f" - equal weights in {distribution.processes} processes (sha256 {digest.hexdigest()[:12]})")
