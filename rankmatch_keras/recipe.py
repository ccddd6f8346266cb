"""What recipes share beside their own few lines: flags, checks before the start, callbacks, and the final report.

A recipe imports this module first: it stops with one line where the chosen backend cannot run.
"""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import click

from rankmatch_keras.environment import require_environment

require_environment()

import keras  # noqa: E402

from rankmatch_keras import callbacks, check, data, evaluation, methods, models, self_training, training  # noqa: E402
from rankmatch_keras.backend.distribution import running  # noqa: E402
from rankmatch_keras.building import build_method as build_method  # noqa: E402
from rankmatch_keras.building import build_optimizer as build_optimizer  # noqa: E402
from rankmatch_keras.building import build_segmenter as build_segmenter  # noqa: E402
from rankmatch_keras.building import start_of  # noqa: E402
from rankmatch_keras.command import run as run  # noqa: E402
from rankmatch_keras.data.batches.pipelines import is_installed  # noqa: E402
from rankmatch_keras.errors import UserError  # noqa: E402
from rankmatch_keras.evaluation import evenly_spaced  # noqa: E402
from rankmatch_keras.flags import click_options, read_options  # noqa: E402
from rankmatch_keras.layers import ChannelNormalization  # noqa: E402
from rankmatch_keras.options import METHOD_FLAGS, Options  # noqa: E402
from rankmatch_keras.reporting import report as report  # noqa: E402
from rankmatch_keras.reporting import score as score  # noqa: E402
from rankmatch_keras.session import start as start  # noqa: E402


def recipe(any_data: bool = False, **defaults) -> Callable[[Callable[[Options], None]], click.Command]:
    """Makes a script's main function a command with the shared flags.

    Args:
        any_data: whether flags say which data to train on, own folders included; otherwise the script does.
        **defaults: the recipe's own defaults, by the names of `Options`.
    """

    def wrap(main: Callable[[Options], None]) -> click.Command:
        @click.pass_context
        def callback(context, **values):
            explicit = {name for name in values if context.get_parameter_source(name).name == "COMMANDLINE"}
            options = require_fitting(read_options(values, explicit), explicit)
            if options.method == "selftraining":
                self_training.run_stages(main, options)
            else:
                main(options)

        text = sys.modules[main.__module__].__doc__ or ""
        flags = click_options(Options(**defaults), any_data)
        return click.Command(main.__name__, params=[*flags], callback=callback, help=f"\b\n{text}")

    return wrap


def require_fitting(options: Options, explicit: set[str]) -> Options:
    """The same options, once the method is known to have those that a person asks for.

    Raises:
        UserError: there is no such method, or a flag is for another one.
    """
    known = methods.options_of(methods.method_named(options.method))
    for name in METHOD_FLAGS:
        if name in explicit and name not in known:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"flags for --method {options.method}", f"{flag}, which it does not have", f"Leave {flag}.")
    require_second(options)
    return options


def require_second(options: Options) -> None:
    """Checks that a second backbone is given where the method needs one, and only where it takes one.

    Raises:
        UserError: it is not.
    """
    kind, given = methods.method_named(options.method), options.second_backbone
    if given is None and methods.needs_second(kind):
        raise UserError(
            f"a second network for --method {options.method}",
            "no --second-backbone",
            "Give one of another architecture, e.g. --second-backbone resnet50.",
        )
    if given is not None and not methods.takes_second(kind):
        raise UserError(
            f"flags for --method {options.method}", "--second-backbone, but it trains one network", "Leave it out."
        )
    if given is None and options.second_weights is not None:
        raise UserError("--second-backbone with --second-weights", "the weights alone", "Give both.")


def changed(options: Options, **values) -> Options:
    """The same options but for `values`."""
    return dataclasses.replace(options, **values)


def require_data(options: Options):
    """The folder of the data set.

    Raises:
        UserError: it was not given or does not exist.
    """
    if options.data is None or not options.data.is_dir():
        raise UserError("the folder of the data set", f"--data {options.data}", "Give an existing folder.")
    return options.data


