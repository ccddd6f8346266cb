"""Training of a tiny network in one process of a JAX run, with observations written to a file.

Run by the tests once per process: python driver_jax.py STEPS OUT; 0: until a process is gone.
"""

import click
import jax
import keras
import numpy as np

from rankmatch_keras import cli
from rankmatch_keras.backend import distribution
from rankmatch_keras.errors import UserError

BATCH = 4


def network():
    """Make a network with batch normalization, for images of any size."""
    convolutions = keras.layers.Conv2D(4, 3, padding="same"), keras.layers.Conv2D(1, 1)
    middle = keras.layers.BatchNormalization(momentum=0.5)
    return keras.Sequential([keras.Input((None, None, 3)), convolutions[0], middle, convolutions[1]])


class Watch(keras.callbacks.Callback):
    """Reports steps, and lets the first process predict by itself in the middle of training."""

    def __init__(self, running, fail):
        super().__init__()
        self.running, self.fail, self.seen = running, fail, None

    def on_train_batch_end(self, batch, logs=None):
        assert np.isfinite(float(logs["loss"]))
        if batch == 2:
            print("step", flush=True)
        if batch == 20 and self.fail and not self.running.is_main:
            raise UserError("a whole file", "half of one", "Copy it again.")

    def on_epoch_end(self, epoch, logs=None):
        if self.running.is_main:
            self.seen = self.running.local(self.model).predict_on_batch(inputs(7))


def inputs(seed):
    """Make a batch of images."""
    return np.random.default_rng(seed).normal(size=(BATCH, 8, 8, 3)).astype("float32")


def batches(running):
    """Yield this process's rows of endless batches."""
    rows = running.rows(BATCH)
    for seed in iter(int, 1):
        images = inputs(seed)[rows]
        yield images, images[..., :1]


@click.command()
@click.argument("steps", type=int)
@click.argument("out")
@click.option("--fail", is_flag=True)
def main(steps, out, fail):
    """Train, then gather and predict."""
    running = distribution.distribute("auto")
    keras.utils.set_random_seed(0)
    with running.scope():
        model = network()
        model.compile(keras.optimizers.SGD(0.1), "mse")
    running.prepare(model)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, fun_name="", **__: compiled.append(fun_name) if "backend_compile" in event else None
    )
    watch = Watch(running, fail)
    model.fit(batches(running), epochs=1, steps_per_epoch=steps or 10**9, verbose=0, callbacks=[watch], shuffle=False)
    numbers = [np.array(2**40 + running.process), np.array([1 / 3, running.process]), np.array([True, False])]
    values = {f"gathered_{n}": running.gather(value) for n, value in enumerate(numbers)}
    if watch.seen is not None:
        values["seen"] = watch.seen
    values["alone"] = running.local(model).predict_on_batch(inputs(7))
    values["compiled"] = np.array([name for name in compiled if "train_step" in name])
    twin = network()  # made outside of the scope: this process's own
    twin.set_weights([keras.ops.convert_to_numpy(weight) for weight in model.weights])
    values["expected"] = twin.predict_on_batch(inputs(7))
    np.savez(f"{out}.{running.process}.npz", **values)


if __name__ == "__main__":
    cli.run(main)
