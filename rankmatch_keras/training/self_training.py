"""Self-training: runs that follow each other, and the pseudo-labels between them.

`stages/` of the run directory holds the runs of the earlier stages, `labels/` with a mask per image, and for ST++
`reliability.csv`. Each stage is a plain run, and what is done already is not done again, so that `--resume` continues
after a stop at any point.
"""

import csv
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from rankmatch_keras import data, evaluation, methods, models
from rankmatch_keras.backend.distribution import running
from rankmatch_keras.data.readers.guards import reading
from rankmatch_keras.errors import UserError
from rankmatch_keras.files import replacing
from rankmatch_keras.methods.self_training import Labeling
from rankmatch_keras.texts import counted, say, shown
from rankmatch_keras.training.callbacks import SNAPSHOTS
from rankmatch_keras.training.options import Options
from rankmatch_keras.training.run_folder import STAGES, Run

FIRST = "supervised"  # method of the first stage

Result = TypeVar("Result")


def train_in_stages(train: Callable[[Options], Result], options: Options) -> Result:
    """Train once per stage: ST has two, ST++ three.

    Args:
        train: trains one stage.
        options: options of the whole run; each stage takes its `steps` or `epochs`.

    Returns:
        The result of the last stage.

    Raises:
        UserError: an option that cannot be, or an output folder that is not free.
    """
    labeling = labeling_of(options)
    names = ["the labeled images", *["the most reliable pseudo-labels"] * labeling.plus_plus, "all pseudo-labels"]
    resume = options.resume or running().restarted
    if not resume:
        Run(options.folder).require_new()
    for stage, name in enumerate(names, start=1):
        last = stage == len(names)
        folder = options.folder if last else stage_folder(options.folder / STAGES, stage)
        chosen = dataclasses.replace(options, out=folder, stage=stage, stages=options.folder / STAGES)
        if stage == 1:
            chosen = dataclasses.replace(chosen, method=FIRST, set=_of_first_stage(options))
        if resume and not last and Run(folder).scores.exists():
            say(f"\n== Stage {stage} of {len(names)}, {name}: done before")
            continue
        say(f"\n== Stage {stage} of {len(names)}: training on {name}")
        result = train(chosen)
    return result


def labeling_of(options: Options) -> Labeling:
    """Return how the options want the images to be labeled.

    Raises:
        UserError: they contradict the method.
    """
    given = options.method_options()
    methods.check_options(options.method, given)
    fields = {field.name for field in dataclasses.fields(Labeling)}
    try:
        return Labeling(**{name: value for name, value in given.items() if name in fields})
    except (TypeError, ValueError) as error:
        raise UserError("options that selftraining can work with", str(error), "Correct the option.") from error


def _of_first_stage(options):
    """Return the `--set` texts that supervised training understands too."""
    known = methods.options_of(methods.method_named(FIRST))
    return tuple(text for text in options.set if text.partition("=")[0].strip() in known)


def stage_folder(stages: Path, stage: int) -> Path:
    """Return the run directory of an earlier stage."""
    return stages / str(stage)


def pseudo_labeled(samples: Sequence[data.Sample], options: Options) -> tuple[data.Sample, ...]:
    """Return the samples that a stage learns from, their masks predicted by the stage before it where they are missing.

    Args:
        samples: all unlabeled samples.
        options: options of the stage.

    Returns:
        The samples (in the second stage of ST++ the more reliable ones), each with its pseudo-label as mask.
    """
    labeling = labeling_of(options)
    before = options.stage - 1
    run = Run(stage_folder(_stages(options), before))
    if labeling.plus_plus and before == 1:
        samples = most_reliable(samples, reliabilities(samples, run, options), labeling.reliable_share)
    files = [_stages(options) / "labels" / f"{sample.name}.png" for sample in samples]
    missing = [number for number, path in enumerate(files) if not path.exists()]
    protocol = _protocol(options, flip=labeling.label_flip, scales=labeling.label_scales)
    if missing:
        say(f"Labeling {len(missing)} of {counted(len(samples), 'image')} by {run.best} ({protocol})")
    with _Shared(missing, "labeled") as shared:
        if shared:
            predictor = running().local(models.load_predictor(run.best))
        for number in shared:
            classes = evaluation.predict_classes(predictor, samples[number].read_image(), protocol)
            with replacing(files[number]) as temporary:
                evaluation.save_mask_png(temporary, classes)
    return tuple(dataclasses.replace(s, mask=data.MaskFile(path)) for s, path in zip(samples, files, strict=True))