def choose_split(dataset: data.SegmentationData, options: Options) -> data.Split:
    """Chooses the labelled images.

    Raises:
        UserError: too many labels are asked for, or nothing is left unlabelled for a method that needs it.
    """
    if options.labeled_list:
        split = data.split_from_lists(options.labeled_list, options.unlabeled_list, options.data, like=dataset)
    else:
        labels = options.labels or sum(sample.mask is not None for sample in dataset.train)
        split = data.choose_labeled([*dataset.train, *dataset.unlabeled], labels, options.seed)
    if not split.unlabeled and options.needs_unlabeled:
        raise UserError(
            "unlabelled images", "none: every image is labelled", "Ask for fewer --labels, or --method supervised."
        )
    return split


def checked(
    dataset: data.SegmentationData, split: data.Split, options: Options
) -> tuple[data.SegmentationData, data.Split]:
    """Looks at every file that the run will read.

    Returns:
        The data and the split, with `--skip-bad` without the samples that cannot be used.

    Raises:
        UserError: something cannot be used; the message lists all of it.
    """
    unlabeled = split.unlabeled if options.needs_unlabeled else ()
    without_mask = tuple(sample for sample in dataset.train if sample.mask is None)
    used = dataclasses.replace(dataset, train=(*split.labeled, *without_mask), unlabeled=unlabeled)
    report = check.check(used, thorough=False)
    check.require_usable(report, skip_bad=options.skip_bad)
    if options.skip_bad:
        dataset, split = _without_bad(dataset, split, report)
    print(f"{dataset.name}: {len(split.labeled)} labelled, {len(split.unlabeled)} unlabelled, split {split.id}")
    if report.never_labeled:
        print(f"No labelled mask shows {', '.join(report.never_labeled)}: cannot be learnt; label an image that does.")
    return dataset, split


def _without_bad(dataset, split, report):
    parts = (split.labeled, split.unlabeled, dataset.val, dataset.test)
    labeled, unlabeled, val, test = (check.without_bad(samples, report) for samples in parts)
    kept = {id(sample) for samples in (labeled, unlabeled, val, test) for sample in samples}
    skipped = tuple(sample.name for samples in parts for sample in samples if id(sample) not in kept)
    if skipped:
        print(f"Left out {len(skipped)} images that cannot be used: {', '.join(skipped[:5])}")
    split = dataclasses.replace(split, labeled=labeled, unlabeled=unlabeled, id=data.split_id(labeled), skipped=skipped)
    return dataclasses.replace(dataset, val=val, test=test), split


def normalization_of(options: Options, split: data.Split) -> ChannelNormalization:
    """The normalisation that goes into the model: the backbone's own for 8-bit colour, otherwise measured."""
    if data.image_format(split.labeled).is_color:
        return ChannelNormalization(**models.backbone_normalization(options.backbone))
    statistics = data.channel_statistics([*split.labeled, *split.unlabeled])
    return ChannelNormalization(**models.measured_normalization(options.backbone, *statistics))


def build_batches(split: data.Split, normalization: ChannelNormalization, options: Options, start_step: int):
    """Makes this process's share of the training batches; without unlabelled images for `supervised`.

    Args:
        split: which images are labelled.
        normalization: the model's own.
        options: the run's options; every optimizer step takes `accumulate` batches.
        start_step: optimizer steps already done.
    """
    unlabeled = None if options.method == "supervised" else split.unlabeled
    pseudo_labels = options.method == "selftraining"
    if pseudo_labels:
        unlabeled = self_training.pseudo_labeled(split.unlabeled, options)
    method = methods.method_named(options.method)
    batches = data.training_batches(
        split.labeled,
        unlabeled,
        crop=options.crop,
        batch_size=options.batch,
        normalization=normalization,
        seed=options.seed,
        start_step=start_step * options.accumulate,
        box_source=options.chosen_box_source(),
        scale=(options.min_scale, options.max_scale),
        strong_views=method.strong_views(),
        strong=method.strong_policy,
        pseudo_labels=pseudo_labels,
        pipeline=options.pipeline,
        rows=running().rows,
    )
    return running().batches(batches)


