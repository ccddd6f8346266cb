"""Keras callbacks: evaluation, snapshots, what is said of the progress, and a stop on a non-finite loss."""

import functools
import math
import statistics
import sys
import time

import keras

from rankmatch_keras.backend.distribution import running
from rankmatch_keras.errors import NonFiniteLoss
from rankmatch_keras.texts import about, printable, say, show_progress

SNAPSHOTS = 3
# A step on all images over one on labels alone: labeled images and one strong view forward and backward, which is about
# three passes each, and the weak view forward.
COST_OF_ALL = 7 / 3


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


class Snapshots(keras.callbacks.Callback):
    """Predictors after 1/3, 2/3 and all of the epochs, rounded up: `snapshot-1.keras` to `snapshot-3.keras`.

    Put it before `Checkpoint`, whose state vouches for the files.

    Args:
        run: the run directory.
        predictor: the inference model that shares the trained weights.
        epochs: epochs of the whole run.
    """

    def __init__(self, run, predictor, epochs: int):
        super().__init__()
        self.run = run
        self.predictor = predictor
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        """Save where a third is done."""
        for number in range(1, SNAPSHOTS + 1):
            if epoch + 1 == math.ceil(self.epochs * number / SNAPSHOTS):
                running().on_main(functools.partial(self._save, self.run.snapshot(number)))

    def _save(self, path):
        with self.run.replacing(path) as temporary:
            self.predictor.save(temporary)


class EpochLines(keras.callbacks.Callback):
    """A line per epoch, for `fit(..., verbose=0)`: score, loss, kept pseudo-labels, seconds. Put it after `Evaluation`.

    Keras' own line has every term and every class, too many to read.

    Args:
        epochs: epochs of the whole run; by default those of `fit`.
    """

    def __init__(self, epochs: int | None = None):
        super().__init__()
        self.epochs = epochs
        self._begin = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self._begin = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Print the line."""
        logs, parts = logs or {}, []
        if math.isfinite(logs.get("mean_iou", math.nan)):
            parts.append(f"mean IoU {100 * logs['mean_iou']:.2f} %")
        parts.append(f"loss {float(logs['loss']):.4g}")
        if "mask_ratio" in logs and not getattr(self.model, "labels_only", False):
            parts.append(f"{100 * float(logs['mask_ratio']):.0f} % of the pseudo-labels kept")
        seconds = time.perf_counter() - self._begin
        say(f"Epoch {epoch + 1}/{self.epochs or self.params['epochs']}: {', '.join(parts)}, {seconds:.0f} s")


class ProgressLines(keras.callbacks.Callback):
    """Progress within an epoch: on a terminal one line, rewritten in place; elsewhere, as in a file, occasional lines.

    An occasional line has the step, the mean seconds per step since the epoch began (compilation included), the minutes
    to its end and the logs. The line of a terminal is shorter, and leaves the first step out of the mean. Use it with
    `fit(..., verbose=2)`, which sums up each epoch, or with `EpochLines`.

    Args:
        seconds: seconds between two lines.
        epochs: epochs of the whole run; by default those of `fit`.
        refresh: seconds after which the line of a terminal is rewritten.
    """

    def __init__(self, seconds: float = 30.0, epochs: int | None = None, refresh: float = 0.1):
        super().__init__()
        self.seconds = seconds
        self.epochs = epochs
        self.refresh = refresh
        self._epoch = 0
        self._begin = self._first = self._said = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self._epoch = epoch
        self._begin = self._first = self._said = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Print a line when it is time."""
        now = time.perf_counter()
        if batch == 0:
            self._first = now
        live = sys.stderr.isatty() and sys.stdout.isatty()
        if now - self._said < (self.refresh if live else self.seconds):
            return
        self._said = now
        if live:
            self._rewrite(batch, now, logs or {})
            return
        each = (now - self._begin) / (batch + 1)
        values = "".join(f" - {name} {float(value):.4g}" for name, value in (logs or {}).items())
        say(f"step {batch + 1}{self._to_go(batch, each)}, {each:.2f} s a step{values}")

    def on_epoch_end(self, epoch, logs=None):
        """Wipe the line of a terminal."""
        show_progress("")

    def _rewrite(self, batch, now, logs):
        if not running().is_main:
            return
        # The first step compiles: it is as long as many others.
        each = (now - self._first) / batch if batch else now - self._begin
        epochs, steps = self.epochs or self.params.get("epochs"), self.params.get("steps")
        of_epochs, of_steps = (f"/{epochs}" if epochs else ""), (f" of {steps}" if steps else "")
        loss = f", loss {float(logs['loss']):.4g}" if "loss" in logs else ""
        to_go = f", {about(each * (steps - batch - 1))} to go" if steps else ""
        show_progress(
            f"Epoch {self._epoch + 1}{of_epochs}: step {batch + 1}{of_steps}, {each:.2f} s a step{loss}{to_go}"
        )

    def _to_go(self, batch, each):
        steps = self.params.get("steps")
        return f" of {steps}, {each * (steps - batch - 1) / 60:.1f} minutes to go in this epoch" if steps else ""


class TimeToGo(keras.callbacks.Callback):
    """A line after the first steps, on labels alone and on all images: about how long the training will still take.

    Args:
        duration: the length of the run.
        burn_in: its epochs on labeled images alone.
        steps: optimizer steps before the line.
    """

    def __init__(self, duration, burn_in: int, steps: int = 20):
        super().__init__()
        self.duration = duration
        self.burn_in = burn_in
        self.steps = steps
        self._epoch = 0
        self._now = 0.0
        self._seconds: dict[bool, list[float]] = {True: [], False: []}  # of each batch, by whether labels are alone

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self._epoch, self._now = epoch, time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Print the line when it is time."""
        before, self._now = self._now, time.perf_counter()
        alone, batches = self._epoch < self.burn_in, getattr(self.model, "batches_per_step", 1)
        seconds = self._seconds[alone]
        seconds.append(self._now - before)
        if len(seconds) != self.steps * batches:
            return
        each = batches * statistics.median(seconds)  # which the compilation in the first one does not move
        left = self.params["steps"] // batches - (batch + 1) // batches
        later = (self.burn_in if alone else self.duration.epochs) - self._epoch - 1
        left += self.duration.steps_per_epoch * later
        if alone:
            left += COST_OF_ALL * self.duration.steps_per_epoch * (self.duration.epochs - self.burn_in)
        if left > 0:
            say(f"\n{about(left * each).capitalize()} of training to go, evaluations aside.")
