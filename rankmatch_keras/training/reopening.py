"""Opening the data of a finished run by its record.

Who trains chooses every file; who scores or draws a run that others trained has only their record. So it can name
folders of data, lists and legends below them, and those that the run keeps itself, and nothing of a list is shown.
"""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rankmatch_keras import data
from rankmatch_keras.errors import UserError
from rankmatch_keras.training.records import CONFIG, RunRecord
from rankmatch_keras.training.run_folder import Run


def open_data_of(folder: Path, record: RunRecord, root: Path | None = None) -> data.SegmentationData:
    """Open the data set of a run, without the samples that the run skipped.

    Args:
        folder: the run directory.
        record: its record.
        root: folder of the data set; where it was by default.

    Raises:
        UserError: the record cannot be used, or the data cannot be opened.
    """
    loader, arguments = record.get("data", {}).get("loader"), dict(record.get("data", {}).get("arguments", {}))
    if root is not None:
        if "root" not in arguments:
            raise UserError("a run on a known data set with --data", "a run on folders", "Leave out --data.")
        arguments["root"] = str(root)
    if loader is None:
        raise UserError(
            "a run on a data set that can be opened by name", "one on data made in Python", "Score it in Python."
        )
    options = record["options"]
    roots = list(_roots({**arguments, "data": options.get("data")}))
    if isinstance(arguments.get("legend"), str):
        arguments["legend"] = str(legend_of(folder, record))
    try:
        dataset = data.open_data(loader, **arguments)
    except (TypeError, AttributeError) as error:  # values of other kinds than those of the loader
        found = f"{' '.join(str(error).split())[:200]} in {folder / CONFIG}"
        raise UserError(f"arguments that {loader} understands", found, "Restore the record from a copy.") from error
    listed = options.get("val_list")
    if listed:
        path = _trusted(listed, Run(folder).val_list, roots)
        try:
            dataset = data.with_val_list(dataset, path, options.get("data"))
        except UserError:
            raise UserError(
                "a list of validation images that fits the data", f"another file at {path}", f"Check {CONFIG}."
            ) from None
    skipped = set(record.get("split", {}).get("skipped", ()))
    val, test = (tuple(s for s in samples if s.name not in skipped) for samples in (dataset.val, dataset.test))
    return dataclasses.replace(dataset, val=val, test=test)


def legend_of(folder: Path, record: RunRecord) -> Path | None:
    """Return the legend of a run's masks: its own copy, or that which its record names; None where it names none.

    Raises:
        UserError: the record names one that is not below the data.
    """
    arguments = record.get("data", {}).get("arguments", {})
    if not isinstance(arguments.get("legend"), str):
        return None
    roots = list(_roots({**arguments, "data": record["options"].get("data")}))
    return _trusted(arguments["legend"], Run(folder).legend, roots)


def protocol_of(record: RunRecord, dataset: data.SegmentationData) -> data.Protocol:
    """Return how a run was scored: as its record says, in older ones as is usual for the data set.

    Raises:
        UserError: the record says something that cannot be.
    """
    values: dict[str, Any] | None = {**record["protocol"]} if "protocol" in record else None
    return dataset.protocol if values is None else data.Protocol(**values)


def _roots(arguments: dict[str, Any]) -> Iterable[Path]:
    """Yield the folders of the data, with those that hold folders of images and masks."""
    for name in ("root", "data", "images", "masks"):
        if isinstance(arguments.get(name), str):
            folder = _real(arguments[name])
            yield folder
            if name in ("images", "masks") and folder.parent != Path(folder.anchor):
                yield folder.parent


def _trusted(named: str, own: Path, roots: Iterable[Path]) -> Path:
    """Return the run's own copy of a file, or the file that its record names if it lies below the data.

    Raises:
        UserError: there is neither.
    """
    if _real(own).parent == _real(own.parent) and own.is_file():  # no link out of the run
        return own
    if any(_real(named).is_relative_to(root) for root in roots):
        return Path(named)
    raise UserError(
        "records that name files below the folders of the data",
        f"{named!r} in {own.parent / CONFIG}",
        f"If you trust it, copy it to {own}.",
    )


def _real(path: str | Path) -> Path:
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:  # a NUL
        raise UserError("paths in the record of a run", f"{str(path)!r}", f"Check {CONFIG}.") from error
