"""What recipes share beside their own few lines: flags, checks before the start, callbacks, and the final report.

A recipe imports this module first: it stops with one line where the chosen backend cannot run.
"""

import dataclasses
import sys
from collections.abc import Callable

import click

from rankmatch_keras.environment import require_environment

require_environment()

import keras  # noqa: E402

from rankmatch_keras import callbacks, data, evaluation, methods, models, training  # noqa: E402
from rankmatch_keras.command import run as run  # noqa: E402
from rankmatch_keras.errors import UserError  # noqa: E402
from rankmatch_keras.layers import ChannelNormalization  # noqa: E402
from rankmatch_keras.options import Options, click_options, read_options  # noqa: E402
from rankmatch_keras.progress import progress_bar  # noqa: E402

PICTURES = 6


def recipe(**defaults) -> Callable[[Callable[[Options], None]], click.Command]:
    """Makes a script's main function a command with the shared flags.

    Args:
        **defaults: the recipe's own defaults, by the names of `Options`.
    """

    def wrap(main: Callable[[Options], None]) -> click.Command:
        @click.pass_context
        def callback(context, **values):
            explicit = {name for name in values if context.get_parameter_source(name).name == "COMMANDLINE"}
            main(read_options(values, explicit))

        text = sys.modules[main.__module__].__doc__ or ""
        return click.Command(
            main.__name__, params=list(click_options(Options(**defaults))), callback=callback, help=f"\b\n{text}"
        )

    return wrap


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
    """Chooses the labelled images, and looks at every file that the run will read.

    Raises:
        UserError: too many labels are asked for, or a file cannot be used.
    """
    if options.labeled_list:
        split = data.split_from_lists(options.labeled_list, options.unlabeled_list, require_data(options))
    else:
        labels = len(dataset.train) if options.labels is None else options.labels
        split = data.choose_labeled([*dataset.train, *dataset.unlabeled], labels, options.seed)
    data.check_samples([*split.labeled, *dataset.val, *dataset.test], dataset.num_classes)
    if split.unlabeled and options.method != "supervised":
        data.check_samples(split.unlabeled, dataset.num_classes)
    elif options.method != "supervised":
        raise UserError(
            "unlabelled images", "none: every image is labelled", "Ask for fewer --labels, or --method supervised."
        )
    print(f"{dataset.name}: {len(split.labeled)} labelled, {len(split.unlabeled)} unlabelled, split {split.id}")
    return split


def normalization_of(options: Options) -> ChannelNormalization:
    """The normalisation that the backbone's pretrained weights expect."""
    return ChannelNormalization(**models.backbone_normalization(options.backbone))


def build_method(segmenter, options: Options) -> methods.Method:
    """Makes the method that the flags name."""
    if options.method == "supervised":
        return methods.SupervisedOnly(segmenter)
    shared = {"threshold": options.threshold}
    if options.method == "fixmatch":
        return methods.FixMatch(segmenter, **shared)
    if options.method == "unimatch":
        return methods.UniMatch(segmenter, seed=options.seed, **shared)
    given = {"num_agents": options.num_agents, "rank_weight": options.rank_weight}
    overrides = {name: value for name, value in given.items() if value is not None}
    return methods.RankMatch(segmenter, options.preset, seed=options.seed, **shared, **overrides)


def build_batches(split: data.Split, normalization: ChannelNormalization, options: Options, start_step: int):
    """Makes the stream of training batches from `start_step` on; without unlabelled images for `supervised`."""
    return data.training_batches(
        split.labeled,
        None if options.method == "supervised" else split.unlabeled,
        crop=options.crop,
        batch_size=options.batch,
        normalization=normalization,
        seed=options.seed,
        start_step=start_step,
        box_source=options.chosen_box_source(),
        scale=(options.min_scale, options.max_scale),
        strong_views=1 if options.method == "fixmatch" else 2,
    )


def open_run(options: Options, dataset: data.SegmentationData, split: data.Split, loader: str) -> training.Run:
    """Makes the run's folder with its full record; the last thing before training starts."""
    if options.out is None:
        raise UserError("an output folder", "none", "Give --out, e.g. --out runs/first.")
    facts = {
        "backend": keras.backend.backend(),
        "data": {"loader": loader, "root": str(require_data(options).resolve()), "classes": list(dataset.class_names)},
        "split": {
            "id": split.id,
            "labeled": [sample.name for sample in split.labeled],
            "unlabeled": len(split.unlabeled),
        },
    }
    return training.Run.create(options.out, options.as_dict(), facts, options.resume)


def build_evaluator(dataset: data.SegmentationData, split: data.Split, options: Options) -> evaluation.Evaluator:
    """The evaluator of the validation set, as far as `--val-images` asks for."""
    provenance = {"set": f"{dataset.name} val", "split": split.id, "seed": options.seed}
    return evaluation.Evaluator(dataset.val, dataset.class_names, limit=options.val_images, provenance=provenance)


def standard_callbacks(evaluator, predictor, checkpoint) -> list[keras.callbacks.Callback]:
    """Stop on a broken loss, evaluate, log to TensorBoard, save; in this order."""
    return [
        callbacks.StopOnNonFinite(),
        callbacks.Evaluation(evaluator, predictor),
        keras.callbacks.TensorBoard(checkpoint.run.tensorboard, write_graph=False),
        checkpoint,
    ]


def score(run: training.Run, dataset: data.SegmentationData, split: data.Split, options: Options) -> evaluation.Scores:
    """Scores the predictor after the last epoch on the test set, or on the validation set where there is none.

    With `--val-images` as many images, spread evenly; otherwise all.
    """
    name, samples = ("test", dataset.test) if dataset.test else ("val", dataset.val)
    limit = options.val_images if options.smoke else None
    facts = {"set": f"{dataset.name} {name}", "split": split.id, "seed": options.seed}
    print(f"Scoring {limit or len(samples)} images of {facts['set']} ...")
    evaluator = evaluation.Evaluator(samples, dataset.class_names, limit=limit, provenance=facts)
    return evaluator.evaluate(models.load_predictor(run.last), progress=progress_bar("scored"))


def report(run: training.Run, dataset: data.SegmentationData, scores: dict[str, evaluation.Scores]) -> None:
    """Prints the scores, and writes them, the learning curves and a sheet of predictions into the run's folder.

    Args:
        run: the finished run.
        dataset: its data.
        scores: the scores by label; differences are to the first.
    """
    print(f"\n{evaluation.format_comparison(scores)}\n")
    evaluation.write_json(run.folder / "scores.json", {label: score.to_dict() for label, score in scores.items()})
    evaluation.save_curves(run.folder / "curves.png", run.history, title=run.folder.name)
    save_predictions(run, dataset)
    print(f"Models, scores, learning curves and pictures are in {run.folder}")


def save_predictions(run: training.Run, dataset: data.SegmentationData) -> None:
    """Writes a sheet of image, truth and prediction of some validation images, spread over the set."""
    predictor = models.load_predictor(run.last)
    step = max(1, len(dataset.val) // PICTURES)
    samples = dataset.val[step // 2 :: step][:PICTURES]
    images = [data.read_image(sample.image) for sample in samples]
    truths = [data.read_mask(sample.mask) for sample in samples if sample.mask]
    predictions = [evaluation.predict_classes(predictor, image) for image in images]
    evaluation.save_prediction_sheet(run.folder / "predictions.png", images, truths, predictions, dataset.class_names)
