"""The record of a run that is resumed: what must be as it was, and what is added."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rankmatch_keras.errors import UserError
from rankmatch_keras.training.catalog import names_where
from rankmatch_keras.training.options import CATALOG


def require_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Check that a run is resumed with the options and the data that it began with, where these may not change.

    Raises:
        UserError: something differs; it names both values.
    """
    # Facts and options that a record lacks are younger than the run.
    options, chosen = before["options"], now["options"]
    names = ({*options} & {*chosen}) - {*names_where(CATALOG, on_resume="free"), *_recorded(now)}
    pairs = [(name, options[name], chosen[name]) for name in sorted(names)]
    if isinstance(before.get("data"), dict) and "data" in now:
        pairs += [("data set", before["data"].get("loader"), now["data"].get("loader"))]
        if "hierarchy" in before["data"]:
            pairs += [("hierarchy", before["data"]["hierarchy"], now["data"].get("hierarchy"))]
    changed = [f"{name} was {str(old)[:200]}, is {str(new)[:200]}" for name, old, new in pairs if old != new]
    if changed:
        raise UserError(
            "the options that the run was started with",
            f"{', '.join(changed)} in {folder}",
            "Resume without changes.",
        )


def continued_record(before: Mapping[str, Any], content: Mapping[str, Any], step: int) -> dict[str, Any]:
    """Return the record of a run that is resumed.

    Args:
        before: its record so far.
        content: what it would be if it began now.
        step: optimizer steps done, from which on another duration counts.
    """
    resumption = _resumption(content)
    record: dict[str, Any] = {**before, "resumed": [*before.get("resumed", ()), resumption]}
    old, new = before["options"], content["options"]
    names = [name for name in _recorded(content) if old.get(name) != new.get(name)]
    if names:
        was, now = ({name: options.get(name) for name in names} for options in (old, new))
        change = {"time": resumption["time"], "step": step, "was": was, "now": now}
        record |= {"options": {**old, **now}, "changes": [*before.get("changes", ()), change]}
    return record


def _recorded(content):
    """Return the names of the options that may change; in a stage of self-training none may."""
    return () if content["options"].get("stage") else names_where(CATALOG, on_resume="recorded")


def _resumption(content):
    """Return the facts that may differ from when the run began."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    names = names_where(CATALOG, on_resume="free")
    free = {name: content["options"].get(name) for name in names if name in content["options"]}
    return {"time": now, "backend": content.get("backend"), "options": free, "versions": content["versions"]}
