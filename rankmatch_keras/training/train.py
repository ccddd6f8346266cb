"""A training run from options to scores: `train` reads top-down."""

import dataclasses
import os
import shutil
import sys
import time
from pathlib import Path

import keras
import numpy as np

from rankmatch_keras import data, evaluation, models
from rankmatch_keras.backend.distribution import Distribution, check_divisible, distribute, running
from rankmatch_keras.backend.numerics import make_deterministic, set_precision
from rankmatch_keras.data.views.own import read_augmentation
from rankmatch_keras.environment import check_environment
from rankmatch_keras.errors import UserError
from rankmatch_keras.files import replacing
from rankmatch_keras.texts import say
from rankmatch_keras.training.assembly import Assembly
from rankmatch_keras.training.callbacks import (
    EpochLines,
    Evaluation,
    NothingLearned,
    ProgressLines,
    Snapshots,
    StopOnNonFinite,
    TimeToGo,
)
from rankmatch_keras.training.checkpoint import Checkpoint
from rankmatch_keras.training.configuration import OWN_DATA, read_options, require_fitting_method, write_file
from rankmatch_keras.training.cost import Cost
from rankmatch_keras.training.dataset import open_dataset
from rankmatch_keras.training.duration import Duration, duration_of
from rankmatch_keras.training.fingerprints import fingerprints
from rankmatch_keras.training.fitting import fitted
from rankmatch_keras.training.hierarchies import recorded, with_hierarchy
from rankmatch_keras.training.inputs import checked, choose_split
from rankmatch_keras.training.interruption import Interruption, StopOnInterrupt
from rankmatch_keras.training.model import start_of
from rankmatch_keras.training.options import Options
from rankmatch_keras.training.phases import fit
from rankmatch_keras.training.pseudo_label_health import PseudoLabelHealth
from rankmatch_keras.training.results import final_evaluator, report, say_kept, score
from rankmatch_keras.training.resumption import continued, done
from rankmatch_keras.training.run_folder import Run
from rankmatch_keras.training.self_training import train_in_stages
from rankmatch_keras.training.tensorboard import tensorboard
from rankmatch_keras.training.trackers import log_scores, trackers


@dataclasses.dataclass(frozen=True)
class Trained:
    """A finished training run.

    Attributes:
        run: its run directory.
        scores: scores on the test set, or on the validation set where there is none.
        model: the predictor; raw images `(B, H, W, C)` in, class probabilities `(B, H, W, K)` out.
        dataset: its data.
        evaluator: what scored it, with the scores of single images.
        before: scores on the validation set before training, where asked for.
    """

    run: Run
    scores: evaluation.Scores
    model: keras.Model
    dataset: data.SegmentationData
    evaluator: evaluation.Evaluator
    before: evaluation.Scores | None = None

    def predict(self, image) -> np.ndarray:
        """Segment one image.

        Args:
            image: path of an image file, or array `(H, W, C)` in the units of the training images.

        Returns:
            int32 `(H, W)`, class ids.
        """
        if isinstance(image, str | Path):
            image = data.read_image(image, channels=self.model.input_shape[-1])
        return evaluation.predict_classes(self.model, np.asarray(image))


def train(
    options: Options | None = None,
    dataset: data.SegmentationData | str | None = None,
    *,
    score_before: bool = False,
    **values,
) -> Trained:
    """Train a segmentation model, and leave a complete run directory.

    Args:
        options: all options of the run; or give them by name, with the defaults of `rankmatch train`.
        dataset: the data, or the name of a known data set with `data=FOLDER`; by default what the options name.
        score_before: whether to score the network on the validation set before training too.
        **values: options by name, e.g. `images="photos"`, `masks="masks"`, `unlabeled="more_photos"`, `out="runs/a"`.

    Returns:
        The finished run: its scores and its model.

    Raises:
        UserError: an option, a file or the environment cannot work; it says what was expected, found, and what to do.
        NonFiniteLoss: the loss became infinite or NaN.
        WorkerLost: another process of a distributed run is gone.

    Example:
        >>> trained = train(images="photos", masks="masks", unlabeled="more_photos", out="runs/a")  # doctest: +SKIP
        >>> trained.predict("new_photo.jpg").shape  # doctest: +SKIP
        (480, 640)
    """
    begin = time.perf_counter()
    check_environment()
    if isinstance(dataset, str):
        values["dataset"], dataset = dataset, None
    if options is None:
        options = read_options(OWN_DATA, values)
    elif values or not isinstance(options, Options):
        raise TypeError(f"Give `options` as training.Options, or options by name. Received: {options!r}, {values}")
    require_fitting_method(options, set())
    options.check_duration()
    if options.method == "selftraining" and not options.stage:
        start(options)  # which says whether a launcher started the processes again
        return train_in_stages(lambda stage: train(stage, dataset), options)
    distribution = start(options)
    run, resume = Run(options.folder), options.resume or distribution.restarted
    distribution.on_main(lambda: run.require_new(resume))
    if resume and run.config.exists():
        options = continued(options)
    return _trained(assembled(options, dataset, begin), score_before)


