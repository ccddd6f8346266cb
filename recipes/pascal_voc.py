"""PASCAL VOC 2012 with 92 labelled images, as in the article's Table 1: ResNet-50, crop 513, batch 8, 80 epochs.

Example:
  KERAS_BACKEND=tensorflow rankmatch train recipes/pascal_voc.py --data VOCdevkit/VOC2012 --out runs/voc92
  rankmatch train recipes/pascal_voc.py --data VOC2012 --backbone mobilenet_v2 --weights random \
      --crop 193 --batch 2 --steps 300 --out runs/voc-small

The article reports 71.6 mean IoU for RankMatch and 67.4 for UniMatch with the list of labelled images that its
authors chose; --seed chooses others here, and at 92 labels a few points more or less between choices is normal. A
step of this size wants a GPU. The first run downloads Keras' ImageNet weights of ResNet-50.
"""

from rankmatch_keras import recipe  # first: checks that the backend can run

# isort: split
from rankmatch_keras import data, models
from rankmatch_keras.callbacks import Checkpoint


@recipe.recipe(labels=92, backbone="resnet50", weights="imagenet", crop=513, batch=8, epochs=80, learning_rate=0.001)
def main(options):
    """Trains on the training list and scores the validation list."""
    distribution = recipe.start(options)
    dataset = data.PascalVOC(recipe.require_data(options))
    dataset, split = recipe.checked(dataset, recipe.choose_split(dataset, options), options)
    epochs, steps_per_epoch = options.schedule(len(split.unlabeled))
    normalization = recipe.normalization_of(options, split)

    with distribution.scope():
        segmenter = recipe.build_segmenter(dataset, split, options)
        model = recipe.build_method(segmenter, options, epochs * steps_per_epoch)
        predictor = models.predictor(model.evaluated, normalization, options.output_stride)
        model.compile(recipe.build_optimizer(options, epochs * steps_per_epoch), options.jit_compile)
    distribution.prepare(model, options.sync_batch_norm)

    run = recipe.open_run(options, dataset, split, loader="PascalVOC")
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
