"""Street scenes of CamVid (Brostow et al., 2009) from few labelled frames; 11 classes.

Example:
  KERAS_BACKEND=tensorflow rankmatch train recipes/camvid.py \
      --data path/to/camvid --weights mobilenet_v2_imagenet_no_top.weights.h5 --out runs/camvid

23 of 367 training frames are labelled (1/16); the test part is scored. --method supervised gives the baseline.
The scores that were seen, with their times, are in docs/results.md.
"""

from rankmatch_keras import recipe  # first: checks that the backend can run

# isort: split
from rankmatch_keras import data, models
from rankmatch_keras.callbacks import Checkpoint


@recipe.recipe(labels=23, crop=193, batch=4, steps=500, learning_rate=0.01, head_multiplier=3.0, val_limit=25)
def main(options):
    """Trains on the training frames and scores the test frames."""
    distribution = recipe.start(options)
    dataset = data.CamVid(recipe.require_data(options))
    dataset, split = recipe.checked(dataset, recipe.choose_split(dataset, options), options)
    epochs, steps_per_epoch = options.schedule(len(split.unlabeled))
    normalization = recipe.normalization_of(options, split)

    with distribution.scope():
        segmenter = recipe.build_segmenter(dataset, split, options)
        model = recipe.build_method(segmenter, options, epochs * steps_per_epoch)
        predictor = models.predictor(model.evaluated, normalization, options.output_stride)
        model.compile(recipe.build_optimizer(options, epochs * steps_per_epoch), options.jit_compile)
    distribution.prepare(model, options.sync_batch_norm)

    run = recipe.open_run(options, dataset, split, loader="CamVid")
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
