"""Trained models with the names of their classes, from a run directory or a file."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from rankmatch_keras import models
from rankmatch_keras.data.masks.class_names import numbered
from rankmatch_keras.errors import UserError
from rankmatch_keras.models.exported import is_exported
from rankmatch_keras.texts import counted
from rankmatch_keras.training.records import CONFIG, read_config
from rankmatch_keras.training.run_folder import Run


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
        model: from raw images to probabilities.
        path: its file.
        class_names: names of its classes; numbers where they are not known.
        record: the record of its run, a `RunRecord`; empty for a file elsewhere.
        names_known: whether the names are those of the run, or of an exported file.
    """

    model: Any
    path: Path
    class_names: tuple[str, ...]
    record: Any
    names_known: bool = False


def load_trained(place: Path, weights: str | None = None) -> Trained:
    """Load a model from a run directory, a `.keras` file or an exported one, which may lie in one.

    Args:
        place: the directory or file.
        weights: "best" or "last" of a run; by default the one that it keeps.

    Raises:
        UserError: there is none, it cannot be loaded, or the record of its run names other classes.
    """
    is_file = place.suffix == ".keras" or is_exported(place)
    path = place if is_file else getattr(Run(place), weights or Run(place).kept)
    model = models.load_predictor(path)
    record: Any = read_config(path.parent) if (path.parent / CONFIG).is_file() else {}
    if not all(isinstance(shape, tuple) and len(shape) == 4 for shape in (model.input_shape, model.output_shape)):
        raise UserError(
            "a model from images (B, H, W, C) to probabilities (B, H, W, K)",
            f"{model.input_shape} to {model.output_shape} in {path}",
            "Give the .keras file of a training run.",
        )
    count = model.output_shape[-1]
    own = tuple(getattr(model, "class_names", ()))
    names = tuple(record.get("data", {}).get("classes", ())) or own
    if record and names and (len(names) != count or own not in ((), names)):
        raise UserError(
            f"the {counted(count, 'class')} of the network in {path}{_listed(own)}",
            f"{counted(len(names), 'class')} in {path.parent / CONFIG}{_listed(names)}",
            "Restore the record from a copy, or give the network's file outside of the run.",
        )
    known = len(names) == count
    return Trained(model, path, names if known else numbered(count), record, known)


def _listed(names: tuple[str, ...]) -> str:
    text = ", ".join(names)
    return f" ({text if len(text) <= 200 else f'{text[:199]}…'})" if names else ""


def on_device(name: str | None) -> contextlib.AbstractContextManager:
    """Return the context in which Keras computes on a device; None: as it does by itself.

    Raises:
        UserError: there is no such device.
    """
    if name is None:
        return contextlib.nullcontext()
    kind, _, number = name.lower().partition(":")
    full = f"{kind}:{number or 0}"
    try:
        with keras.device(full):
            found = str(keras.ops.zeros(()).device).lower().replace("cuda", "gpu")  # some frameworks take another one
        if kind not in found or (kind != "cpu" and (number or "0") not in found):
            raise ValueError(f"only {found}")
    except Exception as error:  # each framework has its own
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            "a device of this machine, e.g. cpu or gpu:0", f"{name!r} ({reason})", "Correct --device."
        ) from error
    return keras.device(full)