def open_run(
    options: Options,
    dataset: data.SegmentationData,
    split: data.Split,
    loader: str,
    arguments: dict[str, Any] | None = None,
) -> training.Run:
    """Makes the run's folder with its full record; the last thing before training starts.

    Args:
        options: the run's options.
        dataset: its data.
        split: which images are labelled.
        loader: name of the data set's class, with which `evaluate` opens it again.
        arguments: its arguments; the folder `--data` by default.
    """
    out, resume = options.folder, options.resume or running().restarted
    if arguments is None:
        arguments = {"root": str(require_data(options).resolve())}
    facts = {
        "backend": keras.backend.backend(),
        "distribution": running().describe(options.batch),
        "data": {"loader": loader, "arguments": arguments, "classes": list(dataset.class_names)},
        "split": {
            "id": split.id,
            "labeled": [sample.name for sample in split.labeled],
            "unlabeled": len(split.unlabeled),
            "skipped": list(split.skipped),
        },
        "start": start_of(options),
        "protocol": dataclasses.asdict(options.chosen_protocol(dataset.protocol)),
    }
    run = running().on_main(lambda: training.Run.create(out, options.as_dict(), facts, resume)) or training.Run(out)
    if not run.config.exists():
        raise UserError("an output folder that all processes see", f"{out} only at the first", "Use shared storage.")
    return run


def build_evaluator(dataset: data.SegmentationData, split: data.Split, options: Options) -> evaluation.Evaluator:
    """The evaluator of the validation set, as far as `--val-limit` asks for."""
    return evaluation.Evaluator(
        dataset.val,
        dataset.class_names,
        options.chosen_protocol(dataset.protocol),
        boundary=False,
        limit=options.val_limit,
        provenance={"set": f"{dataset.name} val", "split": split.id, "seed": options.seed},
        processes=running(),
    )


def verbosity() -> int:
    """What `fit` prints: a bar on the terminal; in a file, where a bar leaves a line per step, one line per epoch.

    `standard_callbacks` adds lines between those.
    """
    return 1 if sys.stdout.isatty() else 2


def standard_callbacks(
    dataset: data.SegmentationData, split: data.Split, options: Options, predictor, checkpoint
) -> list[keras.callbacks.Callback]:
    """Stop on a broken loss, time and memory, progress in a log, evaluate, look at pseudo-labels, TensorBoard, save.

    In this order.

    Args:
        dataset: the run's data.
        split: which images are labelled.
        options: the run's options.
        predictor: the inference model that shares the trained weights.
        checkpoint: `callbacks.Checkpoint` of the run.
    """
    hidden = _hidden_samples(dataset, split, options)
    return [
        callbacks.StopOnNonFinite(),
        callbacks.Cost(),
        *([] if sys.stdout.isatty() else [callbacks.ProgressLines()]),
        callbacks.Evaluation(build_evaluator(dataset, split, options), predictor),
        callbacks.PseudoLabelHealth(checkpoint.run, hidden, dataset.class_names, predictor),
        *_tensorboard(checkpoint.run),
        *([callbacks.Snapshots(checkpoint.run, predictor)] if options.stage == 1 else ()),
        checkpoint,
    ]


def _hidden_samples(dataset, split, options):
    """Some unlabelled images with their masks, which the split left out: to look at pseudo-labels, never to train."""
    if options.method == "supervised":
        return []
    unlabeled = {sample.name for sample in split.unlabeled}
    known = [sample for sample in dataset.train if sample.mask is not None and sample.name in unlabeled]
    return evenly_spaced(known, options.pseudo_label_images) if options.pseudo_label_images else []


def _tensorboard(run):
    """The log of the first process, where TensorFlow, which writes it on every backend, is installed."""
    if not running().is_main:
        return []
    if not is_installed("tensorflow"):
        print("No TensorBoard log, which needs TensorFlow; history.csv holds the same numbers.")
        return []
    return [keras.callbacks.TensorBoard(run.tensorboard, write_graph=False)]
