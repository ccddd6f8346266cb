"""The flags of the command line that all recipes share, made from the record of options and back into it."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from rankmatch_keras.data.sets.protocol import BORDERS, MODES
from rankmatch_keras.data_flags import FLAGS
from rankmatch_keras.options import JIT, Options

STRATEGIES = ("auto", "none", "mirrored", "multi-worker", "ddp", "data-parallel")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
POSITIVE = click.IntRange(min=1)
RATE = click.FloatRange(min=0.0)

# Flags of the one recipe that trains on whatever data the flags name.
ANY_DATA = (
    "dataset",
    "images",
    "masks",
    "unlabeled",
    "val_images",
    "val_masks",
    "classes",
    "legend",
    "hold_out",
    "val_list",
)

# What `self_training` tells the runs of its stages: number from 1, and the folder of what lies between them.
STAGED = ("stage", "stages")

SMOKE = {
    "backbone": "tiny",
    "weights": None,
    "second_weights": None,
    "crop": 65,
    "batch": 2,
    "epochs": None,
    "steps": 2,
    "interval": 1,
    "val_limit": 2,
    "pseudo_label_images": 2,
}

HELP: dict[str, tuple[Any, str]] = {
    "data": (click.Path(path_type=Path), "Folder of the data set."),
    **{name: FLAGS[name] for name in ANY_DATA if name in FLAGS},
    "hold_out": (click.FloatRange(0.0, 0.9), "Share of the labelled images for validation, without --val-images."),
    "out": (click.Path(path_type=Path), "Folder of the run; must not hold another one."),
    "labels": (POSITIVE, "Number of labelled images; the others are used without their masks."),
    "labeled_list": (
        click.Path(path_type=Path),
        "Text file of `image mask` lines below --data: exactly these are labelled, instead of --labels.",
    ),
    "unlabeled_list": (click.Path(path_type=Path), "Text file of the unlabelled images, with --labeled-list."),
    "val_list": (click.Path(path_type=Path), "Text file of `image mask` lines: exactly these are for validation."),
    "method": (str, "How to train; docs/methods.md lists the methods."),
    "preset": (click.Choice(("paper", "reference")), "RankMatch as in the article or as in its published program."),
    "backbone": (str, "Encoder: mobilenet_v2, resnet50, resnet101, kerascv_resnet50, kerascv_resnet101 or tiny."),
    "weights": (str, "Encoder weights: a file, `imagenet`, or `random`."),
    "start_from": (
        click.Path(path_type=Path),
        "An earlier run's folder or a .keras file: begin with its network instead of the encoder weights.",
    ),
    "second_backbone": (str, "Encoder of the second network, for methods that train two, e.g. cotraining."),
    "second_weights": (str, "Its weights: a file, `imagenet`, or `random`."),
    "output_stride": (click.Choice((8, 16, 32)), "Pixels per feature pixel."),
    "aspp_filters": (POSITIVE, "Channels of the features (ASPP output); 256 in the articles, fewer are faster."),
    "decoder_filters": (POSITIVE, "Channels of the two decoder convolutions; 256 in the articles, fewer are faster."),
    "pool_norm": (
        bool,
        "Normalise ASPP's pooled image over the batch, as the articles do; small batches train better without.",
    ),
    "crop": (click.IntRange(min=32), "Side of the training crops in pixels; 16k + 1 lines up best."),
    "batch": (POSITIVE, "Labelled and unlabelled images per step, each."),
    "steps": (POSITIVE, "Optimizer steps of the run (300 unless --epochs is given)."),
    "epochs": (POSITIVE, "Duration as passes over the unlabelled images, instead of --steps."),
    "interval": (POSITIVE, "Steps between evaluations and checkpoints, with --steps."),
    "learning_rate": (RATE, "Learning rate of the encoder at the first step; decays polynomially to 0."),
    "head_multiplier": (RATE, "Learning rate of the decoder over that of the encoder."),
    "l2": (RATE, "Factor of the L2 penalty on all weights."),
    "threshold": (
        click.FloatRange(0.0, 1.0),
        "Smallest confidence of a counted pseudo-label, instead of the method's.",
    ),
    "num_agents": (click.IntRange(min=4), "Agents of the rank loss, instead of the preset's."),
    "rank_weight": (RATE, "Weight of the rank loss, instead of the preset's."),
    "set": ("several", "Any option of the method as NAME=VALUE, e.g. --set top_k=6; can be given several times."),
    "box_source": (
        click.Choice(("in_batch", "second_view")),
        "Where CutMix boxes come from; second_view costs one more pass. Default: as the preset.",
    ),
    "min_scale": (click.FloatRange(min=0.1), "Smallest factor of the random resize."),
    "max_scale": (click.FloatRange(max=10.0), "Largest factor of the random resize."),
    "val_limit": (POSITIVE, "Evaluate on so many images during training, spread evenly; all by default."),
    "pseudo_label_images": (
        click.IntRange(min=0),
        "Unlabelled images whose masks, where they are known, tell how right pseudo-labels are; for the report alone.",
    ),
    "eval_mode": (click.Choice(MODES), "How images are shown for a score; by default as usual for the data set."),
    "eval_crop": (click.IntRange(min=1), "Side of the windows or of the centre crop in pixels."),
    "eval_border": (click.Choice(BORDERS), "Border windows are cut off, or moved back inside."),
    "eval_flip": (bool, "Add the probabilities of the mirrored image."),
    "eval_scales": (str, "Add the probabilities of resized images, e.g. 0.75,1,1.25."),
    "skip_bad": (bool, "Leave out images and masks that cannot be used, instead of stopping; the record names them."),
    "pipeline": (
        click.Choice(("auto", "tf.data", "workers")),
        "What makes the batches: tf.data with keras-cv, or worker processes without TensorFlow.",
    ),
    "network": (
        click.Choice(("auto", "keras-cv", "keras")),
        "DeepLabV3+ as subclass of keras-cv's, or of plain Keras layers: the same graph.",
    ),
    "distribute": (
        click.Choice(STRATEGIES),
        "Several devices or processes: mirrored, multi-worker (tensorflow), ddp (torch), data-parallel (jax).",
    ),
    "replicas": (POSITIVE, "Replicas of this process: all accelerators, or so many parts of the processors."),
    "sync_batch_norm": (bool, "Whether batch statistics are taken over all replicas."),
    "precision": (click.Choice(PRECISIONS), "What convolutions compute in; losses and agents stay in float32."),
    "jit": (click.Choice(tuple(JIT)), "Whether XLA or torch.compile compiles the step; auto: what is faster."),
    "accumulate": (POSITIVE, "Batches whose gradients are averaged for one optimizer step."),
    "deterministic": (bool, "The same bits in every run on the same machine; may be slower."),
    "seed": (click.IntRange(min=0), "Decides the labelled images, weights, batches and dropout."),
    "resume": (bool, "Continue the run in --out after its last whole epoch."),
    "smoke": (bool, "Shrink everything to a run of seconds that only shows that it works."),
}


def click_options(defaults: Options, any_data: bool = False) -> list[click.Option]:
    """The flags of a recipe with its defaults, for a `click.Command`.

    Args:
        defaults: the recipe's defaults.
        any_data: whether flags say which data to train on, own folders included; otherwise the recipe does.
    """
    hidden = (*STAGED, *(() if any_data else ANY_DATA))
    names = [field.name for field in dataclasses.fields(Options) if field.name not in hidden]
    return [_click_option(name, getattr(defaults, name)) for name in names]


def _click_option(name, default):
    kind, text = HELP[name]
    flag = f"--{name.replace('_', '-')}"
    if kind is bool:
        negatable = f"/--no-{flag[2:]}" if default else ""
        return click.Option([flag + negatable], is_flag=True, default=default, show_default=default, help=text)
    if kind == "several":
        return click.Option([flag], multiple=True, default=default, help=text)
    return click.Option([flag], type=kind, default=default, show_default=default is not None, help=text)


def read_options(values: dict[str, Any], explicit: set[str]) -> Options:
    """Makes the record from parsed flags; `--smoke` shrinks what was not given explicitly.

    Args:
        values: all flags by name.
        explicit: names of the flags that the person gave.
    """
    for name in ("weights", "second_weights"):
        if values[name] == "random":
            values[name] = None
    if values["smoke"]:
        values.update({name: value for name, value in SMOKE.items() if name not in explicit})
    elif "steps" in explicit and "epochs" not in explicit:
        values["epochs"] = None
    elif "epochs" in explicit and "steps" not in explicit:
        values["steps"] = None
    return Options(**values)
