"""Ctrl-C during training: the first one ends the run after its step and saves it, the second one at once."""

import contextlib
import signal
import threading

import keras

from rankmatch_keras.backend.distribution import running
from rankmatch_keras.errors import Interrupted
from rankmatch_keras.texts import say
from rankmatch_keras.training.checkpoint import Checkpoint
from rankmatch_keras.training.duration import Duration


class Interruption:
    """Context in which the first interrupt from the keyboard only sets `asked`.

    Several processes of one run would stop at different steps, and wait for each other: they end at once.
    """

    def __init__(self):
        self.asked = False
        self._usual = None

    def __enter__(self) -> "Interruption":
        usual = signal.getsignal(signal.SIGINT)
        in_charge = threading.current_thread() is threading.main_thread() and running().processes == 1
        if in_charge and usual not in (None, signal.SIG_IGN):  # ignored in the background of a shell
            self._usual = usual
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_) -> None:
        if self._usual is not None:
            signal.signal(signal.SIGINT, self._usual)

    def _ask(self, number, frame) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._usual)
        with contextlib.suppress(RuntimeError):  # the interrupt came in the middle of another line
            say("\nStopping after this step, or the evaluation. Ctrl-C again stops at once.", error=True)


class StopOnInterrupt(keras.callbacks.Callback):
    """End of the training where an interrupt asks for it, with everything saved; put it last.

    Args:
        interruption: says whether one came.
        checkpoint: the run's `Checkpoint`, which saves.
        duration: the length of the run.
    """

    def __init__(self, interruption: Interruption, checkpoint: Checkpoint, duration: Duration):
        super().__init__()
        self.interruption = interruption
        self.checkpoint = checkpoint
        self.duration = duration
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Save and end after a whole optimizer step; the last one of an epoch waits for its evaluation.

        Raises:
            Interrupted: everything is saved.
        """
        if not self.interruption.asked:
            return
        steps, rest = divmod(batch + 1, getattr(self.model, "batches_per_step", 1))
        steps += self.checkpoint.steps_within
        if rest == 0 and steps < self.duration.steps_per_epoch:
            self.checkpoint.save_within(self._epoch, steps)
            self._end(self._epoch * self.duration.steps_per_epoch + steps)

    def on_epoch_end(self, epoch, logs=None):
        """End after the epoch, which is saved.

        Raises:
            Interrupted: everything is saved.
        """
        if self.interruption.asked:
            self._end((epoch + 1) * self.duration.steps_per_epoch)

    def _end(self, step):
        raise Interrupted(
            f"saved after step {step} of {self.duration.steps}: continue with the same command and --resume."
        )
