"""State of a training run in one file: weights, optimizer, random streams, history.

The file is the same on every backend, so a run can resume on another one. Weights, batch statistics, velocities and the
step count, hence the learning rate, continue exactly, and so do the batches, which are a function of the step. Random
numbers inside the step (channels of feature dropout, first agents) cannot: the file holds the position of each stream,
but every framework makes other numbers of it.
"""

import json
import math
import zipfile
from typing import Any

import keras
import numpy as np
from keras import ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.files import replacing
from rankmatch_keras.texts import say

LARGEST_RECORD = 64 << 20  # bytes, most of them the history
REMEDY = "Restore it from a copy, or start a new run."


class Damaged(UserError):
    """A state that cannot be read: another one may be whole."""


def save_state(path, method, record: dict[str, Any], keep=None):
    """Write everything that the next step depends on.

    Args:
        path: `.npz` file, replaced as a whole.
        method: a compiled `Method`.
        record: further facts fit for JSON, e.g. the epoch and the history.
        keep: name that the state which is there gets; by default it is replaced.
    """
    arrays = {key: ops.convert_to_numpy(variable.value) for key, variable in _variables(method).items()}
    text, backend = np.array(json.dumps(record)), np.array(keras.backend.backend())
    with replacing(path, keep) as temporary:
        np.savez(temporary, record=text, backend=backend, **arrays)


def load_state(path, method) -> dict[str, Any]:
    """Restore a saved state into a method that was compiled alike, on any backend.

    Args:
        path: file written by `save_state`.
        method: a compiled `Method`; its variables are overwritten.

    Returns:
        The saved record.

    Raises:
        Damaged: the file cannot be read.
        UserError: it is of another network, method or optimizer.
    """
    variables = _variables(method)
    try:
        _check_size(path, variables)
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        record = json.loads(str(arrays.pop("record")))
        if not isinstance(record, dict):
            raise ValueError(f"its record is {str(record)[:40]!r}")
    # Readers of archives and arrays raise nearly any type on damaged files, even AttributeError and MemoryError.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise Damaged("a training state", f"{path}, which cannot be read ({reason})", REMEDY) from error
    backend, here = str(arrays.pop("backend", "")), keras.backend.backend()
    _check_same(path, arrays, variables)
    for key, variable in variables.items():
        variable.assign(arrays[key])
    if backend and backend != here:
        say(f"Resuming a run of {backend} on {here}: exact but for dropped channels and first agents.")
    return record


def read_record(path) -> Any:
    """Return the record of a saved state, without its arrays; `None` where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("record.npy").file_size > LARGEST_RECORD:
                return None
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return json.loads(str(file["record"]))
    except Exception:  # see `load_state`, which says what is wrong
        return None


def _variables(method):
    """Return all variables by position and name, random seeds and metrics included."""
    variables = [*method.variables, *method.optimizer.variables]
    return {f"{number:04d} {variable.name}": variable for number, variable in enumerate(variables)}


def _check_size(path, variables):
    """Refuse an archive that unpacks to more than twice what the method has, and a history of 64 MB."""
    room = 2 * sum(4 * math.prod(variable.shape) for variable in variables.values()) + LARGEST_RECORD
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > room:
        raise ValueError(f"it unpacks to {size >> 20} MB")


def _check_same(path, arrays, variables):
    shapes = {key: tuple(variable.shape) for key, variable in variables.items()}
    found = {key: array.shape if array.dtype.kind in "biuf" else "no numbers" for key, array in arrays.items()}
    if shapes != found:
        first = next(key for key in (*shapes, *found) if shapes.get(key) != found.get(key))
        raise UserError(
            f"the state of the same network, method and optimizer ({len(shapes)} variables)",
            f"{path} with {len(found)} variables; the first that differs is {first!r}: "
            f"{found.get(first, 'missing')} instead of {shapes.get(first, 'none')}",
            "Resume with the options of the original run.",
        )
