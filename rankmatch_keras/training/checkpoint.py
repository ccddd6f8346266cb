"""Checkpoints of a run after each epoch and at an interrupt, and resuming from them."""

import csv
import hashlib
import math
import time

import keras

from rankmatch_keras import backend
from rankmatch_keras.backend.distribution import check_equal_weights, running
from rankmatch_keras.texts import say
from rankmatch_keras.training.records import as_state
from rankmatch_keras.training.state import Damaged, load_state, save_state


class Checkpoint(keras.callbacks.Callback):
    """Files of a run after each epoch: its state, its history, its last and its best predictor.

    Every file is written under a temporary name and then renamed, so that a crash loses at most the current epoch.
    In the run directory: `state.npz` (to resume), `history.csv`, `last.keras`, `best.keras`, and of state and best
    predictor the one before, so that a damaged state costs an epoch and not the run. Put this callback after
    `Evaluation`, which brings the score. With several processes only the first one writes but all read, so the
    directory must be on storage that they share.

    Args:
        run: the run directory, see `training.Run`.
        predictor: the inference model that shares the trained weights.
        monitor: logged value by which a predictor is the best; larger is better.
    """

    def __init__(self, run, predictor, monitor: str = "mean_iou"):
        super().__init__()
        self.run = run
        self.predictor = predictor
        self.monitor = monitor
        self.history: list[dict[str, float]] = []
        self.best = -math.inf
        self.steps_within = 0  # steps of the epoch that goes on, which an interrupt had ended
        self._metrics: list[float] = []  # its running means
        self._seconds_within = 0.0
        self._best_file: str | None = None
        self._epoch_start = 0.0

    def restore(self, method) -> int:
        """Restore the last saved state into a compiled method.

        Args:
            method: a `Method` compiled with the options of the original run.

        Returns:
            Number of whole epochs done, for `initial_epoch` of `fit`; 0 where nothing was saved yet. `steps_within` has
            the optimizer steps of the next one.
        """
        record, path = self._load(method)
        if record is None:
            return 0
        self.history, self.best, self._best_file = record["history"], record["best"], record.get("best_file")
        self.steps_within, self._seconds_within = record.get("steps", 0), record.get("seconds", 0.0)
        self._metrics = record.get("metrics", [])
        running().on_main(lambda: self._go_back_to(path))
        return record["epochs"]

    def _load(self, method):
        """Load the last state that can be read; return its record and its file."""
        damage = None
        for path in (self.run.state, self.run.previous_state):
            if not path.exists():
                continue
            try:
                record = as_state(load_state(path, method), path)
            except Damaged as error:
                damage = damage or error
                continue
            if path == self.run.previous_state:
                reason = damage.found if damage else f"there is no {self.run.state.name}"
                say(f"Going on from {path}, after epoch {record['epochs']}, as {reason}.")
            return record, path
        if damage:
            raise damage
        return None, None

    def _go_back_to(self, path):
        """Make the other files those of the state that was loaded."""
        if path != self.run.state:
            self.run.state.unlink(missing_ok=True)  # or it would soon take the place of the one that can be read
        if self._best_file not in (None, _digest(self.run.best)):
            if self._best_file == _digest(self.run.previous_best):
                self.run.previous_best.replace(self.run.best)
        self._write_history()

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock of the epoch, or go on with it and with its means where it was interrupted."""
        self._epoch_start = time.perf_counter() - self._seconds_within
        for variable, value in zip(self.model.metrics_variables, self._metrics, strict=False):
            variable.assign(value)
        self._metrics = []

    def on_epoch_end(self, epoch, logs=None):
        """Write the files of the epoch; the state last, since it vouches for the others."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        seconds = time.perf_counter() - self._epoch_start
        if "train_seconds" in values:
            values["train_seconds"] = round(values["train_seconds"] + self._seconds_within, 3)
        self.steps_within, self._seconds_within = 0, 0.0
        self.history.append({"epoch": epoch + 1, **values, "seconds": round(seconds, 3)})
        check_equal_weights(running(), self.model)
        running().on_main(lambda: self._save(epoch, values))

    def save_within(self, epoch: int, steps: int) -> None:
        """Write the state of an epoch that is not at its end.

        Args:
            epoch: number of the epoch, from 0.
            steps: its optimizer steps so far.
        """
        backend.step.synchronize(self.model)
        seconds = time.perf_counter() - self._epoch_start
        means = [float(keras.ops.convert_to_numpy(variable)) for variable in self.model.metrics_variables]
        self._save_state({"epochs": epoch, "steps": steps, "seconds": round(seconds, 3), "metrics": means})

    def _save(self, epoch, values):
        score = values.get(self.monitor, math.nan)
        if score > self.best:
            self.best = score
            self._save_predictor(self.run.best, keep=self.run.previous_best)
            self._best_file = _digest(self.run.best)
        self._save_predictor(self.run.last)
        self._save_state({"epochs": epoch + 1})
        self._write_history()

    def _save_state(self, record):
        history = [{name: _plain(value) for name, value in row.items()} for row in self.history]
        record |= {"best": _plain(self.best), "best_file": self._best_file, "history": history}
        self.run.require_there()
        save_state(self.run.state, self.model, record, keep=self.run.previous_state)

    def _save_predictor(self, path, keep=None):
        with self.run.replacing(path, keep) as temporary:
            self.predictor.save(temporary)

    def _write_history(self):
        columns = list(dict.fromkeys(name for row in self.history for name in row))
        with (
            self.run.replacing(self.run.history) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.history)


def _plain(value):
    """Return the value; as text where it is NaN or infinite, which JSON lacks."""
    return value if math.isfinite(value) else str(value)


def _digest(path):
    """Return a fingerprint of a file; `None` where there is none."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
