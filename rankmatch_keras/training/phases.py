"""Phases of a run: labels alone, all images, and labels alone again where unlabeled images do harm."""

import math
from collections.abc import Callable
from typing import Any

import keras

from rankmatch_keras import methods
from rankmatch_keras.data.batches.reading_errors import reading_errors
from rankmatch_keras.texts import say
from rankmatch_keras.training.checkpoint import Checkpoint
from rankmatch_keras.training.duration import Duration
from rankmatch_keras.training.options import Options

PROBATION = 3  # evaluations in a row that must be worse
WORSE = 0.01  # of mean IoU


def epoch_of_fall_back(history, burn_in: int, monitor: str = "mean_iou") -> int | None:
    """Return the epoch after which a run returns to labels alone, or `None`.

    It is the first one that ends `PROBATION` evaluations in a row, all after the burn-in, whose scores are more than
    `WORSE` below the best of the burn-in. As it depends on the history alone, a resumed run decides as before.

    Args:
        history: a row per epoch, with the score by the name of `monitor`.
        burn_in: epochs on labeled images alone; without any, nothing can be compared.
        monitor: the score; larger is better.
    """
    before = [row[monitor] for row in history[:burn_in] if not math.isnan(row[monitor])]
    worse = 0
    for number, row in enumerate(history[burn_in:], start=burn_in + 1):
        if before and not math.isnan(row[monitor]):
            worse = worse + 1 if row[monitor] < max(before) - WORSE else 0
        if worse == PROBATION:
            return number
    return None


def epoch_of_stop(history, patience: int | None, start: int, monitor: str = "mean_iou") -> int | None:
    """Return the epoch after which a run has waited long enough for a better score, or `None`.

    As it depends on the history alone, a resumed run decides as before.

    Args:
        history: a row per epoch, with the score by the name of `monitor`.
        patience: evaluations in a row without a new best score; `None` waits for ever.
        start: epochs that do not count as waiting.
        monitor: the score; larger is better.
    """
    best, waited = -math.inf, 0
    for number, row in enumerate(history, start=1):
        if row[monitor] > best:
            best, waited = row[monitor], 0
        else:
            waited += number > start
        if waited == patience:
            return number
    return None


class EarlyStop(keras.callbacks.Callback):
    """End of the training where `epoch_of_stop` says so; put it after `Checkpoint`.

    Args:
        checkpoint: the run's `Checkpoint`, which has the history.
        patience: evaluations without a new best score.
        start: epochs that do not count as waiting.
    """

    def __init__(self, checkpoint, patience: int, start: int):
        super().__init__()
        self.checkpoint = checkpoint
        self.patience = patience
        self.start = start

    def on_epoch_end(self, epoch, logs=None):
        """Stop where this epoch is the one."""
        if epoch_of_stop(self.checkpoint.history, self.patience, self.start) == epoch + 1:
            say(f"No better validation score in {self.patience} evaluations: the run ends here (--patience).")
            self.model.stop_training = True


class FallBack(keras.callbacks.Callback):
    """End of the training on all images where `epoch_of_fall_back` says so; put it after `Checkpoint`.

    Args:
        checkpoint: the run's `Checkpoint`, which has the history.
        burn_in: epochs on labeled images alone.
    """

    def __init__(self, checkpoint, burn_in: int):
        super().__init__()
        self.checkpoint = checkpoint
        self.burn_in = burn_in

    def on_epoch_end(self, epoch, logs=None):
        """Stop where this epoch is the one."""
        if epoch_of_fall_back(self.checkpoint.history, self.burn_in) == epoch + 1:
            say(
                f"Unlabeled images have lowered the validation score {PROBATION} times: back to the best network and "
                "labels alone. Check that they show the same things as the labeled ones."
            )
            self.model.stop_training = True


@reading_errors()
def fit(
    method: methods.Method,
    options: Options,
    checkpoint: Checkpoint,
    duration: Duration,
    batches: Callable[[int], Any],
    callbacks: list[keras.callbacks.Callback],
    done: int = 0,
) -> None:
    """Train in phases: on labels alone during the burn-in, on all images, and on labels alone again after a fall-back.

    With `--patience` the last one may end before its time.

    Args:
        method: the compiled method.
        options: the run's options.
        checkpoint: has the history, which decides about the phases.
        duration: the length of the whole run.
        batches: makes the batches of the method's present phase, from an optimizer step on.
        callbacks: the callbacks.
        done: epochs done before.
    """
    burn_in, epochs, steps_per_epoch = duration.burn_in(options), duration.epochs, duration.steps_per_epoch
    if options.fall_back and burn_in:
        callbacks = [*callbacks, FallBack(checkpoint, burn_in)]
    while done < epochs:
        fallen = epoch_of_fall_back(checkpoint.history, burn_in) if options.fall_back else None
        start = max(burn_in, fallen or 0)
        if epoch_of_stop(checkpoint.history, options.patience, start) is not None:
            break
        end = burn_in if done < burn_in else epochs
        method.use_labels_only(done < burn_in or fallen is not None)
        if burn_in:
            kind = "labeled" if method.labels_only else "all"
            say(f"Training on {kind} images up to step {end * steps_per_epoch}")
        within = checkpoint.steps_within  # of an epoch that was interrupted: the rest of it goes first
        if fallen == done and not within:
            method.start_again(checkpoint.run.best)
        method.fit(
            batches(done * steps_per_epoch + within),
            epochs=done + 1 if within else end,
            steps_per_epoch=(steps_per_epoch - within) * options.accumulate,
            initial_epoch=done,
            shuffle=False,  # the batches come in their own seeded order
            verbose=0,  # `EpochLines` and `ProgressLines` say it shorter
            callbacks=[*callbacks, EarlyStop(checkpoint, options.patience, start)] if options.patience else callbacks,
        )
        done = len(checkpoint.history)