def assembled(options: Options, dataset: data.SegmentationData | None, begin: float) -> Assembly:
    """Open the data of a run, check all that it will read, and choose what the options leave open.

    Args:
        options: the run's options.
        dataset: its data; by default what the options name.
        begin: when the run began, by `time.perf_counter`.
    """
    models.require_backbone(options.backbone)
    models.require_decoder(options.backbone, options.decoder)
    augmentation = None if options.augment is None else read_augmentation(options.augment)
    dataset = with_hierarchy(open_dataset(options) if dataset is None else dataset, options)
    dataset, split = checked(dataset, choose_split(dataset, options), options)
    if augmentation is not None:
        augmentation = dataclasses.replace(augmentation, num_classes=dataset.num_classes)
        augmentation.try_on(split.labeled[0])
        say(f"Images pass your own {augmentation} before the other views.")
    return Assembly.of(fitted(options, split), dataset, split, augmentation).with_duration(begin)


def _trained(assembly: Assembly, score_before: bool) -> Trained:
    options, dataset, split = assembly.options, assembly.dataset, assembly.split
    duration = duration_of(options, len(split.unlabeled) or len(split.labeled))
    method, predictor = assembly.make(duration)
    run = open_run(assembly, duration)
    validation = validation_evaluator(dataset, split, options)
    before = validation.evaluate(running().local(predictor)) if score_before else None
    checkpoint = Checkpoint(run, predictor)
    done = checkpoint.restore(method)
    running().on_main(lambda: write_file(run.options, options))  # not before a run to resume has taken them
    with trackers(run, options) as logs:
        with Interruption() as interruption:
            callbacks = _callbacks(dataset, split, options, predictor, validation, checkpoint, duration)
            fit(
                method,
                options,
                checkpoint,
                duration,
                batches=lambda step: assembly.batches(method, step),
                callbacks=[*callbacks, *logs, StopOnInterrupt(interruption, checkpoint, duration)],
                done=done,
            )
        say_kept(run, options, duration.burn_in(options))
        evaluator = final_evaluator(dataset, split, options)
        scores = score(run, evaluator)
        log_scores(logs, scores, duration.epochs)
    report(run, dataset, {"IoU %": scores} if before is None else {"before": before, "after": scores})
    return Trained(run, scores, models.load_predictor(run.chosen), dataset, evaluator, before)


def start(options: Options) -> Distribution:
    """Join the other processes, if any, and make everything random follow the seed.

    Args:
        options: the run's options.

    Returns:
        The distribution: `scope()` is where the model is built, `prepare(method)` follows `compile`.

    Raises:
        UserError: the strategy, the launcher's variables, the batch size, the precision or the input pipeline cannot
            work here.
    """
    pipeline = data.describe_pipeline(options.pipeline)
    if options.deterministic:
        make_deterministic()
    # An engine starts once per process: an earlier run may have done so.
    distribution = running() if running().name != "none" else distribute(options.distribute, options.replicas)
    if not distribution.is_main:
        _silence()
    check_divisible(distribution, batch=options.batch)
    set_precision(options.precision)
    keras.utils.set_random_seed(options.seed)
    if distribution.replicas > 1:
        say(f"{distribution.describe(options.batch)}; learning rate as given, {options.learning_rate}")
        if options.batch == distribution.replicas and options.chosen_box_source() == "in_batch":
            say("One unlabeled image per replica: in_batch boxes paste an image into itself. Take a larger --batch.")
    say(pipeline)
    return distribution


