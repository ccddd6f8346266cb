"""End of a training run: the final score, tables, curves and pictures."""

import math

from rankmatch_keras import data, evaluation, models
from rankmatch_keras.backend.distribution import running
from rankmatch_keras.evaluation.plots import draw_or_say
from rankmatch_keras.texts import counted, say
from rankmatch_keras.training import cost
from rankmatch_keras.training.options import Options
from rankmatch_keras.training.run_folder import Run

PICTURES = 6


def final_evaluator(dataset: data.SegmentationData, split: data.Split, options: Options) -> evaluation.Evaluator:
    """Make the evaluator of the test set, or of the validation set where there is none.

    All images are scored; with `--smoke` no more than `--val-limit`.
    """
    name, samples = ("test", dataset.test) if dataset.test else ("val", dataset.val)
    return evaluation.Evaluator(
        samples,
        dataset.class_names,
        options.chosen_protocol(dataset.protocol),
        limit=options.val_limit if options.smoke else None,
        provenance={"set": f"{dataset.name} {name}", "split": split.id, "seed": options.seed},
        processes=running(),
    )


def score(run: Run, evaluator: evaluation.Evaluator) -> evaluation.Scores:
    """Score the predictor that the run keeps."""
    images = counted(evaluator.limit or len(evaluator.samples), "image")
    say(f"Scoring {images} of {evaluator.provenance['set']} ...")
    progress = evaluation.progress_bar("scored") if running().is_main else None
    scores = evaluator.evaluate(running().local(models.load_predictor(run.chosen)), progress=progress)
    missed = [name for name, iou in zip(scores.class_names, scores.iou, strict=True) if iou == 0.0]
    if missed:
        say(
            f"Never found: {', '.join(missed)}. Label more images that show it, train longer, or try "
            "--labeled-loss ce+dice --unlabeled-loss dice, which serve rare classes."
        )
    return scores


def say_kept(run: Run, options: Options, burn_in: int) -> None:
    """Say which epoch's network a run keeps, and whether unlabeled images had a part in it.

    Args:
        run: the trained run.
        options: its options.
        burn_in: its epochs on labeled images alone.
    """
    scored = [row for row in run.read_history() if not math.isnan(row.get("mean_iou", math.nan))]
    if options.keep != "best" or not scored:
        return
    best = max(scored, key=lambda row: row["mean_iou"])
    last = scored[-1]
    say(
        f"Keeping the network of epoch {best['epoch']:.0f} of {last['epoch']:.0f}: mean IoU "
        f"{100 * best['mean_iou']:.1f} % on the validation images, {100 * last['mean_iou']:.1f} % after the last."
    )
    if burn_in and best["epoch"] <= burn_in:
        say(
            "It saw labeled images alone: the unlabeled ones did not help here. Check that they show the same things, "
            "or train longer."
        )


def report(run: Run, dataset: data.SegmentationData, scores: dict[str, evaluation.Scores]) -> None:
    """Print the scores, and write them, the learning curves and a sheet of predictions into the run directory.

    Args:
        run: the finished run.
        dataset: its data.
        scores: the scores by label; differences are to the first.
    """
    # The other processes wait: one that ends early looks lost to some engines.
    running().on_main(lambda: _report(run, dataset, scores))


def _report(run, dataset, scores):
    run.require_there()
    *_, last = scores.values()
    say(f"\n{evaluation.format_table(last) if len(scores) == 1 else evaluation.format_comparison(scores)}\n")
    evaluation.write_csv(run.folder / "scores.csv", last)
    evaluation.write_json(run.cost, cost.summary(run.read_history()))
    evaluation.write_json(run.scores, {label: score.to_dict() for label, score in scores.items()})
    # The run is finished: what fails from here on is only a picture.
    draw_or_say("curves.png", evaluation.save_curves, run.folder / "curves.png", run.history, title=run.folder.name)
    draw_or_say("predictions.png", _save_predictions, run, dataset, last.protocol)
    say(f"Models, scores, learning curves and pictures are in {run.folder}")


def _save_predictions(run, dataset, protocol):
    """Write a sheet of image, truth and prediction of validation images, evenly spaced."""
    predictor = running().local(models.load_predictor(run.chosen))
    step = max(1, len(dataset.val) // PICTURES)
    samples = dataset.val[step // 2 :: step][:PICTURES]
    images = [sample.read_image() for sample in samples]
    # The sheet shows whole images, whatever part of them is scored.
    shown = data.Protocol() if protocol.mode == "center_crop" else protocol
    evaluation.save_prediction_sheet(
        run.folder / "predictions.png",
        [sample.shown(image) for sample, image in zip(samples, images, strict=True)],
        [sample.read_mask() for sample in samples],
        [evaluation.predict_classes(predictor, image, shown) for image in images],
        dataset.class_names,
        palette=dataset.palette,
    )