def _stages(options: Options) -> Path:
    if options.stages is None:
        raise ValueError("Pseudo-labels are made in a stage of `train_in_stages`. Received: options without one")
    return options.stages


def _protocol(options, **values):
    """Return the protocol for labeling: whole images, or the sliding windows that the options ask for."""
    if options.eval_mode == "sliding_window":
        values |= {"crop": options.eval_crop or options.side, "border": options.eval_border or "clip"}
        return data.Protocol("sliding_window", **values)
    return data.Protocol(**values)


def reliabilities(samples: Sequence[data.Sample], run: Run, options: Options) -> list[float]:
    """Measure how far a run's early networks agree with its last one on each image (Yang et al., CVPR 2022, Eq. 4).

    Args:
        samples: the images.
        run: a run that kept its snapshots.
        options: options of the stage; the numbers are cached in `reliability.csv` of its `stages`.

    Returns:
        Per image, the mean over the early networks of their `mean_iou_between` with the last one.
    """
    path = _stages(options) / "reliability.csv"
    if not path.exists():
        say(f"Comparing the networks of {run.folder} on {counted(len(samples), 'image')}")
        found = np.zeros(len(samples))
        protocol = _protocol(options)
        with _Shared(range(len(samples)), "compared") as shared:
            networks = [running().local(models.load_predictor(run.snapshot(k + 1))) for k in range(SNAPSHOTS)]
            for number in shared:
                image = samples[number].read_image()
                *early, last = (evaluation.predict_classes(network, image, protocol) for network in networks)
                classes = networks[-1].output_shape[-1]
                found[number] = np.mean([mean_iou_between(prediction, last, classes) for prediction in early])
        found = running().sum(found)
        running().on_main(lambda: _write(path, samples, found))
    remedy = "Remove it, and the networks are compared again."
    with reading(path, "a reliability for each image", remedy), path.open(newline="", encoding="utf-8") as file:
        known = {row["name"]: float(row["reliability"]) for row in csv.DictReader(file)}
        return [known[shown(sample.name, "csv")] for sample in samples]


def mean_iou_between(prediction: np.ndarray, last: np.ndarray, num_classes: int) -> float:
    """Compute the mean IoU of two predictions of one image, over the classes that either shows."""
    matrix = evaluation.ConfusionMatrix(num_classes, ignore_index=-1)
    matrix.update(last, prediction)
    return matrix.mean_iou()


def most_reliable(
    samples: Sequence[data.Sample], reliability: Sequence[float], fraction: float
) -> tuple[data.Sample, ...]:
    """Return the given fraction of the samples, at least one, the most reliable first."""
    order = sorted(range(len(samples)), key=lambda number: -reliability[number])
    return tuple(samples[number] for number in order[: max(1, int(len(samples) * fraction))])


def _write(path, samples, values):
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "reliability"))
        writer.writerows(
            (shown(sample.name, "csv"), repr(float(value))) for sample, value in zip(samples, values, strict=True)
        )


class _Shared:
    """Part of some work that this process does; before and after it the processes wait for each other.

    Args:
        numbers: numbers of all pieces of work.
        verb: past participle for the progress on the terminal.
    """

    def __init__(self, numbers, verb):
        self.numbers = list(numbers)[running().process :: running().processes]
        self.show = evaluation.progress_bar(verb) if running().is_main else lambda done, total: None

    def __len__(self):
        return len(self.numbers)

    def __iter__(self):
        for done, number in enumerate(self.numbers, start=1):
            yield number
            self.show(done, len(self.numbers))

    def __enter__(self):
        running().sum(np.zeros(1))  # all have seen what there is to do
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            running().sum(np.zeros(1))