def _silence():
    """Discard the standard output, that of libraries that write to it past Python too."""
    sys.stdout.flush()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)


def open_run(assembly: Assembly, duration: Duration) -> Run:
    """Make the run directory with its full record; the last thing before training.

    Args:
        assembly: the run's options and data; the record says how these were opened, so that `rankmatch evaluate` can
            open them again.
        duration: its length.
    """
    options, dataset, split = assembly.options, assembly.dataset, assembly.split
    origin = dataset.origin
    facts = {
        "backend": keras.backend.backend(),
        "distribution": running().describe(options.batch),
        "data": {
            "loader": origin.loader if origin else None,
            "arguments": dict(origin.arguments) if origin else {},
            "classes": list(dataset.class_names),
            "hierarchy": recorded(dataset.hierarchy),
        },
        "split": {
            "id": split.id,
            "labeled": [sample.name for sample in split.labeled],
            "unlabeled": len(split.unlabeled),
            "skipped": list(split.skipped),
        },
        "start": start_of(options),
        "augmentation": assembly.augmentation and assembly.augmentation.record(),
        "protocol": dataclasses.asdict(options.chosen_protocol(dataset.protocol)),
    }

    def create():
        resume = options.resume or running().restarted
        parts = {"labeled": split.labeled, "validation": dataset.val}
        if options.needs_unlabeled:
            parts["unlabeled"] = split.unlabeled
        epochs, steps = done(Run(options.folder))
        step = epochs * duration.steps_per_epoch + steps
        run = Run.create(options.folder, options.as_dict(), facts, resume, fingerprints(parts), step)
        # The record names files of the run and of its data alone, see `training.reopening`.
        for file, copy in ((options.val_list, run.val_list), (options.legend, run.legend)):
            if file is not None and not copy.exists():
                with replacing(copy) as temporary:
                    shutil.copyfile(file, temporary)
        return run

    run = running().on_main(create) or Run(options.folder)
    if not run.config.exists():
        raise UserError(
            "an output folder that all processes see", f"{options.folder} only at the first", "Use shared storage."
        )
    return run


def validation_evaluator(dataset: data.SegmentationData, split: data.Split, options: Options) -> evaluation.Evaluator:
    """Make the evaluator of the validation set, of `--val-limit` images."""
    return evaluation.Evaluator(
        dataset.val,
        dataset.class_names,
        options.chosen_protocol(dataset.protocol),
        boundary=False,
        limit=options.val_limit,
        provenance={"set": f"{dataset.name} val", "split": split.id, "seed": options.seed},
        processes=running(),
    )


def _callbacks(dataset, split, options, predictor, validation, checkpoint, duration) -> list[keras.callbacks.Callback]:
    """Return the callbacks in the order in which they must run.

    They stop on a broken loss, warn where nothing is learned, measure cost, show progress, evaluate, check
    pseudo-labels, log, save.
    """
    return [
        StopOnNonFinite(),
        NothingLearned(),
        Cost(),
        TimeToGo(duration, duration.burn_in(options)),
        ProgressLines(epochs=duration.epochs),
        Evaluation(validation, predictor),
        EpochLines(duration.epochs),
        PseudoLabelHealth(
            checkpoint.run, _samples_with_hidden_masks(dataset, split, options), dataset.class_names, predictor
        ),
        *tensorboard(checkpoint.run, dataset, predictor, options.chosen_protocol(dataset.protocol)),
        *([Snapshots(checkpoint.run, predictor, duration.epochs)] if options.stage == 1 else ()),
        checkpoint,
    ]


def _samples_with_hidden_masks(dataset, split, options):
    """Return some unlabeled samples whose masks the split hid: to check pseudo-labels, never to train."""
    if options.method == "supervised" or not options.pseudo_label_images:
        return []
    unlabeled = {sample.name for sample in split.unlabeled}
    known = [sample for sample in dataset.train if sample.mask is not None and sample.name in unlabeled]
    return evaluation.evenly_spaced(known, options.pseudo_label_images)
