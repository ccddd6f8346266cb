"""What the data and the machine decide where a person does not: crop and pretrained weights."""

import dataclasses

import numpy as np

from rankmatch_keras import data, models
from rankmatch_keras.backend import numerics
from rankmatch_keras.data.sets.pixel_statistics import usual_short_side
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import say
from rankmatch_keras.training.options import Options

LOOKED_AT = 20  # images whose sizes decide the crop, and how much of an image can surround it
LARGEST_CROP = {"accelerator": 321, "processor": 193}  # pixels a side that a step can afford


def fitted(options: Options, split: data.Split) -> Options:
    """Fill in the crop and the pretrained weights where the options leave them open.

    Args:
        options: the run's options.
        split: its images.
    """
    if options.crop is None:
        crop = crop_for(split)
        if options.backbone not in models.BACKBONES:
            crop = models.keras_hub.crop_of(options.backbone, crop)
        options = dataclasses.replace(options, crop=crop)
    if options.weights == "auto":
        options = dataclasses.replace(options, weights=_available_weights(options))
    return options


def crop_for(split: data.Split) -> int:
    """Return the side of the crops: about the short side of the usual image, 16k + 1, within what a step can afford."""
    side = usual_short_side([*split.labeled, *split.unlabeled], LOOKED_AT)
    largest = LARGEST_CROP["accelerator" if numerics.has_accelerator() else "processor"]
    return int(np.clip(16 * round((side - 1) / 16) + 1, 33, largest))


def _available_weights(options: Options) -> str | None:
    """Return `imagenet` where those weights can be had, and otherwise say so and return `None`."""
    if options.backbone == "tiny" or options.start_from is not None:
        return None
    if options.backbone not in models.BACKBONES:
        return "imagenet"  # those of the preset, which the person has named
    try:
        models.create_backbone(options.backbone, "imagenet")
    except UserError as error:
        say(f"NO PRETRAINED WEIGHTS: {error}")
        say("Training begins from random weights, which costs most of the score on photographs. Give --weights FILE.")
        return None
    return "imagenet"
