"""Three steps of a small RankMatch in one process of a distributed run, with the results written to a file.

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


def main(strategy, replicas, out):
    """Train three steps on this process's rows of the global batches."""
    running = distribution.distribute(strategy, int(replicas) or None)
    keras.utils.set_random_seed(0)
    with running.scope():
        segmenter = models.deeplab_v3_plus(models.create_backbone("tiny"), CLASSES, aspp_filters=16, decoder_filters=8)
        method = methods.RankMatch(segmenter, seed=0, num_agents=6, threshold=0.3)
        method.compile(training.SGD(0.05, head_multiplier=2.0))
    running.prepare(method)
    rows = running.rows(BATCH)
    own = [{name: values[rows] for name, values in batch_of(step).items()} for step in range(STEPS)]
    history = method.fit(running.batches(dataset(own)), epochs=1, steps_per_epoch=STEPS, verbose=0, shuffle=False)
    values = {f"{n:03d} {v.path}": keras.ops.convert_to_numpy(v) for n, v in enumerate(method.variables)}
    logs = {f"log {name}": np.array(value) for name, value in history.history.items()}
    processes = running.gather(np.array([running.process, running.replicas]))
    np.savez(f"{out}.{running.process}.npz", processes=processes, **values, **logs)
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
