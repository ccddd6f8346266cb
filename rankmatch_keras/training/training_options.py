"""Options of crops, duration and optimizer of a run, a part of the one catalog; see `options`."""

import functools
import re
from typing import Annotated, Literal

import pydantic
from annotated_types import Ge, Le

from rankmatch_keras.errors import UserError
from rankmatch_keras.training.catalog import About

TRAINING = "Training"
DURATIONS = ("steps", "epochs", "time_budget")  # ways to give it
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST = 3.6e6  # seconds

_same = functools.partial(About, TRAINING)
_duration = functools.partial(About, TRAINING, on_resume="recorded")
_per_method = functools.partial(About, TRAINING, in_comparison="per method")


@pydantic.dataclasses.dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid", allow_inf_nan=False))
class TrainingOptions:
    """Everything a person can choose about crops, duration and optimizer.

    The duration is given once: as `steps`, as `epochs` (passes over the unlabeled images), which `schedule` turns into
    steps, or as `time_budget`, which `duration.chosen_duration` does.
    """

    crop: Annotated[
        int | None,
        Ge(32),
        _same(
            "Side of the training crops; a multiple of 16 plus 1 aligns best. Default: from the images.",
            smoke=65,
        ),
    ] = 321
    batch: Annotated[int, Ge(1), _same("Labeled and unlabeled images per step, each.", smoke=2)] = 2
    steps: Annotated[
        int | None,
        Ge(1),
        _duration("Optimizer steps; default: from the number of images, at most half an hour.", smoke=2),
    ] = None
    time_budget: Annotated[
        str | None,
        _same(
            "Take as many steps as fit into this time, e.g. 30m, 2h or 90s, start and scoring included.",
            on_resume="free",
            in_comparison="free",
            smoke=None,
        ),
    ] = None
    epochs: Annotated[
        int | None,
        Ge(1),
        _duration("Duration in passes over the unlabeled images, instead of --steps.", smoke=None),
    ] = None
    interval: Annotated[
        int | None,
        Ge(1),
        _same("Steps between evaluations and checkpoints; default: a twelfth of the run, at least 5.", smoke=1),
    ] = None
    optimizer: Annotated[
        Literal["sgd", "adamw"],
        _per_method("Momentum SGD as in the articles, or AdamW, with one learning rate and --l2 as weight decay."),
    ] = "sgd"
    learning_rate: Annotated[
        float,
        Ge(0.0),
        _per_method("Largest learning rate of the encoder; it decays to 0 at the end of the run."),
    ] = 0.001
    decay: Annotated[
        Literal["poly", "cosine"],
        _per_method("How it decays: poly (power 0.9), as in the articles, or cosine."),
    ] = "poly"
    warm_up: Annotated[
        float, Ge(0.0), Le(0.5), _per_method("Fraction of the run over which it first grows from 0.")
    ] = 0.0
    clip: Annotated[
        float | None, Ge(0.0), _per_method("Largest norm of the gradient of all weights; longer ones shrink.")
    ] = None
    head_multiplier: Annotated[
        float,
        Ge(0.0),
        _per_method("Learning rate of the decoder over that of the encoder, with --optimizer sgd."),
    ] = 10.0
    l2: Annotated[float, Ge(0.0), _per_method("Factor of the L2 penalty on all weights.")] = 1e-4
    burn_in: Annotated[
        float,
        Ge(0.0),
        Le(0.9),
        _per_method("Fraction of the run on labeled images alone, at its beginning."),
    ] = 0.0
    fall_back: Annotated[
        bool,
        _per_method("Return to labels alone if unlabeled images lower the validation score after --burn-in."),
    ] = False
    patience: Annotated[
        int | None,
        Ge(1),
        _per_method("Stop after so many evaluations without a better validation score, after the burn-in."),
    ] = None
    min_scale: Annotated[float, Ge(0.1), _same("Smallest factor of the random resize.")] = 0.5
    max_scale: Annotated[float, Le(10.0), _same("Largest factor of the random resize.")] = 2.0
    augment: Annotated[
        str | None,
        _same(
            "Your own augmentation, FILE.py:NAME: a function of image, mask and rng that returns image and mask.",
            in_comparison="named",
        ),
    ] = None
    accumulate: Annotated[int, Ge(1), _same("Batches averaged for one optimizer step.")] = 1

    def check_duration(self) -> None:
        """Check that no two durations are given, that a time is one, and that the steps divide into intervals.

        Raises:
            UserError: otherwise.
        """
        given = [f"--{name.replace('_', '-')} {value}" for name in DURATIONS if (value := getattr(self, name))]
        if len(given) > 1:
            raise UserError("one duration", " and ".join(given), "Give one of them.")
        if self.time_budget is not None:
            seconds_of(self.time_budget)
        self._require_whole_intervals()

    def _require_whole_intervals(self) -> None:
        if self.steps is None or self.interval is None or self.epochs is not None:
            return
        interval = min(self.interval, self.steps)
        if self.steps % interval:
            raise UserError(
                "--steps that divide into intervals of --interval steps",
                f"{self.steps} steps and {interval} an interval",
                f"Take {self.steps // interval * interval} steps, or another interval.",
            )

    def schedule(self, num_unlabeled: int) -> tuple[int, int]:
        """Resolve the duration.

        Args:
            num_unlabeled: number of unlabeled images (of labeled ones where there are no others).

        Returns:
            `(epochs, optimizer steps per epoch)`; the run is evaluated and saved after each epoch.

        Raises:
            UserError: the steps do not divide into intervals.
            ValueError: no duration; `duration.chosen_duration` chooses one.
        """
        self._require_whole_intervals()
        if self.epochs is not None:
            return self.epochs, max(1, num_unlabeled // (self.batch * self.accumulate))
        if self.steps is None or self.interval is None:
            raise ValueError("Expected a duration. Received: neither steps with an interval nor epochs")
        interval = min(self.interval, self.steps)
        return self.steps // interval, interval


def seconds_of(text: str) -> float:
    """Read a time: a number and its unit, `s`, `m` or `h`, from 1 s to 1000 h.

    Raises:
        UserError: it is something else.

    Example:
        >>> seconds_of("1.5h")
        5400.0
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smh])", text.strip())
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not 1.0 <= seconds <= LONGEST:
        raise UserError("a time with its unit as --time-budget", repr(text)[:100], "Write e.g. 30m, 2h or 90s.")
    return seconds
