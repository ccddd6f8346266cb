"""`rankmatch doctor`: what is installed and what is missing, on one screen."""

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path

import click

from rankmatch_keras import __version__
from rankmatch_keras.environment import MODULES, check_environment, chosen_backend
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import say

# Packages by what they are for, and how to get them.
PARTS = (
    (
        "always",
        ("keras", "numpy", "pillow", "pydantic", "h5py", "tifffile", "imagecodecs", "scipy", "matplotlib"),
        None,
    ),
    ("backend tensorflow", ("tensorflow", "tensorflow-cpu"), "tensorflow"),
    ("backend torch", ("torch",), "torch"),
    ("backend jax", ("jax", "jaxlib"), "jax"),
    ("batches by tf.data, keras-cv's networks", ("keras-cv",), "tensorflow"),
    ("files of ONNX (export)", ("onnx", "onnxscript", "tf2onnx", "onnxruntime"), "export"),
    ("files of TensorFlow Lite (export)", ("ai-edge-litert",), "export"),
    ("videos", ("imageio-ffmpeg",), "video"),
    ("NIfTI volumes", ("nibabel",), "volumes"),
    ("encoders of keras-hub", ("keras-hub",), None),
    ("log in Weights & Biases (--log wandb)", ("wandb",), "wandb"),
    ("log in MLflow (--log mlflow)", ("mlflow", "mlflow-skinny"), "mlflow"),
)


@click.command(short_help="Say what is installed and what is missing.")
def doctor():
    """Say what is installed, what is missing for what, and on which devices the backend computes.

    One screen to paste into a report of a fault; it names no file of yours. Exit code 1 if the backend cannot run.

    \b
    rankmatch doctor
    KERAS_BACKEND=jax rankmatch doctor
    """
    say(f"rankmatch-keras {__version__}, Python {platform.python_version()}, {platform.platform()}")
    say(f"{_processors()} processors, {_memory()} GB of memory, {_free()} GB free here\n")
    for purpose, packages, extra in PARTS:
        found = [f"{name} {version}" for name in packages if (version := _version(name))]
        missing = f"not installed: pip install 'rankmatch-keras[{extra}]'" if extra else "not installed"
        say(f"{purpose + ':':<42}{', '.join(found) or missing}")
    backend, place = chosen_backend()
    say(f"\nBackend {backend} (by {place}); installed: {', '.join(name for name in MODULES if _found(name)) or 'none'}")
    try:
        check_environment()
        say(f"It computes on {_devices()}.")
    except (UserError, ImportError, OSError) as error:  # a library that is broken fails when it is imported
        say(f"It cannot run: {' '.join(str(error).split())[:500]}", error=True)
        raise SystemExit(1) from None


def _devices() -> str:
    """Import the backend and return where it computes."""
    import rankmatch_keras.backend.numerics as numerics

    return "a GPU or TPU" if numerics.has_accelerator() else "processors alone: short runs and small crops"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _found(backend: str) -> bool:
    return any(_version(name) for name in (MODULES[backend], f"{MODULES[backend]}-cpu"))


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f}"
    except (ValueError, OSError, AttributeError):  # not on every system
        return "unknown"


def _free() -> str:
    return f"{shutil.disk_usage(Path.cwd()).free / 1e9:.0f}"
