"""MirroredStrategy on two logical CPU devices in one process: python mirrored_tensorflow.py FOLDER."""

import json
import pathlib
import sys

import driver  # first: checks that the backend can run

# isort: split
import keras
import numpy as np
import tensorflow as tf
from small_network import small_segmenter

from rankmatch_keras import layers, methods, models, training
from rankmatch_keras.backend import distribution


def supervised(running, sync_batch_norm=True, **optimizer):
    """Return the weights of a small segmenter trained with two batches of `driver`."""
    keras.utils.clear_session()
    with running.scope():
        method = methods.SupervisedOnly(small_segmenter(driver.CLASSES))
        method.compile(training.SGD(0.05, head_multiplier=2.0, **optimizer))
    running.prepare(method, sync_batch_norm)
    rows = running.rows(driver.BATCH)
    own = [{name: values[rows] for name, values in driver.batch_of(step).items()} for step in range(2)]
    method.fit(running.batches(driver.dataset(own)), steps_per_epoch=2, verbose=0, shuffle=False)
    weights = [np.ravel(keras.ops.convert_to_numpy(variable)) for variable in method.segmenter.variables]
    return np.concatenate(weights)


def dealt(running):
    """Return the numbers of the images that each replica gets of a batch of eight, from a dataset and from a list."""
    numbers = running.rows(8)
    images = np.broadcast_to(numbers[:, None, None, None], (8, 2, 2, 1)).astype("float32")
    found = []
    for batches in (tf.data.Dataset.from_tensors({"image": images}), [{"image": images}]):
        batch = next(iter(running.batches(batches)))
        replicas = running.strategy.experimental_local_results(batch["image"])
        found.append([replica.numpy()[:, 0, 0, 0].astype(int).tolist() for replica in replicas])
    return found


def predictions(running):
    """Return shapes and predictions of the local copy, before and after the weights change."""
    with running.scope():
        segmenter = models.deeplab_v3_plus(models.create_backbone("tiny"), 3, aspp_filters=8, decoder_filters=8)
        method = methods.SupervisedOnly(segmenter)
        method.compile(training.SGD(0.05))
    running.prepare(method)
    with running.scope():
        predictor = models.predictor(segmenter, layers.ChannelNormalization(mean=[127.0] * 3, std=[64.0] * 3))
    images = np.random.default_rng(0).uniform(0, 255, (2, 20, 24, 3)).astype("float32")
    before = running.local(predictor).predict_on_batch(images)
    segmenter.trainable_variables[0].assign(-segmenter.trainable_variables[0])
    after = running.local(predictor).predict_on_batch(images)
    expected = keras.ops.convert_to_numpy(predictor(images))
    return {
        "shape": before.shape,
        "error": float(np.abs(after - expected).max()),
        "change": float(np.abs(after - before).max()),
        "same copy": running.local(predictor) is running.local(predictor),
        "config": [layer.synchronized for layer in segmenter._flatten_layers() if hasattr(layer, "synchronized")],
    }


def main(folder):
    driver.main("mirrored", 2, folder / "two")
    keras.utils.clear_session()
    driver.main("none", 0, folder / "one")

    alone = distribution.distribute("none")
    one = {"plain": supervised(alone), "accumulated": supervised(alone, gradient_accumulation_steps=2)}
    running = distribution.distribute("mirrored", 2)
    two = {
        "accumulated": supervised(running, gradient_accumulation_steps=2),
        "apart": supervised(running, sync_batch_norm=False),
    }
    np.savez(folder / "supervised.npz", **{f"one {k}": v for k, v in one.items()}, **two)
    facts = {
        "dealt": dealt(running),
        "predictions": predictions(running),
        "describe": running.describe(8),
        "auto": distribution.distribute("auto", 2).name,
    }
    try:
        distribution.distribute("mirrored", 3)
    except ValueError as error:
        facts["late"] = str(error)
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
