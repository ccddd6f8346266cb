"""Checks that the chosen Keras backend can run, before Keras is imported and fails with a trace."""

import ctypes
import importlib.util
import json
import os
import sys
from pathlib import Path

from rankmatch_keras.errors import UserError

MODULES = {"tensorflow": "tensorflow", "torch": "torch", "jax": "jax"}


def check_environment():
    """Checks the environment variables that Keras reads.

    Raises:
        UserError: `TF_USE_LEGACY_KERAS` is on, or the backend is unknown or not installed.
    """
    if os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true"):
        raise UserError(
            "Keras 3",
            "TF_USE_LEGACY_KERAS=1 in the environment, which makes keras-cv fall back to Keras 2",
            "Unset it: `unset TF_USE_LEGACY_KERAS`.",
        )
    backend, place = chosen_backend()
    if backend not in MODULES:
        raise UserError(
            f"a backend of {', '.join(MODULES)}", f"{backend!r} in {place}", "Set KERAS_BACKEND to one of them."
        )
    if importlib.util.find_spec(MODULES[backend]) is None:
        raise UserError(
            f"the installed package of backend {backend!r}, chosen by {place}",
            "none",
            f"Run `pip install rankmatch-keras[{backend}]`, or set KERAS_BACKEND to an installed one.",
        )


def chosen_backend() -> tuple[str, str]:
    """Name of the backend that Keras will take, and what chose it."""
    if "KERAS_BACKEND" in os.environ:
        return os.environ["KERAS_BACKEND"], "KERAS_BACKEND"
    file = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "keras.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))["backend"], str(file)
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow", "Keras' default"


def require_environment():
    """Like `check_environment`, but for the top of a script: prints the error and ends with exit code 2."""
    # TensorFlow's information messages would bury the progress.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return_freed_memory()
    try:
        check_environment()
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def return_freed_memory(threshold: int = 1 << 24):
    """Makes glibc give large freed blocks back to the system at once; does nothing on other C libraries.

    Otherwise feature maps of many sizes leave holes in the heap. But what is given back must be mapped again page by
    page: a step of RankMatch with ResNet-50 at 321 px on PyTorch took 9.0 s and 4.8 GB without this, 9.5 s and 4.5 GB
    with 16 MB, 12.1 s and 4.2 GB with 1 MB. For programs of our own only, since it concerns the whole process.

    Args:
        threshold: smallest block in bytes that is returned.
    """
    mmap_threshold = -3  # M_MMAP_THRESHOLD of malloc.h
    try:
        ctypes.CDLL(None).mallopt(mmap_threshold, threshold)
    except (AttributeError, OSError, TypeError):
        pass
