"""Train on your own images, or on any data set that the package knows.


Example:
  rankmatch train --images photos --masks masks --unlabeled more_photos --out runs/first
  rankmatch train --images photos --masks masks --unlabeled more_photos \\
      --val-images photos2 --val-masks masks2 --weights imagenet --steps 2000 --crop 321 --out runs/second
  rankmatch train --dataset Cityscapes --data cityscapes --labels 186 --out runs/city


Masks may hold class ids, two grey values such as 0 and 255, or colours; images any number of channels of 8 or 16 bits
or floats; docs/data.md shows every way in. Without validation images a fifth of the labelled ones is held out.
300 steps from random weights are a first look: longer runs and --weights imagenet score better.
"""

from rankmatch_keras import recipe  # first: checks that the backend can run

# isort: split
from rankmatch_keras import data, models
from rankmatch_keras.callbacks import Checkpoint
from rankmatch_keras.data_flags import loader_of


@recipe.recipe(
    any_data=True,
    preset="reference",  # the article's weight of the rank loss let features collapse in short runs (docs/results.md)
    box_source="in_batch",
    pool_norm=False,  # of two images a batch, normalisation would leave the sign (docs/models.md)
    crop=193,
    batch=2,
    steps=300,
    interval=100,
    learning_rate=0.01,
    head_multiplier=3.0,
)
def main(options):
    """Trains on the labelled and unlabelled images and scores the test or validation images."""
    distribution = recipe.start(options)
    loader, arguments = loader_of(vars(options))
    held_out = loader == "ImageFolder" and options.val_images is None and options.val_list is None
    if held_out:
        arguments |= {"hold_out": options.hold_out, "seed": options.seed}
    if loader == "ImageFolder":
        arguments["strict"] = False  # the check below lists everything that is wrong, not only the first
    dataset = data.open_data(loader, **arguments)
    if held_out:
        print(f"No --val-images: {len(dataset.val)} of the labelled images are held out for validation.")
    if options.val_list is not None:
        dataset = data.with_val_list(dataset, options.val_list, options.data)
    dataset, split = recipe.checked(dataset, recipe.choose_split(dataset, options), options)
    epochs, steps_per_epoch = options.schedule(len(split.unlabeled))
    normalization = recipe.normalization_of(options, split)

    with distribution.scope():
        segmenter = recipe.build_segmenter(dataset, split, options)
        model = recipe.build_method(segmenter, options, epochs * steps_per_epoch)
        predictor = models.predictor(model.evaluated, normalization, options.output_stride)
        model.compile(recipe.build_optimizer(options, epochs * steps_per_epoch), options.jit_compile)
    distribution.prepare(model, options.sync_batch_norm)

    run = recipe.open_run(options, dataset, split, loader, arguments)
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
