"""Checks and choices that precede Keras: whether the chosen backend can run, its strategies and precisions."""

import ctypes
import importlib.util
import json
import os
from pathlib import Path

from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import say

MODULES = {"tensorflow": "tensorflow", "torch": "torch", "jax": "jax"}
# Distribution strategies that each backend has, beside "auto" and "none".
BACKEND_STRATEGIES = {"tensorflow": ("mirrored", "multi-worker"), "torch": ("ddp",), "jax": ("data-parallel",)}
STRATEGIES = ("auto", "none", *(name for names in BACKEND_STRATEGIES.values() for name in names))
LOG_LEVELS = {"tensorflow": "2"}  # of TensorFlow, by backend: warnings are silent, beside another one errors too
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def check_environment():
    """Check the environment variables that Keras reads.

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


def require_extra(module: str, extra: str, what: str) -> None:
    """Check that the library for a kind of file is installed.

    Args:
        module: its name when it is imported.
        extra: the extra of this package that brings it.
        what: the files, in the plural.

    Raises:
        UserError: it is not.
    """
    if importlib.util.find_spec(module) is None:
        raise UserError(
            f"{module} installed, which reads {what}", "none", f"Run `pip install 'rankmatch-keras[{extra}]'`."
        )


def chosen_backend() -> tuple[str, str]:
    """Return the name of the backend that Keras will take, and what chose it."""
    if "KERAS_BACKEND" in os.environ:
        return os.environ["KERAS_BACKEND"], "KERAS_BACKEND"
    file = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "keras.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))["backend"], str(file)
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow", "Keras' default"


def require_environment():
    """Check the environment at the top of a program: print the error and end with exit code 2."""
    # TensorFlow's messages would bury the progress; where it only makes batches, its errors at the start mean nothing.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", LOG_LEVELS.get(chosen_backend()[0], "3"))
    reuse_freed_memory()
    try:
        check_environment()
    except UserError as error:
        say(f"Error: {error}", error=True)
        raise SystemExit(2) from None


def reuse_freed_memory(kept: int = 1 << 28):
    """Make glibc keep and reuse all blocks in one heap; do nothing on other C libraries.

    Otherwise it maps blocks of 32 MB and more, such as feature maps, anew each time, and the system fills them with
    zeros page by page, which can take longer than the operation that writes them. It concerns the whole process, so
    it is for programs, not for imports.

    Args:
        kept: free bytes at the end of the heap to keep; more are returned to the system.
    """
    trim_threshold, largest_number_of_mappings = -1, -4  # of malloc.h
    try:
        c_library = ctypes.CDLL(None)
        c_library.mallopt(largest_number_of_mappings, 0)
        c_library.mallopt(trim_threshold, kept)
    except (AttributeError, OSError, TypeError):
        pass
