"""Logs of a run in experiment trackers: Weights & Biases and MLflow.

Each library's own callback for Keras asks for TensorFlow or for a single `fit`; what a run logs is one call an epoch.
Where a run goes (server, project, offline) is for the environment to say, as its library documents it.
"""

import contextlib
import importlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import pydantic

from rankmatch_keras.backend.distribution import running
from rankmatch_keras.data.readers.json_files import read_json
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.scores import Scores, write_json
from rankmatch_keras.texts import say
from rankmatch_keras.training.configuration import tracker_names
from rankmatch_keras.training.options import Options
from rankmatch_keras.training.run_folder import Run

_IDS = pydantic.TypeAdapter(dict[str, str])


class Tracker(keras.callbacks.Callback):
    """Log of each epoch's numbers in a tracker; where that fails, a line says so and the run goes on without it.

    Args:
        name: name of the tracker.
        log: function of numbers by name, none of them NaN, and of the epoch, from 1.
    """

    def __init__(self, name: str, log: Callable[[dict[str, float], int], Any]):
        super().__init__()
        self.name = name
        self._log = log
        self._lost = False

    def on_epoch_end(self, epoch, logs=None):
        """Log what the callbacks before this one have found."""
        self.log(logs or {}, epoch + 1)

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Log numbers of an epoch, from 1."""
        numbers = {name: float(value) for name, value in values.items() if math.isfinite(float(value))}
        if self._lost or not numbers:
            return
        try:
            self._log(numbers, epoch)
        except Exception as error:  # of a server, of the network: no log is worth the run
            self._lost = True
            say(f"Warning: no more log by {self.name} ({_reason(error)}).", error=True)


@contextlib.contextmanager
def trackers(run: Run, options: Options) -> Iterator[list[Tracker]]:
    """Open the trackers of `--log` while a run trains, in its first process; a run that fails is marked so.

    Args:
        run: the run directory, which keeps their ids for `--resume`.
        options: the options of the run.

    Yields:
        A callback for each.

    Raises:
        UserError: one cannot start, e.g. for want of a login.
    """
    names = tracker_names(options.log) if running().is_main else []
    with contextlib.ExitStack() as stack:
        yield [Tracker(name, stack.enter_context(_opened(name, run, options))) for name in names]


def log_scores(callbacks: list[Tracker], scores: Scores, epoch: int) -> None:
    """Log the scores that a run ends with."""
    values = {"mean_iou": scores.mean_iou, **dict(zip(scores.class_names, scores.iou, strict=True))}
    for tracker in callbacks:
        tracker.log({f"final_{name}": value for name, value in values.items()}, epoch)


@contextlib.contextmanager
def _opened(name: str, run: Run, options: Options) -> Iterator[Callable[[dict[str, float], int], Any]]:
    """Open a tracker, yield its function that logs, and close it."""
    path = run.folder / "trackers.json"
    ids = read_json(path, _IDS, "the ids of a run's trackers", "Delete it.") if path.is_file() else {}
    try:
        known, log, close = _OPENERS[name](importlib.import_module(name), run, options, ids.get(name))
    except Exception as error:  # each library has its own
        raise UserError(f"--log {name} that can start", _reason(error), REMEDIES[name]) from error
    finished = False
    try:
        write_json(path, {**ids, name: known})
        yield log
        finished = True
    finally:
        try:
            close(finished)
        except Exception as error:  # as in `Tracker`
            say(f"Warning: the log by {name} may lack its end ({_reason(error)}).", error=True)


def _wandb(wandb, run, options, known):
    opened = wandb.init(id=known, resume="allow", name=run.folder.name, dir=run.folder, config=options.as_dict())

    def log(values, epoch):
        opened.log({**values, "epoch": epoch})

    return opened.id, log, lambda finished: opened.finish(exit_code=0 if finished else 1)


def _mlflow(mlflow, run, options, known):
    opened = mlflow.start_run(run_id=known, run_name=run.folder.name)
    if known is None:  # parameters are written once
        mlflow.log_params({name: str(value)[:500] for name, value in options.as_dict().items() if value is not None})

    def log(values, epoch):
        mlflow.log_metrics({re.sub(r"[^\w.: /-]", "_", name): value for name, value in values.items()}, step=epoch)

    return opened.info.run_id, log, lambda finished: mlflow.end_run("FINISHED" if finished else "FAILED")


# Each returns the id of the run there, a function that logs, and one that closes.
_OPENERS: dict[str, Callable[..., tuple[str, Callable, Callable[[bool], Any]]]] = {"wandb": _wandb, "mlflow": _mlflow}
REMEDIES = {
    "wandb": "Run `wandb login`, or set WANDB_MODE=offline.",
    "mlflow": "Name a server in MLFLOW_TRACKING_URI, or install all of mlflow, which has a local database.",
}


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
