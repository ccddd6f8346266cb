"""What the data and the machine decide where a person does not: crop, pretrained weights, duration."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from rankmatch_keras import data, models
from rankmatch_keras.backend import numerics
from rankmatch_keras.backend.distribution import running
from rankmatch_keras.data.sets.pixel_statistics import usual_short_side
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import say
from rankmatch_keras.training.options import Options
from rankmatch_keras.training.records import read_config
from rankmatch_keras.training.run_folder import Run

LOOKED_AT = 20  # images whose sizes decide the crop
LARGEST_CROP = {"accelerator": 321, "processor": 193}  # pixels a side that a step can afford
PASSES = 30  # over all training images
STEPS = (600, 3000)  # smallest and largest duration that follows from the number of images
INTERVALS = 12  # evaluations of a run
OTHERS = 1.2  # whole step over its passes: losses, optimizer, waiting


def fitted(options: Options, split: data.Split) -> Options:
    """Fill in the crop and the pretrained weights where the options leave them open.

    A run that is resumed keeps what it began with.

    Args:
        options: the run's options.
        split: its images.
    """
    options = _recorded(options)
    if options.crop is None:
        options = dataclasses.replace(options, crop=crop_for(split))
    if options.weights == "auto":
        options = dataclasses.replace(options, weights=_available_weights(options))
    return options


def _recorded(options: Options) -> Options:
    """Take what is open from the record of the run to resume."""
    if not (options.resume or running().restarted) or not Run(options.folder).config.exists():
        return options
    before: Mapping[str, Any] = read_config(options.folder)["options"]
    names = [name for name in ("crop", "steps", "interval") if getattr(options, name) is None]
    if options.epochs is not None:
        names = [name for name in names if name == "crop"]
    changes = {name: before[name] for name in names if isinstance(before.get(name), int)}
    if options.weights == "auto" and "weights" in before:
        changes["weights"] = before["weights"]
    return dataclasses.replace(options, **changes)


def crop_for(split: data.Split) -> int:
    """Return the side of the crops: about the short side of the usual image, 16k + 1, within what a step can afford."""
    side = usual_short_side([*split.labeled, *split.unlabeled], LOOKED_AT)
    largest = LARGEST_CROP["accelerator" if numerics.has_accelerator() else "processor"]
    return int(np.clip(16 * round((side - 1) / 16) + 1, 33, largest))


def _available_weights(options: Options) -> str | None:
    """Return `imagenet` where those weights can be had, and otherwise say so and return `None`."""
    if options.backbone == "tiny" or options.start_from is not None:
        return None
    try:
        models.create_backbone(options.backbone, "imagenet")
    except UserError as error:
        say(f"NO PRETRAINED WEIGHTS: {error}")
        say("Training begins from random weights, which costs most of the score on photographs. Give --weights FILE.")
        return None
    return "imagenet"


def fitted_duration(options: Options, split: data.Split, segmenter) -> Options:
    """Fill in steps and interval where the options leave them open, and say how long the run will take.

    About `PASSES` passes over all training images, as many as `--minutes` allow.

    Args:
        options: the run's options, with a crop.
        split: its images.
        segmenter: the network, which predicts a batch to measure its speed.
    """
    if options.epochs is not None or (options.steps is not None and options.interval is not None):
        return options
    steps, note = options.steps, ""
    if steps is None:
        images = max(len(split.labeled), len(split.unlabeled))
        steps = int(np.clip(PASSES * images // options.batch, *STEPS))
        seconds = seconds_per_step(options, segmenter)
        if options.minutes is not None:
            steps = max(1, min(steps, int(60 * options.minutes / seconds)))
        note = f", about {_time(steps * seconds)} on this machine (--minutes or --steps changes it)"
    interval = options.interval or max(1, steps // INTERVALS)
    if options.steps is None:
        steps = max(interval, steps // interval * interval)
    elif options.interval is None:
        interval = next(size for size in range(interval, steps + 1) if steps % size == 0)
    say(f"{steps} steps, evaluated every {interval}{note}")
    return dataclasses.replace(options, steps=steps, interval=interval)


def seconds_per_step(options: Options, segmenter) -> float:
    """Estimate the seconds of an optimizer step from a prediction; a backward pass takes about two forward ones.

    All processes get the first one's number, so that they agree on the duration.
    """
    each = options.batch // running().replicas or 1
    images = np.zeros((each, options.side, options.side, segmenter.encoder.input_shape[-1]), np.float32)
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        keras.ops.convert_to_numpy(segmenter(images, training=False)["logits"])
        times.append(time.perf_counter() - begin)
    forward = min(times)
    # Labeled images and one strong view forward and backward, the weak view forward; supervised training the first.
    passes = 3.0 if options.method == "supervised" else 7.0 - 4.0 * options.burn_in
    return (
        float(running().sum(np.array([forward if running().is_main else 0.0]))[0])
        * passes
        * OTHERS
        * options.accumulate
    )


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
