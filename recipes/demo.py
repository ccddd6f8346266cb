"""RankMatch against supervised-only training on the embedded sample scenes, in a few minutes on 2 cores.

Example:
  rankmatch train recipes/demo.py --out runs/demo

Trains a small network twice with the same labelled images, steps and seed: on the labelled images alone, then with
RankMatch on all images. Prints IoU per class before and after.
"""

from rankmatch_keras import recipe  # first: checks that the backend can run

# isort: split
from pathlib import Path

import keras

from rankmatch_keras import data, evaluation, models, training
from rankmatch_keras.callbacks import Checkpoint

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample"


@recipe.recipe(
    data=SAMPLE,
    out=Path("runs/demo"),
    labels=12,
    backbone="tiny",
    aspp_filters=64,
    decoder_filters=48,
    crop=97,
    min_scale=0.75,
    max_scale=1.5,
    batch=4,
    steps=300,
    interval=50,
    learning_rate=0.002,
    rank_weight=0.02,
    threshold=0.9,
)
def main(options):
    """Trains both ways and compares."""
    distribution = recipe.start(options)
    dataset = data.SampleScenes(recipe.require_data(options))
    dataset, split = recipe.checked(dataset, recipe.choose_split(dataset, options), options)
    scores = {}
    for method in dict.fromkeys(("supervised", options.method)):
        print(f"\n== {method}")
        # The baseline has none of the method's own options.
        own = options.set if method == options.method else ()
        chosen = recipe.changed(options, method=method, out=options.out / method, set=own)
        run, before, after = train(chosen, dataset, split, distribution)
        scores.setdefault("before", before)
        scores[method] = after
    print(f"\n{evaluation.format_comparison(scores)}\n")
    gain = 100 * (scores[options.method].mean_iou - scores["supervised"].mean_iou)
    print(f"{options.method} is {gain:+.1f} points of mean IoU from supervised-only with the same labels and steps.")
    histories = {method: training.Run(options.out / method).history for method in ("supervised", options.method)}
    if distribution.is_main:
        evaluation.save_curves(options.out / "curves.png", histories, title="Sample scenes")
    print(f"Look at {options.out / 'curves.png'} and {run.folder / 'predictions.png'}")


def train(options, dataset, split, distribution):
    """Trains one method; returns its run and its scores before and after."""
    keras.utils.set_random_seed(options.seed)
    epochs, steps_per_epoch = options.schedule(len(split.unlabeled))
    normalization = recipe.normalization_of(options, split)

    with distribution.scope():
        segmenter = recipe.build_segmenter(dataset, split, options)
        model = recipe.build_method(segmenter, options, epochs * steps_per_epoch)
        predictor = models.predictor(model.evaluated, normalization, options.output_stride)
        learning_rate = training.polynomial_decay(options.learning_rate, epochs * steps_per_epoch)
        # From random weights AdamW gets further than SGD in so few steps; the other recipes use the papers' SGD.
        optimizer = keras.optimizers.AdamW(
            learning_rate, weight_decay=1e-3, gradient_accumulation_steps=options.several_batches
        )
        model.compile(optimizer, options.jit_compile)
    distribution.prepare(model, options.sync_batch_norm)

    run = recipe.open_run(options, dataset, split, loader="SampleScenes")
    before = recipe.build_evaluator(dataset, split, options).evaluate(distribution.local(predictor))
    checkpoint = Checkpoint(run, predictor)
    done = checkpoint.restore(model)
    batches = recipe.build_batches(split, normalization, options, start_step=done * steps_per_epoch)
    model.fit(
        batches,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch * options.accumulate,
        initial_epoch=done,
        shuffle=False,  # the batches come in their own seeded order
        verbose=recipe.verbosity(),
        callbacks=recipe.standard_callbacks(dataset, split, options, predictor, checkpoint),
    )
    after = recipe.score(run, dataset, split, options)
    recipe.report(run, dataset, {"before": before, "after": after})
    return run, before, after


if __name__ == "__main__":
    recipe.run(main)
