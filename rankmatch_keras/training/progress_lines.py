"""How far an epoch is, as lines of a log."""

import time

import keras


class ProgressLines(keras.callbacks.Callback):
    """Says now and then how far an epoch is, for output that goes to a file: there Keras' bar leaves a line per step.

    A line has the step, the mean seconds per step since the epoch began (compilation included), the minutes until its
    end and the logs. Use it with `fit(..., verbose=2)`, which sums up each epoch.

    Args:
        seconds: time between two lines.
    """

    def __init__(self, seconds: float = 30.0):
        super().__init__()
        self.seconds = seconds
        self._begin = self._said = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self._begin = self._said = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Prints a line where it is time."""
        now = time.perf_counter()
        if now - self._said < self.seconds:
            return
        self._said = now
        each = (now - self._begin) / (batch + 1)
        values = "".join(f" - {name} {float(value):.4g}" for name, value in (logs or {}).items())
        print(f"step {batch + 1}{self._to_go(batch, each)}, {each:.2f} s a step{values}", flush=True)

    def _to_go(self, batch, each):
        steps = self.params.get("steps")
        return f" of {steps}, {each * (steps - batch - 1) / 60:.1f} minutes to go" if steps else ""
