"""Loaders: from a record (a run's `config.json`, the flags of a command) to a data set."""

import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rankmatch_keras.data.sets.image_folder import image_folder as ImageFolder
from rankmatch_keras.data.sets.microscopy import lucchi as Lucchi
from rankmatch_keras.data.sets.photographs import ade20k as ADE20K
from rankmatch_keras.data.sets.photographs import coco_stuff as COCOStuff
from rankmatch_keras.data.sets.photographs import pascal_voc as PascalVOC
from rankmatch_keras.data.sets.sample_scenes import sample_scenes as SampleScenes
from rankmatch_keras.data.sets.samples import Origin, SegmentationData
from rankmatch_keras.data.sets.street_scenes import camvid as CamVid
from rankmatch_keras.data.sets.street_scenes import cityscapes as Cityscapes
from rankmatch_keras.errors import UserError, did_you_mean

# Public names, which the records of runs hold too.
LOADERS: dict[str, Callable[..., SegmentationData]] = {
    "PascalVOC": PascalVOC,
    "Cityscapes": Cityscapes,
    "Lucchi": Lucchi,
    "CamVid": CamVid,
    "ADE20K": ADE20K,
    "COCOStuff": COCOStuff,
    "SampleScenes": SampleScenes,
    "ImageFolder": ImageFolder,
}


def open_data(loader: str, /, **arguments: Any) -> SegmentationData:
    """Open a data set by the name of its loader.

    Args:
        loader: one of `LOADERS`, the name of a function in `rankmatch_keras.data`.
        **arguments: its arguments, fit for JSON: `root="..."`; `images="..."`, `masks="..."`, ...

    Returns:
        The data set, with these arguments as its `origin`: paths absolute, tuples as lists.

    Raises:
        UserError: there is no such loader (the nearest is named), it has no such argument, one that it needs is
            missing, or it cannot open the data.
    """
    if not isinstance(loader, str) or loader not in LOADERS:
        raise UserError(f"a data set of {', '.join(LOADERS)}", f"{loader!r}", did_you_mean(loader, LOADERS, cutoff=0.4))
    function = LOADERS[loader]
    _require_arguments(function, loader, arguments)
    places = {name for name, parameter in inspect.signature(function).parameters.items() if _is_path(parameter)}
    absolute = {n: os.path.abspath(v) if n in places and v is not None else v for n, v in arguments.items()}
    return replace(function(**arguments), origin=Origin(loader, _for_json(absolute)))


def _for_json(value: Any) -> Any:
    """Turn paths into absolute text and tuples into lists."""
    if isinstance(value, os.PathLike):
        return os.path.abspath(value)
    if isinstance(value, dict):
        return {key: _for_json(item) for key, item in value.items()}
    return [_for_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def _require_arguments(function: Callable, loader: str, arguments: dict[str, Any]) -> None:
    """Check names, and that paths are text, as the record may have been edited or come from another version."""
    known = inspect.signature(function).parameters
    unknown = [name for name in arguments if name not in known]
    if unknown:
        remedy = did_you_mean(unknown[0], known, "Leave it out.")
        raise UserError(f"arguments of {loader}: {', '.join(known)}", f"{unknown[0]!r}", remedy)
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise UserError(f"'{name}' for {loader}", f"only {', '.join(arguments) or 'nothing'}", "Give it too.")
        value = arguments.get(name, parameter.default)
        if _is_path(parameter) and not isinstance(value, (str, Path)) and value is not parameter.default:
            raise UserError(f"a path as '{name}' of {loader}", f"{value!r}", "Give it as text.")


def _is_path(parameter: inspect.Parameter) -> bool:
    """Return whether an argument is a path, by its annotation; None is allowed if it is the default."""
    return parameter.annotation in (str | Path, str | Path | None)
