"""How long a run trains: what is asked for, what fits into a time, or what follows from the number of images."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import about, say
from rankmatch_keras.training.options import Options
from rankmatch_keras.training.resumption import begun_with
from rankmatch_keras.training.training_options import seconds_of

PASSES = 30  # over all training images
STEPS = (600, 3000)  # smallest and largest duration that follows from the number of images
USUAL = 1800.0  # seconds that such a duration takes at most
INTERVALS = 12  # evaluations of a run at most
LEAST = 5  # steps between them
SHARE = 0.25  # of a time that evaluations may take


@dataclasses.dataclass(frozen=True)
class Speed:
    """How fast a run is on this machine, as measured, in seconds.

    Attributes:
        start: what the first steps take more than later ones, e.g. to compile.
        labeled: an optimizer step on labels alone.
        all: one on all images.
        evaluation: an evaluation on the validation images.
        scoring: the scoring at the end.
    """

    start: float
    labeled: float
    all: float
    evaluation: float
    scoring: float

    def step(self, burn_in: float) -> float:
        """Return the mean of an optimizer step in a run with this fraction on labels alone."""
        return burn_in * self.labeled + (1.0 - burn_in) * self.all


@dataclasses.dataclass(frozen=True)
class Duration:
    """Length of a run.

    Attributes:
        epochs: epochs of the whole run, which is evaluated and saved after each.
        steps_per_epoch: optimizer steps of each.
        begun_with: epochs that the run began with. Burn-in and warm-up are fractions of these: a run that is resumed
            with another duration does not go through them again.
    """

    epochs: int
    steps_per_epoch: int
    begun_with: int

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def steps_begun_with(self) -> int:
        """Optimizer steps that the run began with."""
        return self.begun_with * self.steps_per_epoch

    def burn_in(self, options: Options) -> int:
        """Return how many epochs train on labeled images alone."""
        return min(options.burn_in_epochs(self.begun_with), self.epochs)


PROVISIONAL = Duration(1000, 1, 1000)  # for steps whose speed is measured


def duration_of(options: Options, num_unlabeled: int) -> Duration:
    """Return the duration of a run.

    Args:
        options: its options, with a duration; where its folder holds the run already, it is resumed.
        num_unlabeled: number of unlabeled images (of labeled ones where there are no others).
    """
    begun, _ = begun_with(options).schedule(num_unlabeled)
    return Duration(*options.schedule(num_unlabeled), begun)


def chosen_duration(
    options: Options, images: int, measure: Callable[[], Speed], elapsed: Callable[[], float]
) -> Options:
    """Fill in steps and interval where the options leave them open, and say how long the run will take.

    With `time_budget` as many steps as fit into what is left of it; otherwise about `PASSES` passes over the images, as
    many as fit into half an hour.

    Args:
        options: the run's options.
        images: the number of labeled or of unlabeled images, the larger one.
        measure: measures the speed of the run.
        elapsed: returns the seconds since the run began.

    Raises:
        UserError: nothing fits into the time.
    """
    if options.epochs is not None:
        return options
    if options.steps is not None:
        return dataclasses.replace(options, interval=_interval(options.steps, options.interval))
    speed, begun = measure(), elapsed()
    left = (USUAL if options.time_budget is None else seconds_of(options.time_budget)) - begun
    each = speed.step(options.burn_in if options.burn_in_epochs(INTERVALS) else 0.0)
    evaluations = int(np.clip(SHARE * left / max(speed.evaluation, 1e-9), 2, INTERVALS))
    others = speed.start + evaluations * speed.evaluation + speed.scoring
    steps = int((left - others) / each)
    if options.time_budget is None:
        steps = max(1, min(steps, int(np.clip(PASSES * images // options.batch, *STEPS))))
    if steps < 1:
        need = about(begun + others + each).removeprefix("about ")
        raise UserError(
            f"a --time-budget of more than {need}", f"{options.time_budget}", "Start and scoring take that."
        )
    interval = min(options.interval or _at_most(evaluations, steps), steps)
    steps = steps // interval * interval
    time = about(begun + others + steps * each)
    say(f"{steps} steps, evaluated every {interval}: {time} in all on this machine (--time-budget changes it)")
    return dataclasses.replace(options, steps=steps, interval=interval)


def _at_most(evaluations: int, steps: int) -> int:
    """Return the smallest interval with so many evaluations at most, but for the steps that are left over."""
    return next(size for size in range(max(1, steps // evaluations), steps + 1) if steps // size <= evaluations)


def _interval(steps: int, interval: int | None) -> int:
    """Return the interval, by default a twelfth of the steps or somewhat more: it divides them, and has `LEAST`."""
    if interval is not None:
        return min(interval, steps)
    least = min(steps, max(LEAST, math.ceil(steps / INTERVALS)))
    interval = next(size for size in range(least, steps + 1) if steps % size == 0)
    say(f"{steps} steps, evaluated every {interval}")
    return interval
