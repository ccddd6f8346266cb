"""Keras callbacks: evaluation, checkpoints and resuming, progress lines, and a stop on a non-finite loss."""

import csv
import functools
import hashlib
import math
import time

import keras

from rankmatch_keras.backend.distribution import check_equal_weights, running
from rankmatch_keras.errors import NonFiniteLoss
from rankmatch_keras.texts import printable, say
from rankmatch_keras.training.records import as_state
from rankmatch_keras.training.state import Damaged, load_state, save_state

SNAPSHOTS = 3


class StopOnNonFinite(keras.callbacks.Callback):
    """Stop of the run at the first step whose loss is not finite, naming the terms to blame."""

    def __init__(self):
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        """Remember the epoch, to number the steps of the whole run."""
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Check the logs of the step.

        Raises:
            NonFiniteLoss: with the step's number and the terms.
        """
        if logs is None or math.isfinite(float(logs["loss"])):
            return
        step = self._epoch * (self.params.get("steps") or 0) + batch + 1
        terms = {name: float(value) for name, value in logs.items() if name != "loss"}
        culprits = [name for name, value in terms.items() if not math.isfinite(value)]
        listed = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
        raise NonFiniteLoss(
            f"The loss is not finite at step {step}: {', '.join(culprits) or 'the sum'} (running means: {listed}). "
            "The state of the last whole epoch is kept; lower the learning rate or the term's weight and start again."
        )


class NothingLearned(keras.callbacks.Callback):
    """A line, once, where no pseudo-label was kept for many steps: then the unlabeled images teach nothing.

    Args:
        steps: steps in a row without a kept pseudo-label.
    """

    def __init__(self, steps: int = 200):
        super().__init__()
        self.steps = steps
        self._empty = 0

    def on_train_batch_end(self, batch, logs=None):
        """Count the step."""
        # The running mean since the epoch began: 0 as long as each step had 0.
        kept = (logs or {}).get("mask_ratio")
        if kept is None or getattr(self.model, "labels_only", False):
            return
        self._empty = self._empty + 1 if float(kept) == 0.0 else 0
        if self._empty == self.steps:
            limit, lower = " reached the threshold", "Lower --threshold, take --selection adaptive, or train"
            if not hasattr(self.model, "threshold"):
                limit, lower = " was kept", "Train"
            say(
                f"\nNo pseudo-label{limit} in {self.steps} steps: unlabeled images teach nothing yet. "
                f"{lower} longer on labels first (--burn-in)."
            )


class Evaluation(keras.callbacks.Callback):
    """Scores of the predictor after each epoch: adds `mean_iou` and `iou_<class>` (0..1) to the logs.

    With several processes each scores its part of the images, see `evaluation.Evaluator`.

    Args:
        evaluator: `evaluation.Evaluator`, or anything with `evaluate(predictor) -> Scores`.
        predictor: the inference model that shares the trained weights (`models.predictor`).
        every: epochs between two evaluations; the last epoch is always evaluated.
    """

    def __init__(self, evaluator, predictor, every: int = 1):
        super().__init__()
        self.evaluator = evaluator
        self.predictor = predictor
        self.every = every

    def on_epoch_end(self, epoch, logs=None):
        """Evaluate and fill the logs; epochs without evaluation get NaN, so that tables keep their columns."""
        last = epoch + 1 == self.params.get("epochs")
        logs = {} if logs is None else logs
        logs["mean_iou"] = math.nan
        logs.update({f"iou_{printable(name)}": math.nan for name in self.evaluator.class_names})
        if not last and (epoch + 1) % self.every:
            return
        scores = self.evaluator.evaluate(running().local(self.predictor))
        logs["mean_iou"] = scores.mean_iou
        logs.update({f"iou_{printable(name)}": iou for name, iou in zip(scores.class_names, scores.iou, strict=True)})
        say(f" - mean IoU {100 * scores.mean_iou:.2f} %")


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
        self._best_file: str | None = None
        self._epoch_start = 0.0

    def restore(self, method) -> int:
        """Restore the last saved state into a compiled method.

        Args:
            method: a `Method` compiled with the options of the original run.

        Returns:
            Number of epochs done, for `initial_epoch` of `fit`; 0 where nothing was saved yet.
        """
        record, path = self._load(method)
        if record is None:
            return 0
        self.history, self.best, self._best_file = record["history"], record["best"], record.get("best_file")
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
        """Start the clock of the epoch."""
        self._epoch_start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Write the files of the epoch; the state last, since it vouches for the others."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        seconds = time.perf_counter() - self._epoch_start
        self.history.append({"epoch": epoch + 1, **values, "seconds": round(seconds, 3)})
        check_equal_weights(running(), self.model)
        running().on_main(lambda: self._save(epoch, values))

    def _save(self, epoch, values):
        score = values.get(self.monitor, math.nan)
        if score > self.best:
            self.best = score
            self._save_predictor(self.run.best, keep=self.run.previous_best)
            self._best_file = _digest(self.run.best)
        self._save_predictor(self.run.last)
        history = [{name: _plain(value) for name, value in row.items()} for row in self.history]
        record = {"epochs": epoch + 1, "best": _plain(self.best), "best_file": self._best_file, "history": history}
        save_state(self.run.state, self.model, record, keep=self.run.previous_state)
        self._write_history()

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


class Snapshots(keras.callbacks.Callback):
    """Predictors after 1/3, 2/3 and all of the epochs, rounded up: `snapshot-1.keras` to `snapshot-3.keras`.

    Put it before `Checkpoint`, whose state vouches for the files.

    Args:
        run: the run directory.
        predictor: the inference model that shares the trained weights.
    """

    def __init__(self, run, predictor):
        super().__init__()
        self.run = run
        self.predictor = predictor

    def on_epoch_end(self, epoch, logs=None):
        """Save where a third is done."""
        for number in range(1, SNAPSHOTS + 1):
            if epoch + 1 == math.ceil(self.params["epochs"] * number / SNAPSHOTS):
                running().on_main(functools.partial(self._save, self.run.snapshot(number)))

    def _save(self, path):
        with self.run.replacing(path) as temporary:
            self.predictor.save(temporary)


class ProgressLines(keras.callbacks.Callback):
    """Occasional lines of progress, for output that goes to a file, where Keras' bar leaves a line per step.

    A line has the step, the mean seconds per step since the epoch began (compilation included), the minutes to its
    end and the logs. Use it with `fit(..., verbose=2)`, which sums up each epoch.

    Args:
        seconds: seconds between two lines.
    """

    def __init__(self, seconds: float = 30.0):
        super().__init__()
        self.seconds = seconds
        self._begin = self._said = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self._begin = self._said = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Print a line when it is time."""
        now = time.perf_counter()
        if now - self._said < self.seconds:
            return
        self._said = now
        each = (now - self._begin) / (batch + 1)
        values = "".join(f" - {name} {float(value):.4g}" for name, value in (logs or {}).items())
        say(f"step {batch + 1}{self._to_go(batch, each)}, {each:.2f} s a step{values}")

    def _to_go(self, batch, each):
        steps = self.params.get("steps")
        return f" of {steps}, {each * (steps - batch - 1) / 60:.1f} minutes to go in this epoch" if steps else ""


def _plain(value):
    """Return the value; as text where it is NaN or infinite, which JSON lacks."""
    return value if math.isfinite(value) else str(value)


def _digest(path):
    """Return a fingerprint of a file; `None` where there is none."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
