"""The rehearsal of a run: a few steps of each kind and an evaluation, whose speed decides how many steps fit."""

import contextlib
import gc
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from rankmatch_keras import data, evaluation
from rankmatch_keras.backend.distribution import running
from rankmatch_keras.data.batches.reading_errors import reading_errors
from rankmatch_keras.texts import say
from rankmatch_keras.training.duration import Speed
from rankmatch_keras.training.options import Options

STEPS = 6  # of each kind; the first one compiles


class _Clock(keras.callbacks.Callback):
    """The seconds of each batch."""

    def __init__(self):
        super().__init__()
        self.seconds: list[float] = []
        self._now = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Record the time."""
        before, self._now = self._now, time.perf_counter()
        self.seconds.append(self._now - before)


def rehearse(
    options: Options,
    dataset: data.SegmentationData,
    assemble: Callable[[], tuple[Any, Any]],
    batches: Callable[[Any], Any],
) -> Speed:
    """Measure the speed of a run on networks that are thrown away; the run itself then begins as without it.

    Args:
        options: the run's options.
        dataset: its data.
        assemble: makes the compiled method and its predictor.
        batches: makes the batches of a method from the first step on.

    Returns:
        What the first process measured, so that all agree.
    """
    say("Measuring the speed of this machine in a few steps ...")
    with contextlib.redirect_stdout(io.StringIO()):  # the run itself says it again
        method, predictor = assemble()
    start, steps = 0.0, {}
    for labels_only in (True, False) if options.burn_in_epochs(2) else (False,):
        method.use_labels_only(labels_only)
        first, steps[labels_only] = _time_steps(method, batches(method), options.accumulate)
        start += first
    each = _seconds_per_image(dataset, options, running().local(predictor))
    found = [start, steps.get(True, 0.0), steps[False], each * _count(dataset.val, options.val_limit)]
    found.append(each * len(dataset.test or dataset.val))
    del method, predictor
    gc.collect()
    keras.utils.set_random_seed(options.seed)
    return Speed(*agreed(found))


def agreed(values) -> list[float]:
    """Return the numbers of the first process, to all of them."""
    own = np.array(values, np.float64)
    return [float(value) for value in running().sum(own if running().is_main else 0.0 * own)]


@reading_errors()
def _time_steps(method, batches, accumulate):
    """Return what the first step takes more than the others, and what an optimizer step takes."""
    clock = _Clock()
    method.fit(batches, epochs=1, steps_per_epoch=STEPS * accumulate, shuffle=False, verbose=0, callbacks=[clock])
    if hasattr(batches, "close"):
        batches.close()
    first, *others = clock.seconds
    return first - statistics.median(others), accumulate * statistics.median(others)


def _seconds_per_image(dataset, options, predictor):
    """Return the seconds that scoring an image takes, in the second of two turns."""
    for _ in range(2):
        begin = time.perf_counter()
        scores = evaluation.Evaluator(
            dataset.val,
            dataset.class_names,
            options.chosen_protocol(dataset.protocol),
            boundary=False,
            limit=running().processes,
            processes=running(),
        ).evaluate(predictor)
    return (time.perf_counter() - begin) / scores.images


def _count(samples, limit):
    return len(samples) if limit is None else min(limit, len(samples))
