"""Mitochondria in electron microscopy (Lucchi et al., 2011) from few labelled slices, cf. the article's Table 3.

Example:
  KERAS_BACKEND=torch rankmatch train recipes/lucchi.py \
      --data path/to/lucchi --labels 10 --out runs/l10

The slices are grey, 1024 x 768; every second slice of the volume, 165 for training and 83 for testing.
--method supervised gives the baseline. The scores that were seen, with their times, are in docs/results.md.
"""

from rankmatch_keras import recipe  # first: checks that the backend can run

# isort: split
from rankmatch_keras import data, models
from rankmatch_keras.callbacks import Checkpoint


@recipe.recipe(
    labels=10,
    crop=193,
    batch=2,
    steps=300,
    learning_rate=0.03,  # smaller ones do not get beyond the background in so few steps
    head_multiplier=3.0,
    min_scale=0.4,
    max_scale=1.0,  # the slices are large: smaller views show whole mitochondria
    val_limit=12,
)
def main(options):
    """Trains on the training slices and scores the test slices."""
    distribution = recipe.start(options)
    dataset = data.Lucchi(recipe.require_data(options))
    dataset, split = recipe.checked(dataset, recipe.choose_split(dataset, options), options)
    epochs, steps_per_epoch = options.schedule(len(split.unlabeled))
    normalization = recipe.normalization_of(options, split)

    with distribution.scope():
        segmenter = recipe.build_segmenter(dataset, split, options)
        model = recipe.build_method(segmenter, options, epochs * steps_per_epoch)
        predictor = models.predictor(model.evaluated, normalization, options.output_stride)
        model.compile(recipe.build_optimizer(options, epochs * steps_per_epoch), options.jit_compile)
    distribution.prepare(model, options.sync_batch_norm)

    run = recipe.open_run(options, dataset, split, loader="Lucchi")
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
    recipe.report(run, dataset, {"IoU %": recipe.score(run, dataset, split, options)})


if __name__ == "__main__":
    recipe.run(main)
