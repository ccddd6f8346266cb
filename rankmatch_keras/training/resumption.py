"""What a run that is resumed takes from its record, and a duration other than it began with."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rankmatch_keras.data.views.own import sha256_of
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import say
from rankmatch_keras.training.options import Options
from rankmatch_keras.training.records import RunRecord, as_state, read_config
from rankmatch_keras.training.run_folder import Run
from rankmatch_keras.training.state import read_record


def continued(options: Options) -> Options:
    """Fill in what the options leave open from the record of the run to resume, and check a new duration.

    Raises:
        UserError: the duration is shorter than what is done, or counts in another unit.
    """
    run = Run(options.folder)
    record = read_config(run.folder)
    _require_same_augmentation(options, record)
    before: Mapping[str, Any] = record["options"]
    names = ["crop"]
    if options.epochs is None:
        names += ["steps", "interval"]
        if options.steps is None:
            names.append("epochs")
    open_ones = [name for name in names if getattr(options, name) is None and isinstance(before.get(name), int)]
    changes: dict[str, Any] = {name: before[name] for name in open_ones}
    if options.weights == "auto" and "weights" in before:
        changes["weights"] = before["weights"]
    _require_same_budget(options, before)
    options = _in_whole_intervals(dataclasses.replace(options, **changes))
    for name in ("steps", "epochs"):
        if (before.get(name) is None) != (getattr(options, name) is None):
            raise UserError(
                f"a duration in {'steps' if before.get('steps') else 'epochs'}, as the run has",
                f"--{'epochs' if before.get('steps') else 'steps'}",
                f"Give the other flag, or leave it out to go on to {before.get('steps') or before.get('epochs')}.",
            )
        if getattr(options, name) != before.get(name):
            _require_no_less_than_done(run, options, before.get("interval"))
    return options


def begun_with(options: Options) -> Options:
    """Return the options of a run that is resumed with the duration that it began with.

    Burn-in and warm-up are fractions of that one: a longer run does not go through them again.
    """
    run = Run(options.folder)
    if not run.config.exists():
        return options
    record = read_config(run.folder)
    first: Mapping[str, Any] = record["changes"][0]["was"] if record.get("changes") else record["options"]
    values: dict[str, Any] = {name: first[name] for name in ("steps", "epochs") if first.get(name) is not None}
    return dataclasses.replace(options, **values)


def done(run: Run) -> tuple[int, int]:
    """Return the whole epochs that a run has done, and the optimizer steps in the one after them."""
    for path in (run.state, run.previous_state):
        record = read_record(path)
        if record is not None:
            state = as_state(record, path)
            return state["epochs"], state.get("steps") or 0
    return 0, 0


def _in_whole_intervals(options: Options) -> Options:
    """Raise the steps to a whole number of the run's intervals, which stay."""
    if options.steps is None or options.interval is None or options.steps % options.interval == 0:
        return options
    steps = -(-options.steps // options.interval) * options.interval
    say(f"{options.steps} steps are no whole number of the run's intervals of {options.interval}: training to {steps}.")
    return dataclasses.replace(options, steps=steps)


def _require_same_augmentation(options: Options, record: RunRecord) -> None:
    before = record.get("augmentation")
    if before and options.augment and sha256_of(Path(options.augment.rpartition(":")[0])) != before["sha256"]:
        raise UserError(
            f"the {before['file']} that the run was started with (sha256 {before['sha256'][:12]})",
            f"another {options.augment}",
            "Restore it, or start a new run.",
        )


def _require_same_budget(options: Options, before: Mapping[str, Any]) -> None:
    """Refuse another time budget: the steps that it became are those of the run."""
    if options.time_budget not in (None, before.get("time_budget")):
        raise UserError(
            f"--time-budget {before['time_budget']}, as the run has" if before.get("time_budget") else "no time budget",
            f"--time-budget {options.time_budget}",
            f"Leave it out to go on to {before.get('steps') or before.get('epochs')}, or give another --steps.",
        )


def _require_no_less_than_done(run: Run, options: Options, interval: int | None) -> None:
    epochs, steps = done(run)
    unit, wanted, least = "epochs", options.epochs, epochs + bool(steps)
    if options.steps is not None and interval is not None:
        unit, wanted, least = "steps", options.steps, epochs * interval + steps
    if wanted is not None and wanted < least:
        raise UserError(
            f"at least the {least} {unit} that the run has done",
            f"--{unit} {wanted}",
            f"Give more, or start a new run: {run.folder} cannot go back.",
        )
