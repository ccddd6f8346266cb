"""The choice between the two input pipelines: tf.data with keras-cv, or worker processes with NumPy."""

import importlib.util
import os

from rankmatch_keras.errors import UserError

TF_DATA, WORKERS = "tf.data", "workers"
PIPELINES = ("auto", TF_DATA, WORKERS)
_NEEDED = {"tensorflow": "TensorFlow", "keras_cv": "keras-cv"}


def choose_pipeline(pipeline: str = "auto") -> str:
    """Return the input pipeline that a run takes.

    Args:
        pipeline: "tf.data", "workers", or "auto": tf.data where TensorFlow and keras-cv are installed, else workers.

    Returns:
        "tf.data" or "workers".

    Raises:
        UserError: another name, or "tf.data" without one of its packages.
    """
    if pipeline not in PIPELINES:
        raise UserError(f"an input pipeline of {', '.join(PIPELINES)}", f"{pipeline!r}", "Choose one of them.")
    if pipeline == WORKERS:
        return WORKERS
    missing = _missing()
    if pipeline == TF_DATA and missing:
        raise UserError(
            "TensorFlow and keras-cv for the input pipeline 'tf.data'",
            f"no {' and no '.join(missing)}",
            "Run `pip install rankmatch-keras[tensorflow]`, or choose the pipeline 'workers'.",
        )
    return WORKERS if missing else TF_DATA


def describe_pipeline(pipeline: str = "auto", parallel_calls: int | None = None) -> str:
    """Return one line for users: the input pipeline, and why if it is not the default.

    Args:
        pipeline: as for `choose_pipeline`.
        parallel_calls: as for `training_batches`.

    Raises:
        UserError: as `choose_pipeline`.

    Example:
        >>> describe_pipeline("workers", 3)
        'Input: 3 worker processes, NumPy augmentation'
    """
    if choose_pipeline(pipeline) == TF_DATA:
        return "Input: tf.data with keras-cv augmentation"
    count = default_parallel_calls() if parallel_calls is None else parallel_calls
    place = f"{count} worker process{'es' * (count > 1)}" if count else "no worker processes"
    why = f" ({_missing()[0]} is not installed)" if pipeline == "auto" else ""
    return f"Input: {place}, NumPy augmentation{why}"


def default_parallel_calls() -> int:
    """Return how many examples are made at the same time: one CPU is left to the training step."""
    return max(1, _usable_cpus() - 1)


def _usable_cpus():
    """Return the number of CPUs that this process may use: schedulers and containers may keep others from it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _missing() -> list[str]:
    """Name the packages of tf.data that are not installed, without importing any."""
    return [name for module, name in _NEEDED.items() if not is_installed(module)]


def is_installed(module: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # somebody blocks it, or put something else in its place
        return False
    # A folder that an uninstallation left behind has no origin.
    return spec is not None and spec.origin is not None
