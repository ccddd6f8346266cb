"""Steps of RankMatch, as published and with options, in one process of a distributed run; writes the results.

Run by the tests once per process: python driver.py STRATEGY REPLICAS OUT.npz
"""

import contextlib
import pathlib
import sys

from rankmatch_keras.environment import require_environment

require_environment()

# isort: split
import keras  # noqa: E402
import numpy as np  # noqa: E402
from small_network import small_segmenter  # noqa: E402

from rankmatch_keras import methods, models, training  # noqa: E402
from rankmatch_keras.backend import distribution  # noqa: E402

BATCH, SIZE, CLASSES, STEPS = 4, 33, 3, 3


def batch_of(step):
    """Make global batch number `step`, with padding and boxes that differ between images."""
    rng = np.random.default_rng(step)

    def images():
        return rng.normal(size=(BATCH, SIZE, SIZE, 3)).astype("float32")

    boxes = np.array([[4, 6, 20, 25], [0, 0, 0, 0], [1, 2, 30, 12], [8, 0, 24, 33]], "int32")
    batch = {
        "labeled_image": images(),
        "labeled_mask": rng.integers(0, CLASSES, (BATCH, SIZE, SIZE)).astype("int32"),
        "weak_image": images(),
        "strong_image_1": images(),
        "strong_image_2": images(),
        "valid": np.ones((BATCH, SIZE, SIZE), bool),
        "cutmix_box_1": boxes,
        "cutmix_box_2": boxes[::-1].copy(),
    }
    batch["labeled_mask"][0, :20] = 255
    batch["valid"][3, :, -9:] = False
    return batch


OPTIONS = {
    **{"normalize": "separate", "statistics": "labeled", "average": 0.9, "selection": "adaptive", "alignment": 0.5},
    **{"unlabeled_loss": "ce+dice", "labeled_loss": "ce+dice", "class_weights": (0.5, 1.0, 2.0), "ema_decay": 0.8},
    **{"unlabeled_ramp": 0.5, "total_steps": 8},
}


def published():
    """Make a RankMatch of a DeepLabV3+."""
    keras.utils.set_random_seed(0)
    segmenter = models.deeplab_v3_plus(models.create_backbone("tiny"), CLASSES, aspp_filters=16, decoder_filters=8)
    return methods.RankMatch(segmenter, seed=0, num_agents=6, threshold=0.3)


def with_options():
    """Make a RankMatch of few layers whose thresholds per class are as after many steps: the first ones select all."""
    method = methods.RankMatch(small_segmenter(CLASSES), seed=0, num_agents=6, **OPTIONS)
    method.select.confidence.assign(0.6)
    method.select.probabilities.assign((0.5, 0.3, 0.2))
    return method


def trained(running, make, burn_in):
    """Return variables and logs of three steps on this process's rows of the global batches."""
    with running.scope():
        method = make()
        method.compile(training.SGD(0.05, head_multiplier=2.0))
    running.prepare(method)
    rows = running.rows(BATCH)
    own = [{name: values[rows] for name, values in batch_of(step).items()} for step in range(STEPS)]
    logs = {}
    for labels_only, part in ((True, own[:burn_in]), (False, own[burn_in:])):
        if part:
            method.use_labels_only(labels_only)
            data = running.batches(dataset(part))
            history = method.fit(data, epochs=1, steps_per_epoch=len(part), verbose=0, shuffle=False).history
            logs |= {f"log {name} {labels_only}": np.array(value) for name, value in history.items()}
    return {f"{n:03d} {v.path}": keras.ops.convert_to_numpy(v) for n, v in enumerate(method.variables)} | logs


def main(strategy, replicas, out):
    """Train, and write what came of it."""
    running = distribution.distribute(strategy, int(replicas) or None)
    values = trained(running, published, burn_in=0)
    values |= {f"options {name}": value for name, value in trained(running, with_options, burn_in=1).items()}
    processes = running.gather(np.array([running.process, running.replicas]))
    np.savez(f"{out}.{running.process}.npz", processes=processes, **values)
    running.close()
    # One that still lets go of a tensor while Python shuts down would end the process by an abort.
    assert not [name for name in threads() if "gloo" in name], threads()


def threads():
    """Return the names of this process's threads, libraries' included; empty except on Linux."""
    names = []
    for path in pathlib.Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):  # it has just ended
            names.append(path.read_text().strip())
    return names


def dataset(batches):
    """Turn batches into something that `fit` takes, in order."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
        return tf.data.Dataset.from_tensor_slices(stacked)
    return ((batch,) for batch in batches)


if __name__ == "__main__":
    main(*sys.argv[1:])
